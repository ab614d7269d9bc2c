"""Small parts of the admin: masking, spans, the params field, the fingerprint of a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from scheduler.admin import formatting
from scheduler.admin.jobs.form import fingerprint
from scheduler.admin.params_field import ParamsField
from scheduler.models import CronJob

NOW = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (1.234, "1.23 s"),
        (9.5, "9.5 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7260, "2 h 1 min"),
        (90000, "1 d 1 h"),
        (86400 * 40, "40 d"),
    ],
)
def test_span(seconds, text):
    assert formatting.span(seconds) == text


def test_distance_says_past_and_future():
    assert formatting.distance(NOW + timedelta(minutes=5), NOW) == "in 5 min"
    assert formatting.distance(NOW - timedelta(hours=3), NOW) == "3 h ago"
    assert formatting.distance(NOW, NOW) == "now"


def test_an_instant_is_shown_in_seoul_with_its_zone_and_utc_beside():
    shown = formatting.instant(NOW)
    assert "2026-11-21 10:00:00 KST" in shown
    assert 'title="2026-11-21 01:00:00 UTC"' in shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1,}', "line 1"),
        ("[1]", "JSON object"),
        ("nonsense", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"n": ' + "9" * 5000 + "}", "not JSON"),
        ('{"token": "********"}', "type the value itself"),
    ],
)
def test_mistakes_in_params_are_described(text, problem):
    with pytest.raises(ValidationError, match=problem):
        ParamsField(required=False).clean(text)


@pytest.mark.parametrize("depth", [21, 400, 700, 900])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_params_nested_too_deep_are_refused(depth, begin, end):
    inner = depth - 1
    text = '{"a": ' + begin * inner + "1" + end * inner + "}"

    with pytest.raises(ValidationError, match=r"deeper than 20 levels|not JSON"):
        ParamsField(required=False).clean(text)


@pytest.mark.parametrize("text", ["", "  \n", "{}"])
def test_no_params_are_an_empty_object(text):
    assert ParamsField(required=False).clean(text) == {}


def test_fingerprint_changes_with_an_edit_but_not_with_a_slot():
    job = CronJob(name="a", cron_expression="* * * * *", handler_name="sample")
    before = fingerprint(job)
    job.tick_seq, job.next_run_at, job.last_status = 7, NOW, "SUCCESS"
    assert fingerprint(job) == before
    job.handler_params = {"id": 1}
    assert fingerprint(job) != before
