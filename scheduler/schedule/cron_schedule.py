"""The schedule of a cron expression in a time zone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.schedule.clock_changes import first_after, newest_until
from scheduler.schedule.errors import CronParseError, UnknownTimezoneError
from scheduler.schedule.expression import read_expression
from scheduler.schedule.pattern import Pattern
from scheduler.schedule.zones import load_zone


@dataclass(frozen=True, kw_only=True)
class ZonedSchedule:
    """A pattern of wall-clock times in a zone. Implements slots.Schedule; threads may share it."""

    zone: ZoneInfo
    pattern: Pattern = field(compare=False, repr=False)

    def next_after(self, instant: datetime) -> datetime | None:
        return first_after(self.pattern, self.zone, instant)

    def last_until(self, instant: datetime) -> datetime | None:
        return newest_until(self.pattern, self.zone, instant)

    @property
    def moves_slots(self) -> bool:
        """Whether a slot may stand for a slot of another day."""
        return False

    def nominal_day(self, day: date) -> date:
        """Returns the last day whose slots are settled when those on `day` are."""
        return day

    def moved_from(self, slot: datetime) -> date | None:
        """Returns the local day that `slot` stands for if the calendar has moved it, or None."""
        return None

    def shortest_interval_seconds(self, enough_seconds: int) -> int:
        return self.pattern.shortest_interval_seconds(enough_seconds)


@dataclass(frozen=True, kw_only=True)
class CronSchedule(ZonedSchedule):
    """One expression in one zone. Equality and hash use these two."""

    expression: str


def parse(expression: str, timezone: str) -> CronSchedule:
    """Returns the schedule of `expression` in the IANA zone `timezone`, cached by the two texts.

    Raises CronParseError, CronNeverFiresError or UnknownTimezoneError, and nothing else.
    """
    if not isinstance(expression, str):
        raise CronParseError(_must_be_text(expression))
    if not isinstance(timezone, str):
        raise UnknownTimezoneError(_must_be_text(timezone))
    return _parse(expression, timezone)


def _must_be_text(value: object) -> str:
    return _("must be text, not %(type)s") % {"type": type(value).__name__}


@lru_cache(maxsize=8192)
def _parse(expression: str, timezone: str) -> CronSchedule:
    pattern = read_expression(expression)
    return CronSchedule(expression=expression.strip(" "), zone=load_zone(timezone), pattern=pattern)
