"""`every 36h`, `every 10 days at 09:00`: a distance that is counted from an instant.

Seconds, minutes and hours are elapsed time: the clock changes do not matter. Days and weeks are
counted on the calendar of the job's zone, at one time of day, by the rule of fixed times.

The instant stands in the text (`from 2026-11-28T09:00`) or comes from the job's columns: see
full_text.py. It is never the start of a process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.schedule.clock_changes import whole_second
from scheduler.schedule.cron_schedule import CronSchedule
from scheduler.schedule.errors import CronParseError, quote
from scheduler.schedule.instants import Written, read_written
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.pattern import Pattern
from scheduler.schedule.slots import FIRST_INSTANT, LAST_INSTANT

LONGEST_DAYS: Final = 3660
"""A longer distance is most likely a typing error."""

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_UNITS: Final = {
    "second": ("s", "sec", "secs", "second", "seconds"),
    "minute": ("m", "min", "mins", "minute", "minutes"),
    "hour": ("h", "hr", "hrs", "hour", "hours"),
    "day": ("d", "day", "days"),
    "week": ("w", "week", "weeks"),
}
_UNIT_OF: Final = {name: unit for unit, names in _UNITS.items() for name in names}
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_TEXT: Final = re.compile(
    r"(?P<count>\S*?)\s*(?P<unit>[a-z]+)"
    r"(?:\s+at\s+(?P<at>.+?))?(?:\s+from\s+(?P<start>.+))?",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What `every` says. `unit` is second, minute, hour, day or week; `at` only with the last two.

    Without `start` it has no slots.
    """

    count: int
    unit: str
    at: time | None
    start: Written | None

    @property
    def is_elapsed(self) -> bool:
        return self.unit in ("second", "minute", "hour")


def read_every(text: str) -> Interval:
    """Returns what follows the word `every`. Raises CronParseError."""
    shape = _TEXT.fullmatch(text.strip().lower())
    if shape is None:
        raise CronParseError(
            _("%(text)s cannot be read; write “every 36h” or “every 10 days at 09:00”")
            % {"text": quote(f"every {text.strip()}")}
        )
    unit = _unit(shape["unit"])
    count = _count(shape["count"], shape["unit"], unit)
    at = _time(shape["at"]) if shape["at"] else None
    if at is not None and unit in ("second", "minute", "hour"):
        raise CronParseError(
            _(
                "“at” goes with days and weeks only; write “every %(count)s %(unit)ss from "
                "2026-11-28T%(at)s”"
            )
            % {"count": count, "unit": unit, "at": at.isoformat("minutes")}
        )
    start = read_written(shape["start"]) if shape["start"] else None
    return Interval(count=count, unit=unit, at=at, start=start)


def _unit(text: str) -> str:
    if text in _UNIT_OF:
        return _UNIT_OF[text]
    if text.startswith(("month", "year", "quarter")):
        raise CronParseError(
            _(
                "months and years have no fixed length; write “0 9 1 * *” or "
                "“RRULE:FREQ=MONTHLY;BYMONTHDAY=1”"
            )
        )
    if text in ("weekday", "weekdays", "workday", "workdays"):
        raise CronParseError(_("write “0 9 * * MON-FRI” for the days from Monday to Friday"))
    facts = {"text": quote(text), "known": ", ".join(f"{unit}s" for unit in _UNITS)}
    raise CronParseError(_("%(text)s is no unit; there are %(known)s") % facts)


def _count(text: str, written_unit: str, unit: str) -> int:
    if not text and len(written_unit) > 2:
        return 1  # "every day"
    if not text.isdigit() or not text.isascii():
        raise CronParseError(
            _(
                "%(text)s is no whole number; write one and a smaller unit, "
                "such as “every 90 minutes”"
            )
            % {"text": quote(text)}
        )
    most = LONGEST_DAYS * _SECONDS["day"] // _SECONDS[unit]
    if len(text) > 12 or not 1 <= int(text) <= most:
        facts = {"text": quote(text), "unit": f"{unit}s", "most": most}
        raise CronParseError(_("%(text)s %(unit)s are outside 1-%(most)s") % facts)
    return int(text)


def _time(text: str) -> time:
    shape = re.fullmatch(r"(\d{1,2}):(\d\d)(?::(\d\d))?", text.strip(), re.ASCII)
    try:
        if shape is None:
            raise ValueError
        return time(int(shape[1]), int(shape[2]), int(shape[3] or 0))
    except ValueError:
        raise CronParseError(
            _("%(text)s is no time of day; write one like 09:00") % {"text": quote(text.strip())}
        ) from None


def interval_schedule(interval: Interval, text: str, zone: ZoneInfo) -> JobSchedule:
    """Returns the schedule of an interval that has a start. Raises CronParseError."""
    assert interval.start is not None
    if interval.is_elapsed:
        return ElapsedSchedule(
            zone=zone,
            start=interval.start.in_utc(zone),
            step_seconds=interval.count * _SECONDS[interval.unit],
        )
    start = interval.start.on_clock(zone)
    at = start.time() if interval.at is None else interval.at
    step = interval.count * _SECONDS[interval.unit] // _SECONDS["day"]
    first = start.date()
    if at < start.time() and interval.start.has_time:
        first += step * _DAY  # the first day is over at that time
    pattern = Pattern(
        seconds=(at.second,),
        minutes=(at.minute,),
        hours=(at.hour,),
        days=EveryDays(first=first, step=step),
        is_fixed_time=True,
    )
    return CronSchedule(expression=text, zone=zone, pattern=pattern)


@dataclass(frozen=True, kw_only=True)
class ElapsedSchedule(JobSchedule):
    """A slot at `start`, and one each `step_seconds` after it."""

    zone: ZoneInfo
    start: datetime
    step_seconds: int

    def next_after(self, instant: datetime) -> datetime | None:
        instant = max(whole_second(instant), FIRST_INSTANT - _SECOND)
        found = self.start
        if instant >= self.start:
            found += (self._steps(instant) + 1) * timedelta(seconds=self.step_seconds)
        return found if found <= LAST_INSTANT else None

    def last_until(self, instant: datetime) -> datetime | None:
        instant = min(whole_second(instant), LAST_INSTANT)
        if instant < self.start:
            return None
        return self.start + self._steps(instant) * timedelta(seconds=self.step_seconds)

    def _steps(self, instant: datetime) -> int:
        return (instant - self.start) // _SECOND // self.step_seconds

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        return self.step_seconds


@dataclass(frozen=True, kw_only=True)
class EveryDays:
    """`first`, and each `step` days after it. Implements pattern.Days."""

    first: date
    step: int

    def match(self, day: date) -> bool:
        return day >= self.first and (day - self.first).days % self.step == 0

    def after(self, day: date) -> date | None:
        if day < self.first:
            return self.first
        return self._day((day - self.first).days // self.step + 1)

    def before(self, day: date) -> date | None:
        passed = (day - self.first).days
        return None if passed <= 0 else self._day((passed - 1) // self.step)

    def shortest_distance(self) -> int:
        return self.step

    def _day(self, steps: int) -> date | None:
        ordinal = self.first.toordinal() + steps * self.step
        return date.fromordinal(ordinal) if ordinal <= date.max.toordinal() else None
