"""Days of the month that depend on the month: `15W`, `LW`, `L-3` and `L-3W`, as Quartz has them.

W is the nearest day from Monday to Friday that is in the same month. `L` alone is Debian cron's
neighbour in pattern.py: croniter knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MOST_BEFORE_LAST: Final = 30
"""`L-30` is the first day of a month with 31 days. Nothing lies before it."""

_SUNDAY: Final = 0
_SATURDAY: Final = 6


@dataclass(frozen=True, kw_only=True, order=True)
class MonthDay:
    """`number`: the day of the month, or how many days before the last one if `from_last`.

    `is_weekday`: the day from Monday to Friday that is nearest to it.
    """

    from_last: bool
    number: int
    is_weekday: bool

    def day_in(self, length: int, first_weekday: int) -> int | None:
        """Returns the day in a month of `length` days. None: this month has no such day.

        `first_weekday`: the weekday of its first day; 0 is Sunday.
        """
        day = length - self.number if self.from_last else self.number
        if not 1 <= day <= length:
            return None
        weekday = (first_weekday + day - 1) % 7
        if self.is_weekday and weekday == _SATURDAY:
            return day - 1 if day > 1 else day + 2
        if self.is_weekday and weekday == _SUNDAY:
            return day + 1 if day < length else day - 2
        return day

    def is_in(self, length: int) -> bool:
        """Returns whether a month of `length` days has this day."""
        return self.day_in(length, first_weekday=1) is not None


def days_in(wanted: Iterable[MonthDay], length: int, first_weekday: int) -> set[int]:
    """Returns the days that are meant in one month."""
    found = (each.day_in(length, first_weekday) for each in wanted)
    return {day for day in found if day is not None}
