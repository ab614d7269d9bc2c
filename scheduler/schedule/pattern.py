"""A set of wall-clock times, and the way from one of them to the next or the previous one.

Times here are naive: they know no zone. croniter finds the days.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, date, datetime, time, timedelta
from itertools import pairwise, product
from typing import Final, Protocol

from croniter import croniter

from scheduler.schedule.month_days import MonthDay, days_in

HORIZON_YEARS: Final = 50
"""The search for a day ends here. The rarest day, a 29 February on Monday, needs up to 40."""

LAST_OF_MONTH: Final = 0
"""Stands for "the last one of the month" where 1 to 5 count weekdays."""

_DAY: Final = timedelta(days=1)
_DAY_SECONDS: Final = 86_400


class WallTimes(Protocol):
    """A set of naive wall-clock times."""

    @property
    def is_fixed_time(self) -> bool:
        """True: each time is due once, whatever the clock does. False: it follows the clock."""

    def after(self, wall: datetime) -> datetime | None:
        """Returns the first time strictly after `wall`; None if the horizon holds none."""

    def until(self, wall: datetime) -> datetime | None:
        """Returns the last time at or before `wall`; None if the horizon holds none."""

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        """See slots.KnowsShortestInterval."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A set of naive wall-clock times: the same times on each of its days."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days
    is_fixed_time: bool
    """True: each time is due once, whatever the clock does. False: it follows the clock."""

    def after(self, wall: datetime) -> datetime | None:
        """Returns the first time strictly after `wall`; None if the horizon holds none."""
        if self.days.match(wall.date()):
            later = self._time_after(wall.hour, wall.minute, wall.second)
            if later is not None:
                return datetime.combine(wall, later)
        day = self.days.after(wall.date())
        first = time(self.hours[0], self.minutes[0], self.seconds[0])
        return None if day is None else datetime.combine(day, first)

    def until(self, wall: datetime) -> datetime | None:
        """Returns the last time at or before `wall`; None if the horizon holds none."""
        if self.days.match(wall.date()):
            earlier = self._time_until(wall.hour, wall.minute, wall.second)
            if earlier is not None:
                return datetime.combine(wall, earlier)
        day = self.days.before(wall.date())
        last = time(self.hours[-1], self.minutes[-1], self.seconds[-1])
        return None if day is None else datetime.combine(day, last)

    def _time_after(self, hour: int, minute: int, second: int) -> time | None:
        if hour in self.hours:
            if minute in self.minutes and second < self.seconds[-1]:
                return time(hour, minute, self.seconds[bisect_right(self.seconds, second)])
            if minute < self.minutes[-1]:
                return time(hour, self.minutes[bisect_right(self.minutes, minute)], self.seconds[0])
        if hour < self.hours[-1]:
            later = self.hours[bisect_right(self.hours, hour)]
            return time(later, self.minutes[0], self.seconds[0])
        return None

    def _time_until(self, hour: int, minute: int, second: int) -> time | None:
        if hour in self.hours:
            if minute in self.minutes and second >= self.seconds[0]:
                return time(hour, minute, self.seconds[bisect_right(self.seconds, second) - 1])
            if minute > self.minutes[0]:
                earlier = self.minutes[bisect_left(self.minutes, minute) - 1]
                return time(hour, earlier, self.seconds[-1])
        if hour > self.hours[0]:
            earlier = self.hours[bisect_left(self.hours, hour) - 1]
            return time(earlier, self.minutes[-1], self.seconds[-1])
        return None

    def shortest_interval_seconds(self, enough_seconds: int) -> int:
        """See slots.KnowsShortestInterval.

        Counts by the wall clock: an hour that a clock change shortens is not a shorter interval.
        """
        seconds, minutes, hours = self.seconds, self.minutes, self.hours
        over_minute = seconds[0] - seconds[-1]
        over_hour = (minutes[0] - minutes[-1]) * 60 + over_minute
        overnight = (24 + hours[0] - hours[-1]) * 3600 + over_hour
        distances = [b - a for a, b in pairwise(seconds)]
        distances += [(b - a) * 60 + over_minute for a, b in pairwise(minutes)]
        distances += [(b - a) * 3600 + over_hour for a, b in pairwise(hours)]
        if overnight < enough_seconds:  # a look at all days takes 10 ms: only if the nights matter
            overnight += (self.days.shortest_distance() - 1) * _DAY_SECONDS
        return min([*distances, overnight])


class Days(Protocol):
    """A set of days, with or without an end."""

    def match(self, day: date) -> bool:
        """Returns whether `day` is one of them."""

    def after(self, day: date) -> date | None:
        """Returns the first one strictly after `day`; None if the horizon holds none."""

    def before(self, day: date) -> date | None:
        """Returns the last one strictly before `day`; None if the horizon holds none."""

    def shortest_distance(self) -> int:
        """Returns the smallest number of days between two of them."""


@dataclass(frozen=True, kw_only=True)
class CronDays:
    """The days that the three day fields of an expression name.

    `nths` holds pairs (weekday, which one of the month). `month_days` are found here, because
    croniter does not know them. `both`: day of month and weekday must match; else one is enough.
    """

    months: tuple[int, ...]
    doms: tuple[int, ...]
    last_dom: bool
    dows: tuple[int, ...]
    nths: tuple[tuple[int, int], ...]
    both: bool
    month_days: tuple[MonthDay, ...] = ()
    _walkers: tuple[croniter, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # croniter gets plain lists of values only: its reading of `9-9`, `59/15`, of `*/2` in day
        # fields and of wrapped ranges differs from Debian cron's, and changed between releases.
        months = _values(self.months, 12)
        walkers = tuple(
            croniter(
                f"0 0 {dom} {months} {dow}",
                start_time=0.0,
                day_or=False,
                max_years_between_matches=HORIZON_YEARS,
            )
            for dom, dow in self._alternatives()
        )
        object.__setattr__(self, "_walkers", walkers)

    def match(self, day: date) -> bool:
        return day.month in self.months and self._fits(
            day.day, monthrange(day.year, day.month)[1], day.isoweekday() % 7
        )

    def after(self, day: date) -> date | None:
        if self.match(day + _DAY):  # true for most jobs, and ten times as fast as croniter
            return day + _DAY
        found = [_step(walker, day, backwards=False) for walker in self._walkers]
        found.append(self._month_day(day, backwards=False))
        return min((near for near in found if near is not None), default=None)

    def before(self, day: date) -> date | None:
        if self.match(day - _DAY):
            return day - _DAY
        found = [_step(walker, day, backwards=True) for walker in self._walkers]
        found.append(self._month_day(day, backwards=True))
        return max((near for near in found if near is not None), default=None)

    def exist(self) -> bool:
        """Returns whether any day of any year matches."""
        return any(
            self._fits(day, length, weekday)
            for month in self.months
            for length in ((28, 29) if month == 2 else (monthrange(2001, month)[1],))
            for day in range(1, length + 1)
            for weekday in range(7)
        )

    def shortest_distance(self) -> int:
        # The calendar repeats after 28 years.
        start, end = date(2001, 1, 1), date(2029, 1, 1)
        shortest, previous = (end - start).days, None
        for ordinal in range(start.toordinal(), end.toordinal()):
            if self.match(date.fromordinal(ordinal)):
                shortest = min(shortest, ordinal - previous) if previous else shortest
                previous = ordinal
            if shortest == 1:
                break
        return shortest

    def _fits(self, day: int, length: int, weekday: int) -> bool:
        dom = (
            day in self.doms
            or (self.last_dom and day == length)
            or (
                bool(self.month_days)
                and day in days_in(self.month_days, length, (weekday - day + 1) % 7)
            )
        )
        dow = weekday in self.dows or any(
            weekday == wanted
            and (day + 7 > length if count == LAST_OF_MONTH else count == (day + 6) // 7)
            for wanted, count in self.nths
        )
        return (dom and dow) if self.both else (dom or dow)

    def _month_day(self, day: date, *, backwards: bool) -> date | None:
        """Returns the next or the previous one of `month_days` that is one of these days."""
        months = range(HORIZON_YEARS * 12 + 1) if self.month_days else ()
        for distance in months:
            year, month = divmod(
                day.year * 12 + day.month - 1 + (-distance if backwards else distance), 12
            )
            if not MINYEAR <= year <= MAXYEAR:
                return None
            if month + 1 not in self.months:
                continue
            first, length = date(year, month + 1, 1), monthrange(year, month + 1)[1]
            numbers = days_in(self.month_days, length, first.isoweekday() % 7)
            for number in sorted(numbers, reverse=backwards):
                found = first.replace(day=number)
                if (found < day if backwards else found > day) and self.match(found):
                    return found
        return None

    def _alternatives(self) -> Iterator[tuple[str, str]]:
        """Yields pairs (day of month, weekday) in croniter's syntax. Their union is these days.

        croniter reads a pair with day_or=False, so both must match. It cannot mix `#` with plain
        weekdays, and makes an AND of `1 * 1#2` where the rule is OR. One pair per kind avoids both.
        """
        doms = [_values(self.doms, 31)] * bool(self.doms) + ["l"] * self.last_dom
        dows = [_values(self.dows, 7)] * bool(self.dows)
        if self.nths:
            dows.append(
                ",".join(f"l{dow}" if n == LAST_OF_MONTH else f"{dow}#{n}" for dow, n in self.nths)
            )
        if self.both:
            yield from product(doms, dows)
        else:
            yield from ((dom, "*") for dom in doms)
            yield from (("*", dow) for dow in dows)


def _step(walker: croniter, day: date, *, backwards: bool) -> date | None:
    # A croniter remembers its position, and another thread may use the shared one at this moment.
    # A shallow copy costs a microsecond. It shares the parsed lists, which nobody changes.
    own = copy.copy(walker)
    try:
        step = own.get_prev if backwards else own.get_next
        found: datetime = step(datetime, start_time=datetime.combine(day, time()))
    except (OverflowError, ValueError):
        return None  # none within the horizon, or beyond the years that datetime can hold
    return found.date()


def _values(values: tuple[int, ...], size: int) -> str:
    return "*" if len(values) == size else ",".join(map(str, values))
