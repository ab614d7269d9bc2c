"""Distances, instants, rules and several lines of each source, and their comparison."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery.schedules import schedule
from dateutil.rrule import DAILY, HOURLY, MONTHLY, WEEKLY

from scheduler.models import CronJob
from scheduler.moving import importing
from scheduler.moving.celery_schedules import CeleryEntry, found_in
from scheduler.moving.mapping import Mapped
from scheduler.moving.other_kinds import is_same_distance, recurrence_of, rule_of_recurrence
from scheduler.moving.redbeat_rules import NoCounterpart, kept_rule
from scheduler.moving.rules import Rule
from scheduler.operations.imports import ImportControl
from scheduler.schedule import slots_between
from scheduler.schedule.kinds import read_schedule
from tests.moving.conftest import NOW, mapped, options, reasons
from tests.moving.test_other_sources import causes
from tests.moving.test_other_sources import found_in as read_from

pytestmark = pytest.mark.django_db(transaction=True)

YEAR = timedelta(days=366)
PLAIN: dict[str, Any] = {"task": "shop.plain", "zone": "America/New_York"}


@pytest.fixture
def module() -> Iterator[Any]:
    made = sys.modules["legacy"] = ModuleType("legacy")
    yield made
    del sys.modules["legacy"]


def of_celery(control: ImportControl, given: dict[str, CeleryEntry]) -> dict[str, Mapped]:
    entries = [
        found_in(entry, options(), has_priorities=False).entry(key=name, name=name)
        for name, entry in given.items()
    ]
    return mapped(control, entries, "celery")


def test_distances_of_celery_count_from_what_celery_counts_from(control: ImportControl, tasks: Any):
    last = datetime(2026, 9, 30, 23, 59, 58, 700_000, tzinfo=UTC)
    start = NOW + timedelta(days=2)
    ten = CeleryEntry(**PLAIN, schedule=schedule(timedelta(minutes=10)), last_run_at=last)
    given = {
        "known": ten,
        "a day": replace(ten, schedule=schedule(timedelta(days=1))),
        "start": replace(ten, last_run_at=None, start_at=start, fires_at_start=True),
        "start after the next run": replace(
            ten, schedule=schedule(timedelta(days=5)), start_at=start, fires_at_start=True
        ),
        "nobody knows": replace(ten, last_run_at=None),
        "each hour": replace(ten, schedule=schedule(timedelta(hours=1), relative=True)),
        "each day": replace(
            ten, last_run_at=None, schedule=schedule(timedelta(days=1), relative=True)
        ),
        "three days": replace(ten, schedule=schedule(timedelta(days=3), relative=True)),
        "half": replace(ten, schedule=schedule(timedelta(seconds=90.5))),
    }

    found = of_celery(control, given)

    texts = {name: each.values.get("cron_expression") for name, each in found.items()}
    assert texts == {
        "known": "every 10m from 2026-09-30T23:59:58Z",
        "a day": "every 24h from 2026-09-30T23:59:58Z",
        "start": "every 10m from 2026-10-03T12:00Z",
        "start after the next run": "every 120h from 2026-09-30T23:59:58Z",
        "nobody knows": "every 10m",
        "each hour": "0 * * * *",
        "each day": "0 0 * * *",
        "three days": "every 3 days at 00:00 from 2026-10-03",
        "half": None,
    }
    verdicts = {name: str(each.verdict) for name, each in found.items()}
    assert verdicts == {
        **dict.fromkeys(given, "same"), "nobody knows": "differs", "half": "impossible"
    }  # fmt: skip
    assert reasons(found["nobody knows"]) == {"phase"}
    same = {name: each for name, each in found.items() if name != "half"}
    assert causes(same, control) == {}


def test_a_second_import_follows_a_distance_only_if_it_has_moved_by_a_minute(
    control: ImportControl, tasks: Any
):
    def planned(last: datetime) -> importing.Planned:
        hourly = CeleryEntry(**PLAIN, schedule=schedule(timedelta(hours=1)), last_run_at=last)
        (found,) = importing.plan(of_celery(control, {"hourly": hourly}).values(), control)
        return found

    last = datetime(2026, 10, 1, 11, 0, 50, tzinfo=UTC)
    importing.apply([planned(last)], control)

    assert planned(last + timedelta(hours=3, seconds=20)).changes == {}
    assert planned(last + timedelta(hours=3, minutes=5)).changes == {
        "cron_expression": "every 1h from 2026-10-01T14:05:50Z"
    }
    # The job runs here: the last run there stands still, and must not move it.
    job = CronJob.objects.get()
    CronJob.objects.filter(pk=job.pk).update(is_enabled=True)
    assert planned(last + timedelta(hours=3, minutes=5)).changes == {}
    assert not is_same_distance("every 1h", "every 1h from 2026-10-01T14:05:50Z")
    assert not is_same_distance("0 3 * * *", "0 3 * * *")


RULES: dict[str, dict[str, Any]] = {
    "every third day": {"freq": DAILY, "interval": 3},
    "fridays, every second week": {"freq": WEEKLY, "interval": 2, "byweekday": [{"wkday": 4}]},
    "last day": {"freq": MONTHLY, "bymonthday": -1, "byhour": [9, 18], "byminute": 30},
    "second to last workday": {
        "freq": MONTHLY, "byweekday": [0, 1, 2, 3, 4], "bysetpos": -2, "count": 20,
    },
    "until": {"freq": HOURLY, "interval": 5, "until": NOW + timedelta(days=9), "until_tz": 0},
    "weeks from sunday": {"freq": WEEKLY, "interval": 3, "byweekday": [6, 0], "wkst": 6},
    "once": {"freq": DAILY, "count": 1},
}  # fmt: skip


@pytest.mark.parametrize("offset", [0, 540, -300])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_redbeat_has_the_same_slots_here(name: str, offset: int):
    fields = {
        key: value.timestamp() if isinstance(value, datetime) else value
        for key, value in RULES[name].items()
    }
    start = int((NOW + timedelta(hours=5, seconds=7)).timestamp())

    kept = kept_rule({**fields, "dtstart": start, "dtstart_tz": offset, "wkst": fields.get("wkst")})

    theirs = kept.old.slots(NOW, NOW + YEAR, 40)
    assert theirs
    here = read_schedule(kept.expression, kept.old.zone)
    assert slots_between(here, NOW, NOW + YEAR, 40) == theirs


def test_a_rule_that_began_years_ago_is_compared_in_bounded_time(
    control: ImportControl, tasks: Any
):
    began = NOW - timedelta(days=2000)
    kept = kept_rule({"freq": 4, "interval": 1, "dtstart": int(began.timestamp())})
    entry = CeleryEntry(**PLAIN, schedule=kept)
    start = time.process_time()

    found = of_celery(control, {"hourly": entry})

    assert str(found["hourly"].verdict) == "same"
    assert causes(found, control) == {}
    assert time.process_time() - start < 5


def test_rules_without_a_counterpart_are_said():
    start = {"dtstart": NOW.timestamp(), "freq": DAILY}
    for more in ({"byeaster": 1}, {"dtstart_tz": 330}, {"freq": 6, "byminute": 3}):
        with pytest.raises(NoCounterpart):
            kept_rule({**start, **more})
    with pytest.raises(ValueError, match="dtstart"):
        kept_rule({"freq": DAILY})
    assert kept_rule({**start, "freq": 6, "interval": 90}).expression.startswith("every 90s from")


def test_a_rule_of_times_is_read_back_from_its_recurrence():
    friday = Rule(zone="UTC", minutes=frozenset({0, 30}), hours=frozenset({9}),
                  doms=frozenset({13}), dows=frozenset({5}), months=frozenset({1, 11}))  # fmt: skip
    text = recurrence_of(friday)
    assert text is not None
    assert rule_of_recurrence(text, "UTC") == friday
    for other in (text + ";INTERVAL=2", text.replace("13", "-1"), "RRULE:FREQ=DAILY", "0 0 * * *"):
        assert rule_of_recurrence(other, "UTC") is None


def test_apscheduler_intervals_dates_and_several_triggers(
    control: ImportControl, module: Any, tasks: Any
):
    from apscheduler.schedulers.background import BackgroundScheduler
    from apscheduler.triggers.combining import AndTrigger, OrTrigger
    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.interval import IntervalTrigger
    from celery import current_app

    scheduler = module.scheduler = BackgroundScheduler(timezone="Asia/Seoul")
    plain = current_app.tasks["shop.plain"].delay
    begin = datetime(2026, 9, 1, 9, 0, 5)  # noqa: DTZ001 - of the scheduler's zone
    noon, friday = CronTrigger(hour=12), CronTrigger(hour=9, minute=30, day_of_week="fri")
    scheduler.add_job(plain, "interval", id="given", minutes=7, start_date=begin)
    scheduler.add_job(plain, "interval", id="import", minutes=7)
    scheduler.add_job(plain, "date", id="date", run_date=datetime(2030, 1, 1, 9))  # noqa: DTZ001
    scheduler.add_job(plain, "date", id="gone", run_date=begin)
    scheduler.add_job(plain, OrTrigger([noon, friday]), id="or")
    scheduler.add_job(plain, OrTrigger([noon, IntervalTrigger(hours=1)]), id="mixed")
    scheduler.add_job(plain, AndTrigger([noon, friday]), id="and")

    found = read_from("apscheduler:legacy:scheduler", control)

    said = {
        name: (str(each.verdict), each.values.get("cron_expression"))
        for name, each in found.items()
    }
    assert said == {
        "given": ("same", "every 7m from 2026-09-01T00:00:05Z"),
        "import": ("differs", "every 7m"),
        "date": ("same", "at 2030-01-01T00:00Z"),
        "gone": ("impossible", None),
        "or": ("same", "0 12 * * *\n30 9 * * 5"),
        "mixed": ("impossible", None),
        "and": ("impossible", None),
    }
    assert reasons(found["gone"]) == {"passed"}
    assert causes(found, control) == {"import": {"phase"}}


def test_a_timedelta_of_airflow_counts_from_its_start(
    control: ImportControl, tmp_path: Path, tasks: Any
):
    row = {"schedule": "1 day, 12:00:00", "start_date": "2026-09-01T00:00:00", "timezone": "UTC",
           "max_active_runs": 1, "handler": "celery:shop.plain"}  # fmt: skip
    rows = [
        {**row, "dag_id": "catchup", "catchup": True, "end_date": "2026-11-01T00:00:00"},
        {**row, "dag_id": "latest", "catchup": False},
        {**row, "dag_id": "once", "schedule": "@once", "start_date": "2027-01-01T00:00:00"},
        {**row, "dag_id": "once without a start", "schedule": "@once", "start_date": ""},
    ]
    (tmp_path / "d.json").write_text(json.dumps(rows))

    found = read_from(f"airflow:{tmp_path / 'd.json'}", control)

    assert {name: str(each.verdict) for name, each in found.items()} == {
        "catchup": "same", "latest": "differs", "once": "same", "once without a start": "impossible"
    }  # fmt: skip
    catchup = found["catchup"].values
    assert catchup["cron_expression"] == "every 36h from 2026-09-01T00:00Z"
    assert catchup["end_at"] == datetime(2026, 11, 2, 12, tzinfo=UTC)
    assert found["once"].values["cron_expression"] == "at 2027-01-01T00:00Z"
    assert "latest" not in causes({name: found[name] for name in ("catchup", "once")}, control)
    assert causes({"catchup": found["catchup"]}, control) == {}


def test_an_end_that_somebody_has_edited_is_no_phase(control: ImportControl, tasks: Any):
    hourly = CeleryEntry(**PLAIN, schedule=schedule(timedelta(hours=1)), last_run_at=NOW)
    found = of_celery(control, {"hourly": hourly})
    job = control.import_job(found["hourly"].source, **found["hourly"].values)

    control.update_job(job.pk, end_at=NOW + timedelta(days=3))

    assert causes(found, control) == {"hourly": {"end"}}


def test_every_verdict_has_words(control: ImportControl):
    from scheduler.moving.entries import Reason, impossible
    from scheduler.moving.words import _TEXTS, in_words

    assert set(_TEXTS) == set(Reason)
    assert "2026" in in_words(impossible(Reason.PASSED, at="2026-01-01"))
