"""The planned slots of some jobs within a window of time, one by one, for a timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.schedule import Schedule, ScheduleError, ZonedSchedule, slots_between
from scheduler.schedule.full_text import full_text
from scheduler.schedule.pattern import Pattern
from scheduler.store.schedule_groups import schedule_for

#: Planned slots: of one job, and of all.
SLOTS_OF_ONE_JOB: Final = 300
SLOTS: Final = 20_000
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Planned:
    slots: Mapping[int, Sequence[float]]
    """By job: seconds since 1970, the soonest first."""
    cut_jobs: frozenset[int]
    """Of these jobs only the soonest slots are there."""
    late_jobs: frozenset[int]
    """The deadline came before these were computed. A later call finds more remembered."""


def slots_of(
    jobs: Sequence[CronJob],
    since: datetime,
    until: datetime,
    now: datetime,
    *,
    settings: SchedulerSettings,
    is_late: Callable[[], bool],
) -> Planned:
    """The slots of enabled jobs in [since, until), after `now` and from their watermark on.

    A schedule that cannot be used has no slots, as in beat; another system runs those of a shadow.
    """
    slots: dict[int, Sequence[float]] = {}
    cut: set[int] = set()
    late: set[int] = set()
    total = 0
    for job in jobs:
        bounds = [at for at in (since, now, job.next_run_at, job.start_at) if at is not None]
        first, last = max(bounds), min(until, job.end_at or until)
        is_planned = job.is_enabled and not job.is_shadow and job.next_run_at is not None
        if not is_planned or first >= last:
            continue
        if is_late() or total >= SLOTS:
            late.add(job.pk)
            continue
        try:
            schedule = schedule_for(job, settings)
            found = _slots(schedule, _key(job), first, last)
        except (ScheduleError, ValueError, OSError):
            continue
        if len(found) > SLOTS_OF_ONE_JOB:
            cut.add(job.pk)
        slots[job.pk] = found[:SLOTS_OF_ONE_JOB]
        total += len(slots[job.pk])
    return Planned(slots=slots, cut_jobs=frozenset(cut), late_jobs=frozenset(late))


_Key = tuple[str, str, str]


def _key(job: CronJob) -> _Key:
    return (full_text(job), job.timezone, job.calendar)


def _slots(schedule: Schedule, key: _Key, first: datetime, last: datetime) -> list[float]:
    """Those in [first, last): one more than SLOTS_OF_ONE_JOB, if there are so many."""
    low, high = first.timestamp(), last.timestamp()
    if isinstance(schedule, ZonedSchedule) and isinstance(schedule.pattern, Pattern):
        offset = _constant_offset(schedule, first, last)
        if offset is not None:
            found = _by_the_clock(schedule.pattern, offset, first, last)
            return list(islice((at for at in found if low <= at < high), SLOTS_OF_ONE_JOB + 1))
    remembered = _one_by_one(
        _Remembered(schedule), key, int(low // _MINUTE_SECONDS * _MINUTE_SECONDS), last
    )
    return [at for at in remembered if low <= at < high][: SLOTS_OF_ONE_JOB + 1]


def _constant_offset(schedule: ZonedSchedule, first: datetime, last: datetime) -> timedelta | None:
    """The zone's offset from UTC. None: its clocks change in between."""
    hours = int((last - first) / _HOUR) + 1
    instants = (first + _HOUR * number for number in range(0, hours, 12))
    found = {at.astimezone(schedule.zone).utcoffset() for at in (*instants, last)}
    return found.pop() if len(found) == 1 else None


def _by_the_clock(
    pattern: Pattern, offset: timedelta, first: datetime, last: datetime
) -> Iterator[float]:
    """All of the days of `first` to `last`. Right only while the clocks do not change."""
    hours, minutes, seconds = pattern.hours, pattern.minutes, pattern.seconds
    day: date = (first + offset).astimezone(UTC).date()
    until: date = (last + offset).astimezone(UTC).date()
    earliest = first.timestamp() - _HOUR.total_seconds()
    while day <= until:
        if pattern.days.match(day):
            midnight = datetime.combine(day, time(), tzinfo=UTC).timestamp()
            midnight -= offset.total_seconds()
            for hour in hours:
                if midnight + hour * 3600 < earliest:
                    continue
                for minute in minutes:
                    at = midnight + hour * 3600 + minute * 60
                    yield from (at + second for second in seconds)
        day += _DAY


class _Remembered:
    """A schedule as an argument that the memory ignores: the key beside it says the same."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Remembered)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=2_000)
def _one_by_one(given: _Remembered, key: _Key, first: int, last: datetime) -> tuple[float, ...]:
    """`first` is a whole minute, so that later calls find what this one has computed."""
    after = datetime.fromtimestamp(first, UTC) - timedelta(microseconds=1)
    limit = SLOTS_OF_ONE_JOB + 1 + _MINUTE_SECONDS
    found = slots_between(given.schedule, after, last, limit)
    return tuple(slot.timestamp() for slot in found)
