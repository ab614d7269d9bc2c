"""Small parts of the admin: masking, spans, the params field, the fingerprint of a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from scheduler.admin import formatting
from scheduler.admin.jobs.form import fingerprint
from scheduler.admin.params_field import ParamsField
from scheduler.models import CronJob
from scheduler.operations.masking import MASK, left_masked, looks_secret, mask, unmask

NOW = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "key",
    ["password", "dbPassword", "API_KEY", "apikey", "X-Auth-Token", "Authorization", "ssh.key"],
)
def test_keys_that_count_as_secret(key):
    assert looks_secret(key)


@pytest.mark.parametrize(
    "key", ["monkey", "keyboard", "author", "passenger", "id", "name", "", "키"]
)
def test_keys_that_do_not_count_as_secret(key):
    assert not looks_secret(key)


def test_mask_hides_secrets_at_every_depth_and_shows_empty_values():
    value = {"a": [{"token": "t", "b": 1}], "secret": {"deep": 1}, "password": "", "key": 0}
    assert mask(value) == {
        "a": [{"token": MASK, "b": 1}],
        "secret": MASK,
        "password": "",
        "key": MASK,
    }


def test_unmask_restores_masked_values():
    stored = {"a": [{"token": "t", "b": 1}], "secret": {"deep": 1}, "x": 1}
    assert unmask(mask(stored), stored) == stored
    typed = {**mask(stored), "x": 2, "secret": "new"}
    assert unmask(typed, stored) == {**stored, "x": 2, "secret": "new"}


def server(host: str, password: str = MASK) -> dict[str, str]:
    return {"host": host, "password": password}


A, B, C = server("a", "A"), server("b", "B"), server("c", "C")
TWINS = [{"token": "one"}, {"token": "two"}]
MASKED = {"token": MASK}


@pytest.mark.parametrize(
    ("stored", "typed", "saved"),
    [
        ([A, B], [server("b")], [B]),
        ([A, B], [server("b"), server("a")], [B, A]),
        ([A, B], [server("x", "X"), server("a"), server("b")], [server("x", "X"), A, B]),
        ([A, B], [server("a"), server("b2")], [A, server("b2", "B")]),
        ([A, B], [server("a"), server("b", "new")], [A, server("b", "new")]),
        ([A, B, C], [server("c"), server("a2"), server("b")], [C, server("a2"), B]),
        ([A, B], [server("b2")], [server("b2")]),
        ([A, B], [server("a"), server("a")], [A, server("a", "B")]),
        ([A], [server("a"), server("a")], [A, server("a")]),
        (TWINS, [MASKED, MASKED], TWINS),
        (TWINS, [MASKED], [MASKED]),
        (TWINS, [MASKED, {"token": "new"}], [TWINS[0], {"token": "new"}]),
        ([[A], [B]], [[server("b")], [server("a")]], [[B], [A]]),
        ("no list", [server("a")], [server("a")]),
    ],
)
def test_masked_secret_in_a_list_is_restored_only_to_its_own_entry(
    stored: Any, typed: list[Any], saved: list[Any]
):
    assert unmask({"servers": typed}, {"servers": stored}) == {"servers": saved}


def test_a_mask_without_a_stored_value_is_found():
    assert list(left_masked(unmask({"a": [{"token": MASK}], "b": MASK}, {}))) == ["a[0].token", "b"]


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
