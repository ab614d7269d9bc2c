"""Named sets of excluded days, and schedules that step over them. Reads no clock, knows no table.

A job's `calendar` column holds "name" or "name:rule". The rule says what becomes of a slot whose
local date is no business day: `skip` drops it (the default), `next` and `previous` move it to the
nearest business day on that side, same local time. Slots that meet there are one. Examples are in
docs/schedules.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.schedule.expression import (
    CronSchedule,
    Days,
    Pattern,
    Schedule,
    ScheduleError,
    first_after,
    newest_until,
    parse,
)

_DAY: Final = timedelta(days=1)

LONGEST_CLOSURE: Final = timedelta(days=3 * 366)
"""A calendar without a business day for so long has none: the search for one ends here."""
MOST_DROPPED: Final = 600
"""A schedule that met so many excluded days in a row has no slot: 600 Saturdays are 11 years."""


class Rule(StrEnum):
    """What becomes of a slot on a day that is no business day."""

    SKIP = "skip"
    NEXT = "next"
    PREVIOUS = "previous"


@dataclass(frozen=True, kw_only=True)
class CalendarSpec:
    """What a calendar excludes, as configured. Hashable; dates may be given as any iterable."""

    name: str
    country: str | None = None
    """ISO code for the public holidays of the `holidays` library, such as KR; None: no holidays."""
    subdivision: str | None = None
    """A state or province that the library knows, such as BY in DE."""
    weekends: bool = False
    """Saturdays and Sundays are excluded."""
    dates: frozenset[date] = frozenset()
    """Further excluded days."""
    working_dates: frozenset[date] = frozenset()
    """Business days in spite of everything above."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dates", frozenset(self.dates))
        object.__setattr__(self, "working_dates", frozenset(self.working_dates))


class Calendar:
    """Answers whether a day is a business day, and which one is nearest."""

    def __init__(self, spec: CalendarSpec) -> None:
        """Raises ScheduleError if the country or subdivision is unknown."""
        self.spec = spec
        if spec.country:
            _public_holidays(spec.country, spec.subdivision, 2000)

    def is_business_day(self, day: date) -> bool:
        spec = self.spec
        if day in spec.working_dates:
            return True
        if day in spec.dates or (spec.weekends and day.isoweekday() > 5):
            return False
        return not spec.country or day not in _public_holidays(
            spec.country, spec.subdivision, day.year
        )

    def on_or_after(self, day: date) -> date | None:
        """The first business day from `day` on; None if there is none for three years."""
        return self._nearest(day, range(LONGEST_CLOSURE.days))

    def on_or_before(self, day: date) -> date | None:
        """The last business day until `day`; None if there is none for three years."""
        return self._nearest(day, range(0, -LONGEST_CLOSURE.days, -1))

    def _nearest(self, day: date, distances: Iterable[int]) -> date | None:
        start = day.toordinal()
        for distance in distances:
            if not 1 <= start + distance <= date.max.toordinal():
                return None
            candidate = date.fromordinal(start + distance)
            if self.is_business_day(candidate):
                return candidate
        return None


@lru_cache(maxsize=1024)
def _public_holidays(country: str, subdivision: str | None, year: int) -> frozenset[date]:
    """Public holidays, substitute ones included. Empty for years the library does not cover."""
    try:
        # Here, because it takes long to import and most processes never ask.
        import holidays

        # Not `holidays.KR(...)`: a shared mapping would grow, and change under another thread.
        return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=year))
    except NotImplementedError as error:
        text = _("holidays are not known: %(error)s") % {"error": error}
        raise ScheduleError(text, field="calendar") from error


@dataclass(frozen=True, kw_only=True)
class CalendarSchedule:
    """`base` on the business days of `spec`. Implements cron.Schedule; threads may share it."""

    base: CronSchedule
    spec: CalendarSpec
    rule: Rule = Rule.SKIP
    pattern: Pattern = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        calendar, pattern = Calendar(self.spec), self.base.pattern
        days: Days
        if self.rule is Rule.SKIP:
            days = _KeptDays(pattern.days, calendar)
        elif self.rule is Rule.NEXT:
            days = _DaysMovedOn(pattern.days, calendar)
        else:
            days = _DaysMovedBack(pattern.days, calendar)
        object.__setattr__(self, "pattern", replace(pattern, days=days))

    @property
    def expression(self) -> str:
        return self.base.expression

    @property
    def zone(self) -> ZoneInfo:
        return self.base.zone

    def next_after(self, instant: datetime) -> datetime | None:
        return first_after(self.pattern, self.zone, instant)

    def last_until(self, instant: datetime) -> datetime | None:
        return newest_until(self.pattern, self.zone, instant)

    def shortest_interval_seconds(self, enough_seconds: int) -> int:
        return self.pattern.shortest_interval_seconds(enough_seconds)


def build_schedule(
    expression: str, timezone: str, calendar: str, calendars: Mapping[str, CalendarSpec]
) -> Schedule:
    """The schedule that a job's three columns mean; the same object for the same arguments.

    An empty `calendar` means none. Raises cron.ScheduleError naming the column.
    """
    base = parse(expression, timezone)
    if not calendar:
        return base
    spec, rule = _read_calendar(calendar, calendars)
    return _calendar_schedule(base, spec, rule)


@lru_cache(maxsize=8192)
def _calendar_schedule(base: CronSchedule, spec: CalendarSpec, rule: Rule) -> CalendarSchedule:
    return CalendarSchedule(base=base, spec=spec, rule=rule)


def _read_calendar(text: str, calendars: Mapping[str, CalendarSpec]) -> tuple[CalendarSpec, Rule]:
    name, colon, rule = (part.strip() for part in str(text).partition(":"))
    if name not in calendars:
        text = _("calendar %(name)s is not configured") % {"name": ascii(name[:100])}
        raise ScheduleError(text + _nearest(name, calendars), field="calendar")
    if colon and rule not in list(Rule):
        text = _("rule %(name)s is unknown") % {"name": ascii(rule[:100])}
        raise ScheduleError(text + _nearest(rule, list(Rule)), field="calendar")
    return calendars[name], Rule(rule) if colon else Rule.SKIP


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if near := get_close_matches(name.lower()[:100], names, n=1):
        return _("; did you mean %(name)s?") % {"name": near[0]}
    if names:
        return _("; there are %(names)s") % {"names": ", ".join(names)}
    return _("; there are no calendars")


# Days under a rule. Each is a cron.Days, so that cron.py puts the times and the DST edges on top.


@dataclass(frozen=True)
class _KeptDays:
    """The base's days that are business days."""

    base: Days
    calendar: Calendar

    def match(self, day: date) -> bool:
        return self.base.match(day) and self.calendar.is_business_day(day)

    def after(self, day: date) -> date | None:
        for _dropped in range(MOST_DROPPED):
            found = self.base.after(day)
            open_day = found and self.calendar.on_or_after(found)
            if not found or not open_day or found == open_day:
                return open_day
            day = open_day - _DAY  # over the closure in one leap, not base day by base day
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


@dataclass(frozen=True)
class _DaysMovedOn:
    """The base's days, those in a closure moved to the first business day behind it."""

    base: Days
    calendar: Calendar

    def match(self, day: date) -> bool:
        if not self.calendar.is_business_day(day):
            return False
        last = self.base.before(day + _DAY)
        return last is not None and self.calendar.on_or_after(last) == day

    def after(self, day: date) -> date | None:
        # Whatever lies behind the last business day until `day` ends up after `day`.
        open_day = self.calendar.on_or_before(day)
        found = self.base.after(open_day or day - LONGEST_CLOSURE)
        return found and self.calendar.on_or_after(found)

    def before(self, day: date) -> date | None:
        found = self.base.before(day)
        moved = found and self.calendar.on_or_after(found)
        if found and (not moved or moved >= day):  # its closure reaches up to `day`: go before it
            open_day = self.calendar.on_or_before(found)
            found = open_day and self.base.before(open_day + _DAY)
            moved = found and self.calendar.on_or_after(found)
        return moved

    def shortest_distance(self) -> int:
        return 1  # moving can bring any two days together


@dataclass(frozen=True)
class _DaysMovedBack:
    """The base's days, those in a closure moved to the last business day before it."""

    base: Days
    calendar: Calendar

    def match(self, day: date) -> bool:
        if not self.calendar.is_business_day(day):
            return False
        first = self.base.after(day - _DAY)
        return first is not None and self.calendar.on_or_before(first) == day

    def after(self, day: date) -> date | None:
        found = self.base.after(day)
        moved = found and self.calendar.on_or_before(found)
        if found and (not moved or moved <= day):  # its closure begins right behind `day`
            open_day = self.calendar.on_or_after(found)
            found = open_day and self.base.after(open_day - _DAY)
            moved = found and self.calendar.on_or_before(found)
        return moved

    def before(self, day: date) -> date | None:
        open_day = self.calendar.on_or_after(day)
        found = self.base.before(open_day or day + LONGEST_CLOSURE)
        return found and self.calendar.on_or_before(found)

    def shortest_distance(self) -> int:
        return 1
