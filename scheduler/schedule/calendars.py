"""Named sets of excluded days, and schedules that run on business days only.

A job's `calendar` column holds "name" or "name:rule". The rule decides about a slot whose local
date is not a business day: `skip` (the default) drops it, `next` and `previous` move it to the
nearest business day on that side, at the same local time. Slots that meet there become one.
docs/schedules.md has examples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib.metadata import version
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.schedule.cron_schedule import CronSchedule, ZonedSchedule, parse
from scheduler.schedule.errors import ScheduleError
from scheduler.schedule.pattern import Days, Pattern

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


@dataclass(frozen=True, kw_only=True)
class CalendarSpec:
    """What a calendar excludes, as configured. Hashable; any iterable of dates is accepted."""

    name: str
    country: str | None = None
    """ISO code of a country in the `holidays` library, such as KR. None: no public holidays."""
    subdivision: str | None = None
    """A state or province that the library knows, such as BY in DE."""
    weekends: bool = False
    """Saturdays and Sundays are excluded."""
    dates: frozenset[date] = frozenset()
    """Further excluded days."""
    working_dates: frozenset[date] = frozenset()
    """Business days, whatever the other fields exclude."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dates", frozenset(self.dates))
        object.__setattr__(self, "working_dates", frozenset(self.working_dates))


class Calendar:
    """Knows which days are business days, and which one is nearest."""

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
        """Returns the first business day from `day` on; None if three years hold none."""
        return self._nearest(day, range(LONGEST_CLOSURE.days))

    def on_or_before(self, day: date) -> date | None:
        """Returns the last business day until `day`; None if three years hold none."""
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


def years_known(spec: CalendarSpec) -> tuple[int, int] | None:
    """Returns the first and last year whose public holidays are known. None: it has none."""
    return _years_known(spec.country, spec.subdivision) if spec.country else None


@lru_cache(maxsize=128)
def _years_known(country: str, subdivision: str | None) -> tuple[int, int]:
    import holidays  # slow: see below

    known = holidays.country_holidays(country, subdiv=subdivision)
    return known.start_year, known.end_year


def holidays_within(spec: CalendarSpec, first_year: int, last_year: int) -> frozenset[date]:
    """Returns the known public holidays of these years. Raises ScheduleError."""
    known = years_known(spec)
    if known is None:
        return frozenset()
    years = range(max(first_year, known[0]), min(last_year, known[1]) + 1)
    found = (_public_holidays(spec.country or "", spec.subdivision, year) for year in years)
    return frozenset().union(*found)


def holidays_release() -> str:
    """Returns the release of the `holidays` library."""
    return version("holidays")


@lru_cache(maxsize=1024)
def _public_holidays(country: str, subdivision: str | None, year: int) -> frozenset[date]:
    """Returns the public holidays and their substitutes. Empty for years the library does not know.

    Raises ScheduleError if the country or subdivision is unknown.
    """
    try:
        # Imported here: the import is slow, and most processes never need it.
        import holidays

        # Not one mapping for all years: it grows when it is read, and threads share it.
        return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=year))
    except NotImplementedError as error:
        text = _("holidays are not known: %(error)s") % {"error": error}
        raise ScheduleError(text, field="calendar") from error


@dataclass(frozen=True, kw_only=True)
class CalendarSchedule(ZonedSchedule):
    """`base` on the business days of `spec`. Equality and hash use these two and the rule."""

    base: CronSchedule
    spec: CalendarSpec
    rule: Rule = Rule.SKIP
    zone: ZoneInfo = field(init=False, compare=False, repr=False)
    pattern: Pattern = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        calendar, pattern = Calendar(self.spec), self.base.pattern
        days: Days
        match self.rule:
            case Rule.SKIP:
                days = _KeptDays(pattern.days, calendar)
            case Rule.NEXT:
                days = _DaysMovedForward(pattern.days, calendar)
            case Rule.PREVIOUS:
                days = _DaysMovedBack(pattern.days, calendar)
        object.__setattr__(self, "zone", self.base.zone)
        object.__setattr__(self, "pattern", replace(pattern, days=days))

    @property
    def moves_slots(self) -> bool:
        return self.rule != Rule.SKIP

    def nominal_day(self, day: date) -> date:
        days = self.pattern.days
        return days.nominal(day) if isinstance(days, _MovedDays) else day

    def moved_from(self, slot: datetime) -> date | None:
        day = slot.astimezone(self.zone).date()
        is_moved = self.moves_slots and not self.base.pattern.days.match(day)
        return self.nominal_day(day) if is_moved else None


def build_schedule(
    expression: str, timezone: str, calendar: str, calendars: Mapping[str, CalendarSpec]
) -> ZonedSchedule:
    """Returns the schedule of a job's three columns, cached. An empty `calendar` means none.

    Raises ScheduleError, which names the column.
    """
    base = parse(expression, timezone)
    if not calendar:
        return base
    spec, rule = _read_calendar(calendar, calendars)
    return _calendar_schedule(base, spec, rule)


def spec_of(calendar: str, calendars: Mapping[str, CalendarSpec]) -> CalendarSpec:
    """Returns the calendar that a job's column names. Raises ScheduleError."""
    return _read_calendar(calendar, calendars)[0]


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
    if near := nearest(name.lower()[:100], names):
        return _("; did you mean %(name)s?") % {"name": near}
    if names:
        return _("; there are %(names)s") % {"names": ", ".join(names)}
    return _("; there are no calendars")


# The days of a base under each rule. They implement pattern.Days: a Pattern adds the times of day.


@dataclass(frozen=True)
class _KeptDays:
    """The days of the base that are business days."""

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
    calendar: Calendar

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
    calendar: Calendar

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
