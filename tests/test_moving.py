"""The claims of docs/moving.md about jobu's behaviour, each beside the words that make it.

Celery's side of a claim is computed by Celery's own crontab.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from celery.schedules import crontab

from scheduler.conf import SchedulerSettings
from scheduler.models import EDITABLE, CronJob
from scheduler.operations.validation import job_problems
from scheduler.schedule import parse, slots_between
from scheduler.schedule.kinds import read_schedule
from scheduler.schedule.plan import first_slot
from tests.harness.system import ROOT

PAGE = " ".join((ROOT / "docs" / "moving.md").read_text(encoding="utf-8").split())
# A Thursday. The year has 53 of them.
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
HOUR = timedelta(hours=1)


def slots(expression: str, span: timedelta = YEAR) -> list[datetime]:
    before = NEW_YEAR - timedelta(seconds=1)
    return slots_between(read_schedule(expression, "UTC"), before, before + span, 1000)


def weekdays(expression: str) -> set[str]:
    return {f"{slot:%a}" for slot in slots(expression)}


def celerys_days(**fields: str) -> list[datetime]:
    """The days of the year on which Celery's crontab is due at midnight."""
    schedule = crontab(minute="0", hour="0", **fields, nowfun=lambda: NEW_YEAR)
    days = [NEW_YEAR + timedelta(days=n) for n in range(365)]
    return [
        day
        for day in days
        if day.isoweekday() % 7 in schedule.day_of_week
        and day.day in schedule.day_of_month
        and day.month in schedule.month_of_year
    ]


def problems(**values: object) -> list[str]:
    """The fields for which such a job is refused."""
    given = {"name": "job", "cron_expression": "0 3 * * *", "handler_name": "sample", **values}
    found = job_problems(CronJob(**given), now=NEW_YEAR, settings=SchedulerSettings())
    return sorted(found)


CLAIMS: dict[str, Callable[[], bool]] = {
    "`minute hour day month weekday` in that order": lambda: (
        slots("1 2 3 4 *") == [datetime(2026, 4, 3, 2, 1, tzinfo=UTC)]
        and {slot.weekday() for slot in slots("1 2 * 4 fri")} == {4}
    ),
    "| `IntervalSchedule` of 10 minutes | `every 10m from 2026-11-28T09:00:03Z`": lambda: (
        [f"{slot:%M:%S}" for slot in slots("every 10m from 2025-11-28T09:00:03Z", HOUR)]
        == ["00:03", "10:03", "20:03", "30:03", "40:03", "50:03"]
    ),
    "`ClockedSchedule` | `at 2030-01-01T00:00Z`": lambda: (
        slots("at 2026-01-02T00:00Z") == [NEW_YEAR + timedelta(days=1)]
    ),
    "`priority`, 0 to 9": lambda: (
        [n for n in range(-1, 11) if not problems(priority=n)] == list(range(10))
    ),
    "`start_time`, `expires` of the entry | `start_at`, `end_at`": lambda: (
        first_slot(
            parse("0 3 * * *", "UTC"), NEW_YEAR,
            start_at=NEW_YEAR + timedelta(days=2), end_at=NEW_YEAR + timedelta(days=9),
        ) == NEW_YEAR + timedelta(days=2, hours=3)
        and first_slot(
            parse("0 3 * * *", "UTC"), NEW_YEAR + timedelta(days=9),
            start_at=None, end_at=NEW_YEAR + timedelta(days=9),
        ) is None
    ),
    "none: jobu has no time after which a waiting run is dropped": lambda: (
        not [name for name in EDITABLE if "expire" in name]
    ),
    "names have at most 100 characters": lambda: (
        not problems(name="n" * 100) and problems(name="n" * 101) == ["name"]
    ),
    "In Celery's crontab and in jobu, the weekdays are 0 (Sunday) to 6 (Saturday).": lambda: all(
        slots(f"0 0 * * {n}") == celerys_days(day_of_week=str(n)) for n in range(7)
    ),
    "begins with 0 = Monday, so add 1 to each number": lambda: (
        # Sunday is 6 there: 7 is Sunday here, as 0 is.
        [weekdays(f"0 0 * * {n + 1}") for n in range(7)]
        == [{day} for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")]
    ),
    "`mon-fri` means the same everywhere": lambda: (
        slots("0 0 * * mon-fri") == celerys_days(day_of_week="mon-fri") == slots("0 0 * * 1-5")
    ),
    "Celery requires both to match; in cron and jobu one of them is enough": lambda: (
        {day.day for day in celerys_days(day_of_month="13", day_of_week="5")} == {13}
        and weekdays("0 0 13 * 5") > {"Fri"}
        and len(slots("0 0 13 * 5")) > 52 > len(celerys_days(day_of_month="13", day_of_week="5"))
    ),
    "`RRULE:FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=9;BYMINUTE=0`": lambda: (
        slots("RRULE:FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=9;BYMINUTE=0".join(
            ["DTSTART:20200101T000000\n", ""]))
        == [day + timedelta(hours=9) for day in celerys_days(day_of_month="13", day_of_week="5")]
    ),
    '"the second Monday" is an expression (`0 9 * * mon#2`,': lambda: (
        {(slot.weekday(), (slot.day - 1) // 7) for slot in slots("0 9 * * mon#2")} == {(0, 1)}
    ),
    "aliases such as `@daily` have the same meaning": lambda: (
        slots("@daily") == slots("0 0 * * *") and slots("@weekly") == slots("0 0 * * 0")
    ),
    "`@reboot` does not exist.": lambda: (
        problems(cron_expression="@reboot") == ["cron_expression"]
    ),
    "a job with the expression `* * * * *` and the overlap policy `skip`": lambda: (
        not problems(cron_expression="* * * * *", overlap_policy="skip")
    ),
    "set `scheduler.min_cron_interval_seconds` to a lower value": lambda: (
        problems(cron_expression="*/30 * * * * *") == ["cron_expression"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", CLAIMS)
def test_what_the_page_about_moving_says_is_so(words: str) -> None:
    assert words in PAGE, "the page says it no longer: change the claim as well"

    assert CLAIMS[words]()
