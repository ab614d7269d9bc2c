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
from scheduler.store.schedule_groups import Groups

_REMEMBERED: Final = 1_000
HOUR: Final = timedelta(hours=1)
_HOUR_SECONDS: Final = 3600
_SECOND: Final = timedelta(seconds=1)
_INSTANT: Final = timedelta(microseconds=1)


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
    window = _Window(first_hour, hours)
    groups = Groups(now, first_hour, window.until, settings)
    counts = [0] * hours
    uncounted = 0
    for group in groups.all():
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
