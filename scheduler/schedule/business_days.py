"""Days of a schedule that meet a calendar: dropped, or moved to a business day."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final, Protocol

from scheduler.schedule.pattern import Days

_DAY: Final = timedelta(days=1)
_LONG_AGO: Final = date(1970, 1, 2)

LONGEST_CLOSURE: Final = timedelta(days=3 * 366)
"""The search for a business day ends here. A calendar that is closed for longer has none."""
MOST_DROPPED: Final = 600
"""The search for a slot ends after so many excluded days in a row: 600 Saturdays are 11 years."""


class Rule(StrEnum):
    """What happens to a slot on a day that is not a business day."""

    SKIP = "skip"
    NEXT = "next"
    PREVIOUS = "previous"


class OpenDays(Protocol):
    """The business days of a calendar."""

    def is_business_day(self, day: date) -> bool: ...

    def on_or_after(self, day: date) -> date | None:
        """Returns the first business day from `day` on; None if three years hold none."""

    def on_or_before(self, day: date) -> date | None:
        """Returns the last business day until `day`; None if three years hold none."""


def business_days(days: Days, calendar: OpenDays, rule: Rule) -> Days:
    """Returns `days` on business days."""
    match rule:
        case Rule.SKIP:
            return _KeptDays(days, calendar)
        case Rule.NEXT:
            return _DaysMovedForward(days, calendar)
        case Rule.PREVIOUS:
            return _DaysMovedBack(days, calendar)


def nominal_day(days: Days, day: date) -> date:
    """Returns the last day whose slots are settled when those on `day` are."""
    return days.nominal(day) if isinstance(days, _MovedDays) else day


def sources(day: date, calendar: OpenDays, rule: Rule) -> tuple[date, date]:
    """Returns the first and the last day whose slots are on the business day `day`."""
    first = last = day
    if rule == Rule.NEXT:
        open_day = calendar.on_or_before(day - _DAY)
        first = open_day + _DAY if open_day else day - LONGEST_CLOSURE
    elif rule == Rule.PREVIOUS:
        open_day = calendar.on_or_after(day + _DAY)
        last = open_day - _DAY if open_day else day + LONGEST_CLOSURE
    return first, last


# The days of a base under each rule. They implement pattern.Days: a Pattern adds the times of day.


@dataclass(frozen=True)
class _KeptDays:
    """The days of the base that are business days."""

    base: Days
    calendar: OpenDays

    def match(self, day: date) -> bool:
        return self.base.match(day) and self.calendar.is_business_day(day)

    def after(self, day: date) -> date | None:
        for _dropped in range(MOST_DROPPED):
            found = self.base.after(day)
            open_day = found and self.calendar.on_or_after(found)
            if not found or not open_day or found == open_day:
                return open_day
            day = open_day - _DAY  # skip the whole closure at once, not one base day at a time
        return None

    def before(self, day: date) -> date | None:
        for _dropped in range(MOST_DROPPED):
            found = self.base.before(day)
            open_day = found and self.calendar.on_or_before(found)
            if not found or not open_day or found == open_day:
                return open_day
            day = open_day + _DAY
        return None

    def shortest_distance(self) -> int:
        return self.base.shortest_distance()


class _MovedDays(ABC):
    """Days of which some stand for other days of the base."""

    @abstractmethod
    def nominal(self, day: date) -> date:
        """Returns the last day of the base that is settled when `day` is over."""


@dataclass(frozen=True)
class _DaysMovedForward(_MovedDays):
    """The days of the base. Those in a closure move to the first business day after it."""

    base: Days
    calendar: OpenDays

    def match(self, day: date) -> bool:
        if not self.calendar.is_business_day(day):
            return False
        last = self.base.before(day + _DAY)
        return last is not None and self.calendar.on_or_after(last) == day

    def after(self, day: date) -> date | None:
        # All base days after the last business day until `day` move to a day after `day`.
        open_day = self.calendar.on_or_before(day)
        found = self.base.after(open_day or day - LONGEST_CLOSURE)
        return found and self.calendar.on_or_after(found)

    def before(self, day: date) -> date | None:
        found = self.base.before(day)
        moved = found and self.calendar.on_or_after(found)
        if found and (not moved or moved >= day):  # `found` is in the closure that ends at `day`
            open_day = self.calendar.on_or_before(found)
            found = open_day and self.base.before(open_day + _DAY)
            moved = found and self.calendar.on_or_after(found)
        return moved

    def nominal(self, day: date) -> date:
        # A closure that has not ended holds days that are still to come.
        open_day = self.calendar.on_or_before(day)
        return (open_day and self.base.before(open_day + _DAY)) or _LONG_AGO

    def shortest_distance(self) -> int:
        return 1  # a move can make any two days neighbours


@dataclass(frozen=True)
class _DaysMovedBack(_MovedDays):
    """The days of the base. Those in a closure move to the last business day before it."""

    base: Days
    calendar: OpenDays

    def match(self, day: date) -> bool:
        if not self.calendar.is_business_day(day):
            return False
        first = self.base.after(day - _DAY)
        return first is not None and self.calendar.on_or_before(first) == day

    def after(self, day: date) -> date | None:
        found = self.base.after(day)
        moved = found and self.calendar.on_or_before(found)
        if found and (not moved or moved <= day):  # `found` is in the closure that follows `day`
            open_day = self.calendar.on_or_after(found)
            found = open_day and self.base.after(open_day - _DAY)
            moved = found and self.calendar.on_or_before(found)
        return moved

    def before(self, day: date) -> date | None:
        open_day = self.calendar.on_or_after(day)
        found = self.base.before(open_day or day + LONGEST_CLOSURE)
        return found and self.calendar.on_or_before(found)

    def nominal(self, day: date) -> date:
        # The closure that follows `day` has its slots on `day`.
        open_day = self.calendar.on_or_after(day + _DAY)
        return self.base.before(open_day or day + LONGEST_CLOSURE) or _LONG_AGO

    def shortest_distance(self) -> int:
        return 1
