"""A rule of wall-clock times as sets of numbers, and whether an instant fits it.

Independent of scheduler/schedule, which it is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

EVERY_DOM: Final = frozenset(range(1, 32))
EVERY_MONTH: Final = frozenset(range(1, 13))
EVERY_DOW: Final = frozenset(range(7))
EVERY_HOUR: Final = frozenset(range(24))
EVERY_MINUTE: Final = frozenset(range(60))
_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The times of one entry. Weekdays count from Sunday = 0.

    `both`: day of month and weekday must match; else one of them is enough. `nths`: pairs
    (weekday, which one of the month; 0 is the last one), beside `dows`. `last_dom`: the last day of
    the month, beside `doms`. `start_at`, `end_at`: inclusive.
    """

    zone: str
    seconds: frozenset[int] = frozenset({0})
    minutes: frozenset[int] = EVERY_MINUTE
    hours: frozenset[int] = EVERY_HOUR
    doms: frozenset[int] = EVERY_DOM
    months: frozenset[int] = EVERY_MONTH
    dows: frozenset[int] = EVERY_DOW
    both: bool = True
    nths: frozenset[tuple[int, int]] = frozenset()
    last_dom: bool = False
    start_at: datetime | None = None
    end_at: datetime | None = None

    def matches(self, instant: datetime, zone: str = "") -> bool:
        """Whether the wall clock of `zone` (its own, if empty) shows one of its times then."""
        wall = instant.astimezone(ZoneInfo(zone or self.zone))
        return self.matches_time(wall) and self.matches_day(wall)

    def matches_time(self, wall: datetime) -> bool:
        return (
            wall.second in self.seconds and wall.minute in self.minutes and wall.hour in self.hours
        )

    def matches_day(self, wall: datetime) -> bool:
        if wall.month not in self.months:
            return False
        next_day = wall.replace(tzinfo=None) + timedelta(days=1)
        dom = wall.day in self.doms or (self.last_dom and next_day.month != wall.month)
        dow = wall.isoweekday() % 7 in self.dows or self._is_nth(wall.replace(tzinfo=None))
        return (dom and dow) if self.both else (dom or dow)

    def _is_nth(self, wall: datetime) -> bool:
        weekday, count = wall.isoweekday() % 7, (wall.day + 6) // 7
        is_last = (wall + _WEEK).month != wall.month
        return (weekday, count) in self.nths or (is_last and (weekday, 0) in self.nths)

    def allows(self, instant: datetime) -> bool:
        """Whether its start and its end allow a run then."""
        return not (
            (self.start_at is not None and instant < self.start_at)
            or (self.end_at is not None and instant > self.end_at)
        )

    def with_shifted_weekdays(self, by: int) -> Rule:
        """The same with each weekday `by` days later."""
        return replace(
            self,
            dows=frozenset((day + by) % 7 for day in self.dows),
            nths=frozenset(((day + by) % 7, count) for day, count in self.nths),
        )

    @property
    def runs_per_day(self) -> int:
        return len(self.seconds) * len(self.minutes) * len(self.hours)


def in_bounds(rule: Rule, slots: list[datetime]) -> list[datetime]:
    """Returns the slots that the start and the end of the rule allow."""
    if rule.start_at is None and rule.end_at is None:
        return slots
    return [slot for slot in slots if rule.allows(slot)]
