"""Several schedules in one: a slot of any of them is a slot, once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import combinations
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.schedule.cron_schedule import ZonedSchedule
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.pattern import Pattern

_DAY_SECONDS: Final = 86_400
# The calendar repeats after 28 years.
_DAYS_COMPARED: Final = 28 * 366
_FIRST_DAY: Final = date(2024, 1, 1)


@dataclass(frozen=True, kw_only=True)
class SeveralSchedules(JobSchedule):
    """The union of `members`, which are all in one zone."""

    zone: ZoneInfo
    members: tuple[JobSchedule, ...]

    def next_after(self, instant: datetime) -> datetime | None:
        found = (member.next_after(instant) for member in self.members)
        return min((slot for slot in found if slot is not None), default=None)

    def last_until(self, instant: datetime) -> datetime | None:
        found = (member.last_until(instant) for member in self.members)
        return max((slot for slot in found if slot is not None), default=None)

    @property
    def moves_slots(self) -> bool:
        return any(member.moves_slots for member in self.members)

    def nominal_day(self, day: date) -> date:
        return max(member.nominal_day(day) for member in self.members)

    def moved_from(self, slot: datetime) -> date | None:
        """A slot that one of the members has on its own day has not been moved."""
        found: date | None = None
        for member in self.members:
            if member.last_until(slot) == slot:
                found = member.moved_from(slot)
                if found is None:
                    return None
        return found

    def has_slots_on(self, day: date) -> bool:
        return any(member.has_slots_on(day) for member in self.members)

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        known = [member.shortest_interval_seconds(enough_seconds) for member in self.members]
        shortest = min((each for each in known if each is not None), default=enough_seconds)
        if shortest < enough_seconds or enough_seconds <= 1:
            return shortest
        patterns = [m.pattern for m in self.members if isinstance(m, ZonedSchedule)]
        of_days = [pattern for pattern in patterns if isinstance(pattern, Pattern)]
        for one, other in combinations(of_days, 2):
            shortest = min(shortest, _shortest_between(one, other, enough_seconds))
        is_exact = len(of_days) == len(self.members) or shortest < enough_seconds
        return shortest if is_exact else None


def _shortest_between(one: Pattern, other: Pattern, enough: int) -> int:
    """Returns the shortest distance between a time of one and another time of the other.

    By the wall clock. Any number from `enough` on if it is not below that.
    """
    first, second = _times(one), _times(other)
    found = enough
    same_day = _shortest_on_a_day(first, second, enough)
    if same_day < found and _meet(one, other, 0):
        found = same_day
    overnight = _DAY_SECONDS + second[0] - first[-1]
    if overnight < found and _meet(one, other, 1):
        found = overnight
    overnight = _DAY_SECONDS + first[0] - second[-1]
    if overnight < found and _meet(other, one, 1):
        found = overnight
    return found


def _times(pattern: Pattern) -> list[int]:
    """Returns the seconds of the day, ascending."""
    return [
        hour * 3600 + minute * 60 + second
        for hour in pattern.hours
        for minute in pattern.minutes
        for second in pattern.seconds
    ]


def _shortest_on_a_day(first: list[int], second: list[int], enough: int) -> int:
    found, times = enough, set(second)
    for at in first:
        near = (d for d in range(1, found) if at + d in times or at - d in times)
        found = next(near, found)
    return found


def _meet(one: Pattern, other: Pattern, days_later: int) -> bool:
    """Returns whether a day of `one` has a day of `other` so many days later."""
    day: date | None = _FIRST_DAY - timedelta(days=1)
    end = _FIRST_DAY + timedelta(days=_DAYS_COMPARED)
    while day is not None and day < end:
        day = one.days.after(day)
        if day is not None and other.days.match(day + timedelta(days=days_later)):
            return True
    return False
