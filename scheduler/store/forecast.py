"""What will run: how many planned slots lie in each hour. One by one: coming_runs.py.

What a deadline cuts off is counted, so that the page can say so; the next call finds more in the
cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.conf import SchedulerSettings
from scheduler.schedule import Schedule, ScheduleError, ZonedSchedule, slots_between
from scheduler.schedule.pattern import Pattern
from scheduler.store import alike_jobs

_REMEMBERED: Final = 1_000
HOUR: Final = timedelta(hours=1)
_HOUR_SECONDS: Final = 3600
_SECOND: Final = timedelta(seconds=1)
_INSTANT: Final = timedelta(microseconds=1)
#: So many slots of one job may stand in the list of the next runs.
_SLOTS_OF_ONE_JOB: Final = 50


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Planned runs per hour. `uncounted_jobs`: jobs that were left out because of the deadline."""

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
    """How many slots after `now` that no freeze blocks lie in each hour from `first_hour` on.

    Schedules with many jobs are computed first. One that cannot be used has no slots, as in beat.
    """
    counts = [0] * hours
    uncounted = 0
    window = _Window(first_hour, hours)
    for (group, *_others), jobs in alike_jobs.groups(is_late):
        start_at, end_at, owed_from = group[3:6]
        if is_late():
            uncounted += group.jobs
            continue
        try:
            schedule = group.schedule(settings)
        except (ScheduleError, ValueError, OSError):  # inserted by SQL; beat says what is wrong
            continue
        after = group.after(max(now, first_hour - _INSTANT))
        for begins, ends in groups.free_spans(group, after, window.until - _INSTANT):
            for number, count in _per_hour(schedule, window, begins, ends):
                counts[number] += count * group.jobs
    return Forecast(counts=tuple(counts), uncounted_jobs=uncounted)


#: So many slots are counted one by one, where the clock's arithmetic does not help.
COUNTED: Final = 100_000


def counter_of(since: datetime, until: datetime) -> Callable[[Schedule, datetime, datetime], int]:
    """Returns a function that counts the slots of a schedule in (after, last], which lies between.

    It counts few or very many in the same time; COUNTED: there may be more.
    """
    window = _Window(since, (until - since) // HOUR + 1)
    return lambda schedule, after, last: sum(
        count for _hour, count in _per_hour(schedule, window, after, last)
    )


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """The part of a requested hour that lies in one hour of a zone's wall clock."""

    number: int
    """Of the requested hour."""
    day: date
    hour: int
    #: Seconds within the hour of the wall clock: from `low` to before `high`.
    low: int
    high: int


class _Window:
    """The requested hours, and the wall clocks of zones in them."""

    def __init__(self, first_hour: datetime, hours: int) -> None:
        self.starts = [first_hour + HOUR * number for number in range(hours)]
        self.until = first_hour + HOUR * hours
        self._offsets: dict[str, timedelta | None] = {}
        self._stretches: dict[tuple[timedelta, datetime, datetime], list[_Stretch]] = {}

    def constant_offset(self, zone: ZoneInfo) -> timedelta | None:
        """The zone's offset from UTC. None: its clocks change within the hours."""
        if zone.key not in self._offsets:
            ends = (*self.starts, self.until)
            found = {instant.astimezone(zone).utcoffset() for instant in ends}
            self._offsets[zone.key] = found.pop() if len(found) == 1 else None
        return self._offsets[zone.key]

    def stretches(self, offset: timedelta, after: datetime, last: datetime) -> list[_Stretch]:
        """The stretches in (after, last]. Most schedules ask for the same ones."""
        key = (offset, after, last)
        found = self._stretches.get(key)
        if found is None:
            found = list(self._cut(*key))
            if len(self._stretches) < _REMEMBERED:  # jobs with an end have their own
                self._stretches[key] = found
        return found

    def _cut(self, offset: timedelta, after: datetime, last: datetime) -> Iterator[_Stretch]:
        # Slots are whole seconds.
        earliest = after.replace(microsecond=0) + _SECOND
        for number, start in enumerate(self.starts):
            low = max(start, earliest)
            high = min(start + HOUR, last.replace(microsecond=0) + _SECOND)
            wall, wall_end = ((at + offset).replace(tzinfo=None) for at in (low, high))
            # In a zone like +05:30 this hour is a part of two hours.
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
    schedule: Schedule, window: _Window, after: datetime, last: datetime
) -> list[tuple[int, int]]:
    """(number of the hour, slots in a part of it); hours without slots are left out."""
    if isinstance(schedule, ZonedSchedule) and isinstance(schedule.pattern, Pattern):
        offset = window.constant_offset(schedule.zone)
        if offset is not None:
            return _by_the_clock(schedule.pattern, window.stretches(offset, after, last))
    found: dict[int, int] = {}
    for slot in slots_between(schedule, after, last, COUNTED):
        number = (slot - window.starts[0]) // HOUR
        found[number] = found.get(number, 0) + 1
    return list(found.items())


def _by_the_clock(pattern: Pattern, stretches: Sequence[_Stretch]) -> list[tuple[int, int]]:
    """The same from the fields of the pattern, slot by slot only for a part of an hour.

    Right only while the clocks do not change.
    """
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
    """The next `limit` slots of all jobs, soonest first. Reads only `limit` jobs."""
    jobs = list(
        CronJob.objects.filter(is_enabled__in=[True], next_run_at__gt=now)
        .order_by("next_run_at", "id")
        .only("name", "handler_name", "cron_expression", "timezone", "calendar", "start_at",
              "end_at", "created_at", "next_run_at")[:limit]
    )  # fmt: skip
    if not jobs:
        return []
    # After the last watermark that was read, a job that was not read could be next.
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

    Schedules whose turn comes after `is_late` are left out. planned_by_hour counts their jobs.
    """
    hour = _Window(start, 1)
    after = max(now, start - _INSTANT)
    slots: list[tuple[datetime, int]] = []
    alike: list[list[alike_jobs.Group]] = []
    for number, (groups, _count) in enumerate(alike_jobs.groups(is_late)):
        alike.append(groups)
        group = groups[0]
        start_at, end_at, owed_from = group[3:6]
        if is_late():
            break
        try:
            schedule = schedule_for(_columns(group), settings)
        except (ScheduleError, ValueError, OSError):
            continue
        first = _after(after, start_at, owed_from)
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
            jobs[number] = alike_jobs.first_jobs(alike[number], limit)
        runs += [_planned(at, job, settings) for job in jobs[number]]
    return runs[:limit]


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
    """The watermark, which is a slot, and the slots after it."""
    first: Any = job.next_run_at
    end = min((bound for bound in (until, job.end_at) if bound is not None), default=None)
    most = min(limit, _SLOTS_OF_ONE_JOB) - 1
    if end is not None and first >= end:
        return [first]
    try:
        schedule = schedule_for(job, settings)
    except (ScheduleError, ValueError, OSError):
        return [first]
    return [first, *slots_between(schedule, first, end or first + timedelta(days=1), most)]
