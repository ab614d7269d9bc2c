"""Compares the slots of an entry with those of its job, and says why they differ.

Each slot that only one side has is explained by itself: by the rule of the side that lacks it. A
slot that no rule explains is Cause.UNEXPLAINED, which is a fault of this module or of a mapping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.moving.entries import OldSchedule
from scheduler.moving.rules import Rule
from scheduler.schedule import Schedule, slots_between
from scheduler.schedule.clock_changes import changes_between

YEAR: Final = timedelta(days=366)
_DAY: Final = timedelta(days=1)
# A rule that runs more often is compared whole on some days, and by its first slots on the others.
_MOST_SLOTS: Final = 4000
_WHOLE_DAYS: Final = 2
_SLOTS_PER_DAY: Final = 3
_FIRST_SLOTS: Final = 30
_NEAR_A_CHANGE: Final = timedelta(hours=26)
_NO_LIMIT: Final = 1_000_000
EXAMPLES: Final = 5


class Cause(StrEnum):
    """Why a slot is on one side only."""

    AT_START = "at_start"
    CALENDAR = "calendar"
    CLOCK_CHANGE = "clock_change"
    DAY_AND_WEEKDAY = "day_and_weekday"
    DAYS = "days"
    END = "end"
    INTERVAL = "interval"
    KIND = "kind"
    PHASE = "phase"
    TIMES = "times"
    UNEXPLAINED = "unexplained"
    WEEKDAY_NUMBER = "weekday_number"
    ZONE = "zone"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side. `rule`: its times as sets; None where it is a distance (`interval_seconds`), or a
    schedule of another kind. `calendar`: the job's, "" for none. `start_at`, `end_at`: inclusive.
    """

    schedule: OldSchedule
    rule: Rule | None
    interval_seconds: float | None = None
    calendar: str = ""
    start_at: datetime | None = None
    end_at: datetime | None = None

    def allows(self, slot: datetime) -> bool:
        """Whether its start and its end allow a run then."""
        return (self.start_at is None or slot >= self.start_at) and (
            self.end_at is None or slot <= self.end_at
        )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A slot that only one side has. `in_old`: which one."""

    at: datetime
    in_old: bool
    cause: Cause


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`slots`: how many both have, of those that were looked at. `is_sampled`: the rule runs so
    often that most days were compared by their first slots only.
    """

    slots: int
    is_sampled: bool
    differences: Sequence[Difference] = field(default_factory=tuple)

    @property
    def causes(self) -> Counter[Cause]:
        return Counter(each.cause for each in self.differences)

    def examples(self) -> list[Difference]:
        """The first few differences of each cause."""
        seen: Counter[Cause] = Counter()
        found = []
        for each in self.differences:
            seen[each.cause] += 1
            if seen[each.cause] <= EXAMPLES:
                found.append(each)
        return found


@dataclass(frozen=True, kw_only=True)
class JobSchedule:
    """The new side: the slots of a job between its start and its end."""

    schedule: Schedule
    zone: str
    start_at: datetime | None = None
    end_at: datetime | None = None

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        if self.start_at is not None:
            after = max(after, self.start_at - timedelta(microseconds=1))
        if self.end_at is not None:
            until = min(until, self.end_at)
        return slots_between(self.schedule, after, until, limit) if after < until else []


@dataclass(frozen=True)
class _Window:
    after: datetime
    until: datetime
    limit: int = _NO_LIMIT


def compare(old: Side, new: Side, *, now: datetime, days: int) -> Comparison:
    """Compares `days` days from `now`, and the clock changes of the year in the zones of both."""
    changes = _changes(old, new, now, max(YEAR, timedelta(days=days)))
    is_sampled = _runs_per_day(old, now) * days > _MOST_SLOTS
    windows = [*_around(changes, now), *_span(now, days, old, changes, is_sampled=is_sampled)]
    both: set[datetime] = set()
    found: dict[datetime, Difference] = {}
    for window in windows:
        there, here = _slots(old, new, window)
        both |= there & here
        for slot in there ^ here:
            in_old = slot in there
            found[slot] = Difference(
                at=slot, in_old=in_old, cause=_cause(slot, old, new, changes, in_old=in_old)
            )
    differences = tuple(found[at] for at in sorted(found))
    if old.interval_seconds is not None:
        differences = _of_interval(old, new, differences, now)
    return Comparison(slots=len(both), is_sampled=is_sampled, differences=differences)


def _runs_per_day(old: Side, now: datetime) -> float:
    if old.rule is not None:
        return old.rule.runs_per_day
    if old.interval_seconds:
        return 86_400 / old.interval_seconds
    return len(old.schedule.slots(now, now + _DAY, _MOST_SLOTS))


def first_slots_differ(old: Side, new: Side, now: datetime) -> bool:
    """Whether the next slots of the two sides are not the same."""
    until = now + YEAR
    slots = (side.schedule.slots(now, until, _FIRST_SLOTS) for side in (old, new))
    return next(slots) != next(slots)


def compare_clock_changes(old: Side, new: Side, *, now: datetime) -> list[Difference]:
    """Returns what differs at the clock changes of the next year only."""
    changes = _changes(old, new, now, YEAR)
    found = []
    wanted = (Cause.CLOCK_CHANGE, Cause.KIND) if old.rule is None else (Cause.CLOCK_CHANGE,)
    for window in _around(changes, now):
        there, here = _slots(old, new, window)
        for slot in sorted(there ^ here):
            cause = _cause(slot, old, new, changes, in_old=slot in there)
            if cause in wanted:
                found.append(Difference(at=slot, in_old=slot in there, cause=cause))
    return found


# --- where to look --------------------------------------------------------------------------------


def _changes(old: Side, new: Side, now: datetime, span: timedelta) -> list[datetime]:
    zones = {old.schedule.zone, new.schedule.zone}
    return sorted(at for zone in zones for at in _changes_of(zone, now, span))


@lru_cache(maxsize=64)
def _changes_of(zone: str, now: datetime, span: timedelta) -> list[datetime]:
    return [change.at for change in changes_between(ZoneInfo(zone), now, now + span)]


def _around(changes: Iterable[datetime], now: datetime) -> Iterator[_Window]:
    """Yields the days around each change. Nothing before `now`: a job that counts from then has no
    slots there.
    """
    for at in changes:
        hour = at.replace(minute=0, second=0, microsecond=0)
        yield _Window(max(now, hour - timedelta(hours=36)), hour + timedelta(hours=36))


def _span(
    now: datetime, days: int, old: Side, changes: Sequence[datetime], *, is_sampled: bool
) -> Iterator[_Window]:
    end = now + timedelta(days=days)
    if not is_sampled:
        yield _Window(now, end)
        return
    yield _Window(now, min(end, now + _WHOLE_DAYS * _DAY))
    zone = ZoneInfo(old.schedule.zone)
    day = now.astimezone(zone).date() + (_WHOLE_DAYS + 1) * _DAY
    while True:
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        if midnight >= end:
            return
        if not any(abs(midnight - at) < 2 * _DAY for at in changes):
            yield _Window(midnight - timedelta(seconds=1), midnight + _DAY, _SLOTS_PER_DAY)
        day += _DAY


def _slots(old: Side, new: Side, window: _Window) -> tuple[set[datetime], set[datetime]]:
    there = old.schedule.slots(window.after, window.until, window.limit)
    here = new.schedule.slots(window.after, window.until, window.limit)
    if window.limit != _NO_LIMIT:
        # Both lists end somewhere: only what both have reached can be compared.
        ends = [each[-1] for each in (there, here) if len(each) == window.limit]
        last = min(ends, default=window.until)
        there, here = [s for s in there if s <= last], [s for s in here if s <= last]
    return set(there), set(here)


# --- why ------------------------------------------------------------------------------------------


def _cause(
    slot: datetime, old: Side, new: Side, changes: Sequence[datetime], *, in_old: bool
) -> Cause:
    has, lacks = (old.rule, new.rule) if in_old else (new.rule, old.rule)
    if has is None or lacks is None:
        return Cause.KIND if (new if in_old else old).allows(slot) else Cause.END
    if in_old and slot == has.start_at and not has.matches(slot):
        return Cause.AT_START
    if not lacks.allows(slot):
        return Cause.END
    fits, fits_there = has.matches(slot), lacks.matches(slot)
    if new.calendar and (not fits or fits_there):
        return Cause.CALENDAR
    if any(abs(slot - at) < _NEAR_A_CHANGE for at in changes):
        if not fits or fits_there:
            return Cause.CLOCK_CHANGE
    elif not fits or fits_there:
        return Cause.UNEXPLAINED
    return _rule_that_differs(slot, has, lacks)


def _rule_that_differs(slot: datetime, has: Rule, lacks: Rule) -> Cause:
    """`has` runs at the wall-clock time of `slot`, and `lacks` does not."""
    zones_differ = has.zone != lacks.zone
    wall = slot.astimezone(ZoneInfo(has.zone))
    if zones_differ and lacks.matches(slot, has.zone):
        return Cause.ZONE
    if not lacks.matches_time(wall):
        return Cause.TIMES
    same_days = (has.doms, has.dows, has.nths) == (lacks.doms, lacks.dows, lacks.nths)
    if same_days and has.months == lacks.months and has.both != lacks.both:
        return Cause.DAY_AND_WEEKDAY
    for by in (1, -1):
        if lacks.with_shifted_weekdays(by).matches_day(wall):
            shifted = lacks.with_shifted_weekdays(by)
            if (shifted.dows, shifted.nths) == (has.dows, has.nths):
                return Cause.WEEKDAY_NUMBER
    return Cause.DAYS


def _of_interval(
    old: Side, new: Side, differences: tuple[Difference, ...], now: datetime
) -> tuple[Difference, ...]:
    """What differs between a distance and an expression: only when it starts, or the distance."""
    slots = new.schedule.slots(now, now + YEAR, 200)
    distances = {(later - earlier).total_seconds() for earlier, later in pairwise(slots)}
    cause = Cause.PHASE if distances == {old.interval_seconds} else Cause.INTERVAL
    return tuple(
        each if each.cause is Cause.END else Difference(at=each.at, in_old=each.in_old, cause=cause)
        for each in differences
    )
