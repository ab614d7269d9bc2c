"""What will run: planned slots of the enabled jobs, by the hour and one by one. Reads no clock.

Thousands of jobs share few schedules: each different one is computed once. What a deadline cut off
is counted, so that the page can say so; asked again, the rest follows.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from django.db.models import Count

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.schedule import (
    Schedule,
    ScheduleError,
    ZonedSchedule,
    parse,
    schedule_of,
    slots_between,
)
from scheduler.schedule.pattern import Pattern

HOUR: Final = timedelta(hours=1)
_HOUR_SECONDS: Final = 3600
_SECOND: Final = timedelta(seconds=1)
_INSTANT: Final = timedelta(microseconds=1)
#: Jobs with bounds of their own form schedules of their own.
_GROUP: Final = ("cron_expression", "timezone", "calendar", "start_at", "end_at")
#: So many slots of one job may stand in the list of the next runs.
_SLOTS_OF_ONE_JOB: Final = 50


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Planned runs per hour. `uncounted_jobs`: the deadline came before their schedule's turn."""

    counts: tuple[int, ...]
    uncounted_jobs: int


def planned_by_hour(
    now: datetime,
    first_hour: datetime,
    hours: int,
    *,
    settings: SchedulerSettings,
    is_late: Callable[[], bool],
) -> Forecast:
    """How many slots after `now` each of the `hours` from `first_hour` on holds.

    A schedule that cannot be used plans nothing, as in beat; the schedules of most jobs come first.
    """
    groups = (
        CronJob.objects.filter(is_enabled__in=[True])
        .order_by()
        .values_list(*_GROUP)
        .annotate(jobs=Count("id"))
    )
    counts = [0] * hours
    uncounted = 0
    window = _Window(first_hour, hours)
    for expression, timezone, calendar, start_at, end_at, jobs in sorted(
        groups, key=lambda group: -int(group[-1])
    ):
        if is_late():
            uncounted += jobs
            continue
        try:
            schedule = _schedule(expression, timezone, calendar, settings)
        except (ScheduleError, ValueError, OSError):  # typed by SQL; beat says what is wrong
            continue
        after = max(now, start_at - _INSTANT) if start_at else now
        for number, count in _per_hour(schedule, window, after, end_at):
            counts[number] += count * jobs
    return Forecast(counts=tuple(counts), uncounted_jobs=uncounted)


def _schedule(
    expression: str, timezone: str, calendar: str, settings: SchedulerSettings
) -> Schedule:
    if not calendar:
        return _parsed(expression, timezone or settings.default_timezone)
    return schedule_of(_Columns(expression, timezone, calendar), settings)


class _Columns(NamedTuple):
    cron_expression: str
    timezone: str
    calendar: str


# `parse` keeps fewer, which is enough for a tick: here all schedules pass by, in the same order
# each time, and a smaller memory would have forgotten every one before it comes again.
_parsed = lru_cache(maxsize=20_000)(parse)


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """The part of an hour asked for that lies in one hour of a zone's clock."""

    number: int
    """Of the hour asked for."""
    day: date
    hour: int
    #: Seconds of the clock's hour: from `low` to before `high`.
    low: int
    high: int


class _Window:
    """The hours asked for, and how the clocks of zones stand in them."""

    def __init__(self, first_hour: datetime, hours: int) -> None:
        self.starts = [first_hour + HOUR * number for number in range(hours)]
        self.until = first_hour + HOUR * hours
        self._offsets: dict[str, timedelta | None] = {}
        self._stretches: dict[tuple[timedelta, datetime], list[_Stretch]] = {}

    def constant_offset(self, zone: ZoneInfo) -> timedelta | None:
        """None: the clocks change meanwhile."""
        if zone.key not in self._offsets:
            ends = (*self.starts, self.until)
            found = {instant.astimezone(zone).utcoffset() for instant in ends}
            self._offsets[zone.key] = found.pop() if len(found) == 1 else None
        return self._offsets[zone.key]

    def stretches(
        self, offset: timedelta, after: datetime, end_at: datetime | None
    ) -> list[_Stretch]:
        """All that lies in (after, end_at]. Most jobs have no bounds: theirs are made once."""
        if end_at is not None:
            return list(self._cut(offset, after, end_at))
        key = (offset, after)
        if key not in self._stretches:
            self._stretches[key] = list(self._cut(offset, after, None))
        return self._stretches[key]

    def _cut(
        self, offset: timedelta, after: datetime, end_at: datetime | None
    ) -> Iterator[_Stretch]:
        # Slots are whole seconds.
        earliest = after.replace(microsecond=0) + _SECOND
        for number, start in enumerate(self.starts):
            low, high = max(start, earliest), start + HOUR
            if end_at is not None:
                high = min(high, end_at.replace(microsecond=0) + _SECOND)
            wall, wall_end = ((at + offset).replace(tzinfo=None) for at in (low, high))
            # In another zone this hour may be parts of two: +05:30, for example.
            while wall < wall_end:
                whole = wall.replace(minute=0, second=0, microsecond=0)
                until = min(whole + HOUR, wall_end)
                yield _Stretch(
                    number=number,
                    day=wall.date(),
                    hour=wall.hour,
                    low=(wall - whole) // _SECOND,
                    high=(until - whole) // _SECOND,
                )
                wall = until


def _per_hour(
    schedule: Schedule, window: _Window, after: datetime, end_at: datetime | None
) -> list[tuple[int, int]]:
    """(number of the hour, slots in a part of it); hours without slots are left out."""
    if isinstance(schedule, ZonedSchedule):
        offset = window.constant_offset(schedule.zone)
        if offset is not None:
            return _by_the_clock(schedule.pattern, window.stretches(offset, after, end_at))
    found: dict[int, int] = {}
    until = window.until - _INSTANT if end_at is None else min(end_at, window.until - _INSTANT)
    first = window.starts[0]
    for slot in slots_between(schedule, max(after, first - _INSTANT), until, 100_000):
        number = (slot - first) // HOUR
        found[number] = found.get(number, 0) + 1
    return list(found.items())


def _by_the_clock(pattern: Pattern, stretches: Sequence[_Stretch]) -> list[tuple[int, int]]:
    """Without a change of the clocks an hour's slots follow from the fields; no slot is walked."""
    found = []
    hours, in_hour = pattern.hours, len(pattern.minutes) * len(pattern.seconds)
    days: dict[date, bool] = {}
    for stretch in stretches:
        if stretch.hour not in hours:
            continue
        day = stretch.day
        if day not in days:
            days[day] = pattern.days.match(day)
        if not days[day]:
            continue
        if stretch.low == 0 and stretch.high == _HOUR_SECONDS:
            found.append((stretch.number, in_hour))
        elif count := sum(
            stretch.low <= minute * 60 + second < stretch.high
            for minute in pattern.minutes
            for second in pattern.seconds
        ):
            found.append((stretch.number, count))
    return found


# --- one by one -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    at: datetime
    job_id: int
    job_name: str
    handler_name: str
    cron_expression: str
    timezone: str


def next_runs(now: datetime, limit: int, *, settings: SchedulerSettings) -> list[PlannedRun]:
    """The next `limit` slots of all jobs, soonest first. Looks at `limit` jobs: by watermark."""
    jobs = list(
        CronJob.objects.filter(is_enabled__in=[True], next_run_at__gt=now)
        .order_by("next_run_at", "id")
        .only("name", "handler_name", "cron_expression", "timezone", "calendar", "end_at",
              "next_run_at")[:limit]
    )  # fmt: skip
    if not jobs:
        return []
    # Whatever comes after the last of them could be another job's.
    until = jobs[-1].next_run_at if len(jobs) == limit else None
    runs: list[tuple[datetime, int, CronJob]] = []
    for job in jobs:
        runs += [(slot, job.pk, job) for slot in _slots_of(job, until, limit, settings)]
    soonest = heapq.nsmallest(limit, runs, key=lambda run: run[:2])
    return [_planned(at, job, settings) for at, _, job in soonest]


def runs_of_hour(
    now: datetime,
    start: datetime,
    limit: int,
    *,
    settings: SchedulerSettings,
    is_late: Callable[[], bool],
) -> list[PlannedRun]:
    """The first `limit` slots after `now` in the hour from `start` on, of all jobs.

    Schedules whose turn comes when it is late are left out: see planned_by_hour for how many.
    """
    hour = _Window(start, 1)
    after = max(now, start - _INSTANT)
    slots: list[tuple[datetime, int]] = []
    groups = list(
        CronJob.objects.filter(is_enabled__in=[True])
        .order_by(*_GROUP)
        .values_list(*_GROUP)
        .distinct()
    )
    for number, (expression, timezone, calendar, start_at, end_at) in enumerate(groups):
        if is_late():
            break
        try:
            schedule = _schedule(expression, timezone, calendar, settings)
        except (ScheduleError, ValueError, OSError):
            continue
        first = max(after, start_at - _INSTANT) if start_at else after
        if not _per_hour(schedule, hour, first, end_at):
            continue
        last = min(end_at, hour.until - _INSTANT) if end_at else hour.until - _INSTANT
        slots += [(slot, number) for slot in slots_between(schedule, first, last, limit)]
    runs: list[PlannedRun] = []
    jobs: dict[int, list[CronJob]] = {}
    for at, number in heapq.nsmallest(limit, slots):
        if len(runs) >= limit:
            break
        if number not in jobs:
            jobs[number] = _jobs_like(groups[number], limit)
        runs += [_planned(at, job, settings) for job in jobs[number]]
    return runs[:limit]


def _jobs_like(group: tuple[Any, ...], limit: int) -> list[CronJob]:
    same = {
        f"{name}__isnull" if value is None else name: True if value is None else value
        for name, value in zip(_GROUP, group, strict=True)
    }
    jobs = CronJob.objects.filter(is_enabled__in=[True], **same).order_by("id")
    return list(jobs.only("name", "handler_name", "cron_expression", "timezone")[:limit])


def _planned(at: datetime, job: CronJob, settings: SchedulerSettings) -> PlannedRun:
    return PlannedRun(
        at=at,
        job_id=job.pk,
        job_name=job.name,
        handler_name=job.handler_name,
        cron_expression=job.cron_expression,
        timezone=job.timezone or settings.default_timezone,
    )


def _slots_of(
    job: CronJob, until: datetime | None, limit: int, settings: SchedulerSettings
) -> Sequence[datetime]:
    """The watermark, which is a slot, and those that follow it."""
    first: Any = job.next_run_at
    end = min((bound for bound in (until, job.end_at) if bound is not None), default=None)
    most = min(limit, _SLOTS_OF_ONE_JOB) - 1
    if end is not None and first >= end:
        return [first]
    try:
        schedule = _schedule(job.cron_expression, job.timezone, job.calendar, settings)
    except (ScheduleError, ValueError, OSError):
        return [first]
    return [first, *slots_between(schedule, first, end or first + timedelta(days=1), most)]
