"""Anchored intervals while everything is restarted each hour, for ten days with clock changes.

A restart is new dispatchers and workers over the same rows, with nothing remembered of schedules,
as in a new process. The slots are those of an oracle that counts the steps one by one, and those of
one beat that is never restarted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

import pytest

from scheduler.models import CronJob, JobExecution
from scheduler.schedule.fingerprint import zone_rules
from tests.harness.oracles import wakeups
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.thorough]

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SPAN = timedelta(days=10)
#: Berlin on 29 March and Lord Howe on 5 April; Berlin on 25 October and New York on 1 November.
SEASONS = {
    "spring": datetime(2026, 3, 27, 10, 0, 30, tzinfo=UTC),
    "autumn": datetime(2026, 10, 23, 10, 0, 30, tzinfo=UTC),
}


# The arithmetic is the same on each database. What the rows keep of it shows one season.
IN_SEASONS = pytest.mark.parametrize(
    "season", [pytest.param("spring", marks=pytest.mark.database("sqlite")), "autumn"]
)


@dataclass(frozen=True)
class Case:
    expression: str
    zone: str = "UTC"
    step: timedelta = DAY
    #: At so many minutes after midnight of the zone. None: the step is one of real time.
    minutes: int | None = None
    #: The first slot of the count. None: the minute in which the job is made.
    anchor: datetime | None = None
    starts_after: timedelta | None = None


JANUARY = datetime(2026, 1, 5, tzinfo=UTC)
CASES = [
    Case("every 7h", "Europe/Berlin", 7 * HOUR),
    Case("every 90 minutes", "Australia/Lord_Howe", 90 * MINUTE),
    Case("every 36h", "America/New_York", 36 * HOUR),
    Case("every 45 minutes from 2026-01-05T00:10Z", "UTC", 45 * MINUTE,
         anchor=JANUARY + 10 * MINUTE),
    Case("every 11h", "Asia/Seoul", 11 * HOUR, starts_after=100 * MINUTE),
    Case("every 1 days at 02:30 from 2026-01-05", "Europe/Berlin", DAY, 150, JANUARY),
    Case("every 3 days at 02:15 from 2026-01-05", "Australia/Lord_Howe", 3 * DAY, 135, JANUARY),
    Case("every 5 days at 01:30 from 2026-01-05", "America/New_York", 5 * DAY, 90, JANUARY),
    Case("every 2 weeks at 02:30 from 2026-01-04", "Europe/Berlin", 14 * DAY, 150, JANUARY - DAY),
    Case("every 10 days at 09:00 from 2026-01-05", "Asia/Seoul", 10 * DAY, 540, JANUARY),
]  # fmt: skip


def expected(
    case: Case, made: datetime, until: datetime, after: datetime | None = None
) -> list[datetime]:
    """Returns the slots of a job that was made then: each step counted one by one."""
    after = after or made
    if case.minutes is None:
        anchor = case.anchor or made.replace(second=0)
        if case.starts_after is not None:
            anchor = made.replace(second=0) + case.starts_after
        return [at for at in _steps(anchor, case.step, until) if after < at <= until]
    assert case.anchor is not None
    days: set[date] = {at.date() for at in _steps(case.anchor, case.step, until + DAY)}
    # The wake-ups of Debian's cron, with its rule for times that are skipped and repeated.
    return [
        call.instant
        for call in wakeups(case.zone, after.replace(second=0), until.replace(second=0) + MINUTE)
        if call.fixed
        and call.wall.date() in days
        and 60 * call.wall.hour + call.wall.minute == case.minutes
        and after < call.instant <= until
    ]


def _steps(anchor: datetime, step: timedelta, until: datetime) -> Iterator[datetime]:
    at = anchor
    while at <= until:
        yield at
        at += step


def make(system: SchedulerHarness, made: datetime) -> None:
    for case in CASES:
        system.control.create_job(
            name=case.expression,
            cron_expression=case.expression,
            timezone=case.zone,
            handler_name="ok",
            misfire_policy="all",
            start_at=case.starts_after and made.replace(second=0) + case.starts_after,
        )


def recorded() -> dict[str, list[datetime]]:
    found: dict[str, list[datetime]] = {case.expression: [] for case in CASES}
    rows = JobExecution.objects.order_by("scheduled_time").values_list("job_name", "scheduled_time")
    for name, slot in rows:
        found[name].append(slot)
    return found


@cache
def caches() -> list[Callable[[], None]]:
    """Returns what empties the caches of jobu's modules.

    Not those of what is read off the files of zones, which takes long: it says nothing of a job.
    """
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith("scheduler.") and name != "scheduler.schedule.zones"
    ]
    values = [
        value
        for module in modules
        for value in vars(module).values()
        if hasattr(value, "cache_clear") and value is not zone_rules
    ]
    return [value.cache_clear for value in values]


def forget() -> None:
    """A new process has computed no schedule yet."""
    for clear in caches():
        clear()


def restart_everything(system: SchedulerHarness, hour: int) -> None:
    forget()
    system.dispatcher = system.new_dispatcher()
    system.tick()
    if hour % 24 == 0:
        system.new_worker().execute(system.runnable()[0])


@IN_SEASONS
def test_hourly_restarts_of_everything_move_no_slot_of_an_anchored_interval(
    system: SchedulerHarness, season: str
):
    made = SEASONS[season]
    until = made + SPAN
    system.clock.advance_to(made)
    make(system, made)

    for hour in range(1, SPAN // HOUR + 1):
        # At another minute each time.
        system.clock.advance_to(made + hour * HOUR - (hour * 17 % 61) * MINUTE)
        restart_everything(system, hour)
    system.clock.advance_to(until)
    restart_everything(system, 1)
    restarted = recorded()

    right = {case.expression: expected(case, made, until) for case in CASES}
    assert restarted == right
    assert all(right.values())
    nexts = dict(CronJob.objects.values_list("name", "next_run_at"))
    assert nexts == {
        case.expression: expected(case, made, until + 2 * SPAN, until)[0] for case in CASES
    }


@IN_SEASONS
def test_one_beat_without_a_restart_makes_the_same_slots(system: SchedulerHarness, season: str):
    made = SEASONS[season]
    until = made + SPAN
    system.clock.advance_to(made)
    make(system, made)

    for step in range(1, SPAN // (6 * HOUR) + 1):
        system.clock.advance_to(made + step * 6 * HOUR)
        system.tick()

    assert recorded() == {case.expression: expected(case, made, until) for case in CASES}
