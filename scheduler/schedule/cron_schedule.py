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
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.pattern import Pattern, WallTimes
from scheduler.schedule.zones import load_zone


@dataclass(frozen=True, kw_only=True)
class ZonedSchedule(JobSchedule):
    """A pattern of wall-clock times in a zone."""

    zone: ZoneInfo
    pattern: WallTimes = field(compare=False, repr=False)

    def next_after(self, instant: datetime) -> datetime | None:
        return first_after(self.pattern, self.zone, instant)

    def last_until(self, instant: datetime) -> datetime | None:
        return newest_until(self.pattern, self.zone, instant)

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        return self.pattern.shortest_interval_seconds(enough_seconds)


@dataclass(frozen=True, kw_only=True)
class CronSchedule(ZonedSchedule):
    """One expression in one zone, with the same times on each of its days.

    Equality and hash use these two.
    """

    expression: str
    pattern: Pattern = field(compare=False, repr=False)

    def has_slots_on(self, day: date) -> bool:
        return self.pattern.days.match(day)


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
