"""Named sets of excluded days, and schedules that run on business days only.

A job's `calendar` column holds "name" or "name:rule". The rule decides about a slot whose local
date is not a business day: `skip` (the default) drops it, `next` and `previous` move it to the
nearest business day on that side, at the same local time. Slots that meet there become one.
docs/schedules.md has examples.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib.metadata import version
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.schedule.business_days import (
    LONGEST_CLOSURE,
    Rule,
    business_days,
    nominal_day,
    sources,
)
from scheduler.schedule.clock_changes import in_utc_of_fixed_time
from scheduler.schedule.cron_schedule import CronSchedule, ZonedSchedule
from scheduler.schedule.errors import ScheduleError
from scheduler.schedule.job_schedule import JobSchedule, start_of
from scheduler.schedule.kinds import read_schedule
from scheduler.schedule.pattern import Days, Pattern
from scheduler.schedule.several import SeveralSchedules
from scheduler.schedule.slots import slots_between

_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
# So many slots of a closure may move to one day: one each 10 seconds of a long weekend.
_MOST_MOVED: Final = 50_000


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
        pattern = self.base.pattern
        days = business_days(pattern.days, Calendar(self.spec), self.rule)
        object.__setattr__(self, "zone", self.base.zone)
        object.__setattr__(self, "pattern", replace(pattern, days=days))

    @property
    def moves_slots(self) -> bool:
        return self.rule != Rule.SKIP

    def nominal_day(self, day: date) -> date:
        return nominal_day(self.pattern.days, day)

    def has_slots_on(self, day: date) -> bool:
        return self.pattern.days.match(day)

    def moved_from(self, slot: datetime) -> date | None:
        day = slot.astimezone(self.zone).date()
        is_moved = self.moves_slots and not self.base.pattern.days.match(day)
        return self.nominal_day(day) if is_moved else None


@dataclass(frozen=True, kw_only=True)
class BusinessDays(JobSchedule):
    """Any other `base` on the business days of `spec`.

    A slot that moves keeps its local time, and is a fixed time when the clock changes.
    """

    base: JobSchedule
    spec: CalendarSpec
    rule: Rule = Rule.SKIP
    zone: ZoneInfo = field(init=False, compare=False, repr=False)
    days: Days = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        days = business_days(_DaysOf(self.base), Calendar(self.spec), self.rule)
        object.__setattr__(self, "zone", self.base.zone)
        object.__setattr__(self, "days", days)

    def next_after(self, instant: datetime) -> datetime | None:
        day: date | None = instant.astimezone(self.zone).date()
        if day is not None and not self.days.match(day):
            day = self.days.after(day)
        while day is not None:
            slots = _slots_on_day(self, day)
            place = bisect_right(slots, instant)
            if place < len(slots):
                return slots[place]
            day = self.days.after(day)
        return None

    def last_until(self, instant: datetime) -> datetime | None:
        day: date | None = instant.astimezone(self.zone).date()
        if day is not None and not self.days.match(day):
            day = self.days.before(day)
        while day is not None:
            slots = _slots_on_day(self, day)
            if place := bisect_right(slots, instant):
                return slots[place - 1]
            day = self.days.before(day)
        return None

    @property
    def moves_slots(self) -> bool:
        return self.rule != Rule.SKIP

    def nominal_day(self, day: date) -> date:
        return nominal_day(self.days, day)

    def moved_from(self, slot: datetime) -> date | None:
        if not self.moves_slots or self.base.last_until(slot) == slot:
            return None
        wall = slot.astimezone(self.zone)
        of_day = (each.astimezone(self.zone) for each in self._sources(wall.date()))
        same_time = (each.date() for each in of_day if each.time() == wall.time())
        return next(same_time, self.nominal_day(wall.date()))

    def has_slots_on(self, day: date) -> bool:
        return self.days.match(day)

    def _sources(self, day: date) -> list[datetime]:
        first, last = sources(day, Calendar(self.spec), self.rule)
        begin = start_of(first, self.zone) - _SECOND
        end = start_of(last + _DAY, self.zone) - _SECOND
        return slots_between(self.base, begin, end, _MOST_MOVED)

    def slots_on(self, day: date) -> tuple[datetime, ...]:
        """Returns the slots of a business day, ascending: its own, and those that move to it."""
        found = set()
        for slot in self._sources(day):
            wall = slot.astimezone(self.zone).replace(tzinfo=None, fold=0)
            if wall.date() != day:
                slot = in_utc_of_fixed_time(datetime.combine(day, wall.time()), self.zone)
            found.add(slot)
        return tuple(sorted(found))


@lru_cache(maxsize=1024)
def _slots_on_day(schedule: BusinessDays, day: date) -> tuple[datetime, ...]:
    return schedule.slots_on(day)


@dataclass(frozen=True)
class _DaysOf:
    """The local days on which a schedule has slots. Implements pattern.Days."""

    base: JobSchedule

    def match(self, day: date) -> bool:
        return self.base.has_slots_on(day)

    def after(self, day: date) -> date | None:
        slot = self.base.next_after(start_of(day + _DAY, self.base.zone) - _SECOND)
        return slot and slot.astimezone(self.base.zone).date()

    def before(self, day: date) -> date | None:
        slot = self.base.last_until(start_of(day, self.base.zone) - _SECOND)
        return slot and slot.astimezone(self.base.zone).date()

    def shortest_distance(self) -> int:
        return 1


def build_schedule(
    expression: str, timezone: str, calendar: str, calendars: Mapping[str, CalendarSpec]
) -> JobSchedule:
    """Returns the schedule of a job's three columns, cached. An empty `calendar` means none.

    Raises ScheduleError, which names the column.
    """
    base = read_schedule(expression, timezone)
    if not calendar:
        return base
    spec, rule = _read_calendar(calendar, calendars)
    return _on_calendar(base, spec, rule)


def spec_of(calendar: str, calendars: Mapping[str, CalendarSpec]) -> CalendarSpec:
    """Returns the calendar that a job's column names. Raises ScheduleError."""
    return _read_calendar(calendar, calendars)[0]


@lru_cache(maxsize=8192)
def _on_calendar(base: JobSchedule, spec: CalendarSpec, rule: Rule) -> JobSchedule:
    match base:
        case SeveralSchedules():
            members = tuple(_on_calendar(member, spec, rule) for member in base.members)
            return SeveralSchedules(zone=base.zone, members=members)
        case CronSchedule():
            return CalendarSchedule(base=base, spec=spec, rule=rule)
        case _:
            return BusinessDays(base=base, spec=spec, rule=rule)


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
