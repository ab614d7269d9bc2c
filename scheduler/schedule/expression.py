"""When a cron expression fires: text and zone in, UTC instants out. Reads no clock, knows no table.

Three steps, each its own section below:
1. `_read_expression` reads the text by Debian cron's rules and refuses what jobu does not run.
2. `Pattern` walks naive wall-clock time; croniter finds the days.
3. `first_after` and `newest_until` turn wall-clock times into instants across both DST edges.

docs/schedules.md is the reader's page of the dialect and of the DST rule.

    ScheduleError (ValueError)
    +-- CronParseError
    +-- CronNeverFiresError
    +-- CronIntervalTooShortError
    +-- UnknownTimezoneError
"""

from __future__ import annotations

import copy
import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise, product
from typing import Final, Protocol, runtime_checkable
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

MAX_EXPRESSION_LENGTH: Final = 100
HORIZON_YEARS: Final = 50
"""Nothing is looked for further away. The rarest day, a 29 February on Monday, needs up to 40."""

FIRST_INSTANT: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""No slot lies before it: zones still had offsets with odd seconds, and no job is that late."""
LAST_INSTANT: Final = datetime(9900, 1, 1, tzinfo=UTC)
"""No slot lies after it, so that arithmetic near the year 9999 cannot overflow."""

CLOCK_CHANGE: Final = timedelta(hours=3)
"""Debian cron's limit (cron.c, `3*MINUTE_COUNT`): from here on the clock was set; it is no DST."""

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_DAY_SECONDS: Final = 86_400


# ------------------------------------------------------------------------------------- errors


class ScheduleError(ValueError):
    """The schedule cannot be used.

    `field` is the job's column to blame: cron_expression, timezone or calendar. `reason` is for the
    person who typed it, in the language of the moment (beat's is English); it quotes the input
    escaped, so it may be logged and shown as it is.
    """

    field = "cron_expression"

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        if field is not None:
            self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class CronParseError(ScheduleError):
    """The expression is not in jobu's dialect."""


class CronNeverFiresError(ScheduleError):
    """The expression is well formed, but no day of any year matches it."""


class CronIntervalTooShortError(ScheduleError):
    """Two slots lie closer together than the installation allows."""

    def __init__(self, found_seconds: int, minimum_seconds: int) -> None:
        super().__init__(
            _("two runs can be %(found)s seconds apart; at least %(least)s seconds are required")
            % {"found": found_seconds, "least": minimum_seconds}
        )
        self.args = (found_seconds, minimum_seconds)
        self.found_seconds = found_seconds
        self.minimum_seconds = minimum_seconds


class UnknownTimezoneError(ScheduleError):
    """The zone is not an IANA name that this host knows."""

    field = "timezone"


# --------------------------------------------------------------------------------- public face


class Schedule(Protocol):
    """An endless or ending series of slots. Slots are aware UTC instants on whole seconds."""

    def next_after(self, instant: datetime) -> datetime | None:
        """The first slot strictly after `instant`; None when there is none within the horizon."""

    def last_until(self, instant: datetime) -> datetime | None:
        """The newest slot at or before `instant`, by walking backwards; None when there is none."""


@runtime_checkable
class Spaced(Protocol):
    """A schedule that can say how close its slots get, exactly, without walking them."""

    def shortest_interval_seconds(self, enough_seconds: int) -> int:
        """The shortest distance of two slots if it is below `enough_seconds`, else any more."""


@dataclass(frozen=True, kw_only=True)
class CronSchedule:
    """One expression in one zone. Equal and hashable by those two; threads may share it."""

    expression: str
    zone: ZoneInfo
    pattern: Pattern = field(compare=False, repr=False)

    @property
    def timezone(self) -> str:
        return self.zone.key

    def next_after(self, instant: datetime) -> datetime | None:
        return first_after(self.pattern, self.zone, instant)

    def last_until(self, instant: datetime) -> datetime | None:
        return newest_until(self.pattern, self.zone, instant)

    def shortest_interval_seconds(self, enough_seconds: int) -> int:
        return self.pattern.shortest_interval_seconds(enough_seconds)


def parse(expression: str, timezone: str) -> CronSchedule:
    """The schedule of `expression` in the IANA zone `timezone`; the same object for the same text.

    Raises CronParseError, CronNeverFiresError or UnknownTimezoneError, and nothing else.
    """
    if not isinstance(expression, str):
        raise CronParseError(_("must be text, not %(type)s") % {"type": type(expression).__name__})
    if not isinstance(timezone, str):
        raise UnknownTimezoneError(
            _("must be text, not %(type)s") % {"type": type(timezone).__name__}
        )
    return _parse(expression, timezone)


def slots_between(
    schedule: Schedule, after: datetime, until: datetime, limit: int
) -> list[datetime]:
    """The slots in (after, until], oldest first, at most `limit` of them (the oldest ones)."""
    slots: list[datetime] = []
    slot = schedule.next_after(after)
    while slot is not None and slot <= until and len(slots) < limit:
        slots.append(slot)
        slot = schedule.next_after(slot)
    return slots


def check_interval(schedule: Schedule, minimum_seconds: int, now: datetime) -> None:
    """Refuse a schedule that can fire twice within less than `minimum_seconds`.

    Exact for what `parse` and `build_schedule` give: every pair of slots is judged, not the next
    two. Any other Schedule is judged by its next 200 slots after `now`.
    """
    if isinstance(schedule, Spaced):
        found = schedule.shortest_interval_seconds(minimum_seconds)
    else:
        slots = slots_between(schedule, now, LAST_INSTANT, 200)
        distances = (int((b - a).total_seconds()) for a, b in pairwise(slots))
        found = min(distances, default=minimum_seconds)
    if found < minimum_seconds:
        raise CronIntervalTooShortError(found, minimum_seconds)


@lru_cache(maxsize=8192)
def _parse(expression: str, timezone: str) -> CronSchedule:
    pattern = _read_expression(expression)
    return CronSchedule(expression=expression.strip(" "), zone=_zone(timezone), pattern=pattern)


# "right/" zones count leap seconds, and these names are this host's own settings.
_ZONE_NAME: Final = re.compile(r"(?!right/|posix/)[A-Za-z][A-Za-z0-9_+/-]{0,63}", re.ASCII)
_NOT_A_PLACE: Final = {"localtime", "posixrules", "Factory"}


def _zone(name: str) -> ZoneInfo:
    if _ZONE_NAME.fullmatch(name) and name not in _NOT_A_PLACE:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass  # no such file; a file that is no zone; a folder such as "Europe"
    unknown = _("%(name)s is not a known IANA time zone") % {"name": _quote(name)}
    raise UnknownTimezoneError(unknown + _nearest_zone(name))


def _nearest_zone(name: str) -> str:
    zones = {zone.lower(): zone for zone in _zone_names()}
    cities = {zone.rpartition("/")[2]: zone for zone in zones}
    wanted = name[:64].lower().replace(" ", "_")
    near = get_close_matches(wanted, zones, n=1, cutoff=0.7)
    near += [cities[city] for city in get_close_matches(wanted, cities, n=1, cutoff=0.8)]
    return _("; did you mean %(name)s?") % {"name": zones[near[0]]} if near else ""


@lru_cache(maxsize=1)
def _zone_names() -> tuple[str, ...]:
    return tuple(sorted(available_timezones() - _NOT_A_PLACE))


def _quote(text: str) -> str:
    """`text` in quotes, escaped and short: what was typed may hold newlines or terminal codes."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")


# ------------------------------------------------------------------------- 1. reading the text


@dataclass(frozen=True)
class _Field:
    """What one field may hold. `*` and `5/15` end at `top`; `high` is the largest number taken."""

    name: str
    low: int
    top: int
    high: int
    names: tuple[str, ...] = ()


_SECONDS: Final = _Field("second", 0, 59, 59)
_MINUTES: Final = _Field("minute", 0, 59, 59)
_HOURS: Final = _Field("hour", 0, 23, 23)
_DOM: Final = _Field("day of month", 1, 31, 31)
_MONTH_NAMES: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
_MONTHS: Final = _Field("month", 1, 12, 12, _MONTH_NAMES)
_DOW: Final = _Field("day of week", 0, 6, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))

_FIVE: Final = (_MINUTES, _HOURS, _DOM, _MONTHS, _DOW)
_SIX: Final = (_SECONDS, *_FIVE)

_ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

LAST_OF_MONTH: Final = 0
"""Stands for "the last one of the month" where 1 to 5 count weekdays."""

_RANGE: Final = re.compile(r"(\*|\?|[a-z0-9]+)(?:-([a-z0-9]+))?(?:/([0-9]+))?", re.ASCII)
_NTH: Final = re.compile(r"([a-z]+|[0-9]+)#([0-9]+)", re.ASCII)
_LAST_WEEKDAY: Final = re.compile(r"l(sun|mon|tue|wed|thu|fri|sat|[0-9]+)|([a-z0-9]+?)l", re.ASCII)


def _read_expression(text: str) -> Pattern:
    written = _split(text)
    texts = dict(zip(_SIX if len(written) == 6 else _FIVE, written, strict=True))
    seconds = _numbers(_SECONDS, texts.get(_SECONDS, "0"))
    minutes, hours = _numbers(_MINUTES, texts[_MINUTES]), _numbers(_HOURS, texts[_HOURS])
    days = _read_days(texts[_DOM], texts[_MONTHS], texts[_DOW])
    if not days.exist():
        raise CronNeverFiresError(
            _("never fires: no month that is chosen has such a day (%(text)s)")
            % {"text": _quote(text.strip())}
        )
    # Debian cron (entry.c, MIN_STAR and HR_STAR) goes by the first character of these two fields.
    # The seconds have no say, so that "0 " in front of five fields changes nothing.
    catches_up = not (texts[_MINUTES].startswith("*") or texts[_HOURS].startswith("*"))
    return Pattern(seconds=seconds, minutes=minutes, hours=hours, days=days, catches_up=catches_up)


def _split(text: str) -> list[str]:
    """The five or six fields in lower case, aliases replaced."""
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise CronParseError(
            _("is %(length)s characters long, at most %(most)s allowed")
            % {"length": len(text), "most": MAX_EXPRESSION_LENGTH}
        )
    for place, character in enumerate(text, start=1):
        if not " " <= character <= "~":
            raise CronParseError(
                _(
                    "character %(place)s is %(character)s; only printable ASCII, with spaces "
                    "between the fields, is allowed"
                )
                % {"place": place, "character": f"U+{ord(character):04X}"}
            )
    text = text.strip(" ").lower()
    if text.startswith("@"):
        if text == "@reboot":
            raise CronParseError(_("@reboot names no time; jobs here run at times only"))
        if text not in _ALIASES:
            said = {"text": _quote(text), "known": ", ".join(_ALIASES)}
            raise CronParseError(_("%(text)s is unknown; there are %(known)s") % said)
        text = _ALIASES[text]
    fields = text.split()
    if len(fields) not in (5, 6):
        raise CronParseError(
            _(
                "has %(count)s fields; write 5 (minute hour day month weekday), or 6 with the "
                "seconds first"
            )
            % {"count": len(fields)}
        )
    return fields


def _numbers(kind: _Field, text: str) -> tuple[int, ...]:
    """The values of a field that holds nothing but numbers, names, ranges and steps, ascending."""
    if "?" in text and (text != "?" or kind not in (_DOM, _DOW)):
        raise _wrong(kind, "?", _("'?' stands alone, in one of the two day fields"))
    found: set[int] = set()
    for item in text.split(","):
        found.update(_item(kind, item))
    return tuple(sorted(found))


def _item(kind: _Field, item: str) -> Iterable[int]:
    shape = _RANGE.fullmatch(item)
    if shape is None:
        raise _unreadable(kind, item)
    start, end, step_text = shape.groups()
    if start in ("*", "?"):
        if end:
            raise _unreadable(kind, item)
        low, high = kind.low, kind.top
    else:
        low = _number(kind, start, item)
        high = _number(kind, end, item) if end else low
        if high < low:
            text = _("range %(item)s runs backwards; write two ranges with a comma")
            raise _wrong(kind, item, text)
        if (
            step_text and not end
        ):  # "5/15" means from 5 on; Sunday written as 7 is the week's first day
            low, high = _fold_sunday(kind, low), kind.top
    return (
        _fold_sunday(kind, value) for value in range(low, high + 1, _step(kind, step_text, item))
    )


def _number(kind: _Field, text: str, item: str) -> int:
    if text in kind.names:
        return kind.names.index(text) + kind.low
    if not text.isdigit():
        raise _unreadable(kind, item)
    value = int(text)
    if not kind.low <= value <= kind.high:
        text = _("%(item)s is outside %(low)s-%(high)s")
        raise _wrong(kind, item, text, low=kind.low, high=kind.high)
    return value


def _step(kind: _Field, text: str | None, item: str) -> int:
    if text is None:
        return 1
    step, largest = int(text), kind.top - kind.low + 1
    if not 1 <= step <= largest:
        raise _wrong(
            kind, item, _("the step of %(item)s is outside 1-%(largest)s"), largest=largest
        )
    return step


def _fold_sunday(kind: _Field, value: int) -> int:
    return 0 if kind is _DOW and value == 7 else value


def _unreadable(kind: _Field, item: str) -> CronParseError:
    """The most helpful reason why `item` cannot stand in this field."""
    if not item:
        return _wrong(kind, item, _("a value is missing around a comma"))
    if re.fullmatch(r"[rh](\(.*\))?(/.*)?", item):
        text = _("%(item)s would be a random or hashed value; use the job's jitter_seconds")
        return _wrong(kind, item, text)
    if kind is _DOM and "w" in item:
        text = _(
            "%(item)s: nearest weekday is not supported; use a calendar with the rule 'next' or "
            "'previous'"
        )
        return _wrong(kind, item, text)
    if "l" in item and kind in (_DOM, _DOW) and not item.isalpha():
        text = _("%(item)s: 'L' is a day of month by itself, or stands beside one weekday ('5L')")
        return _wrong(kind, item, text)
    if "#" in item and kind is _DOW:
        return _wrong(kind, item, _("%(item)s: write one weekday, '#' and 1-5 ('mon#2')"))
    return _wrong(kind, item, _("%(item)s cannot be read"))


def _wrong(kind: _Field, item: str, text: str, **facts: object) -> CronParseError:
    """`text` about `item`, after the name of the field that it stands in."""
    field_name = pgettext("field", kind.name)
    return CronParseError(f"{field_name}: {text % {'item': _quote(item), **facts}}")


def _read_days(dom_text: str, month_text: str, dow_text: str) -> CronDays:
    dom_items = dom_text.split(",")
    plain_dom = [item for item in dom_items if item != "l"]
    plain_dow: list[str] = []
    nths: set[tuple[int, int]] = set()
    for item in dow_text.split(","):
        if nth := _NTH.fullmatch(item):
            count = int(nth[2])
            if not 1 <= count <= 5:
                raise _wrong(_DOW, item, _("%(item)s: a month has weekdays #1 to #5"))
            nths.add((_fold_sunday(_DOW, _number(_DOW, nth[1], item)), count))
        elif last := _LAST_WEEKDAY.fullmatch(item):
            nths.add((_fold_sunday(_DOW, _number(_DOW, last[1] or last[2], item)), LAST_OF_MONTH))
        else:
            plain_dow.append(item)
    return CronDays(
        months=_numbers(_MONTHS, month_text),
        doms=_numbers(_DOM, ",".join(plain_dom)) if plain_dom else (),
        last_dom=len(plain_dom) < len(dom_items),
        dows=_numbers(_DOW, ",".join(plain_dow)) if plain_dow else (),
        nths=tuple(sorted(nths)),
        # Debian cron (cron.c, DOM_STAR and DOW_STAR): a field that merely starts with "*" counts.
        both=dom_text[0] in "*?" or dow_text[0] in "*?",
    )


# ------------------------------------------------------------------- 2. walking the wall clock


class Days(Protocol):
    """A set of days, endless or not."""

    def match(self, day: date) -> bool: ...

    def after(self, day: date) -> date | None:
        """The first one strictly after `day`; None when there is none within the horizon."""

    def before(self, day: date) -> date | None:
        """The last one strictly before `day`; None when there is none within the horizon."""

    def shortest_distance(self) -> int:
        """The fewest days from one to another."""


@dataclass(frozen=True, kw_only=True)
class CronDays:
    """The days of three cron fields. `both`: day of month AND weekday must match, else either."""

    months: tuple[int, ...]
    doms: tuple[int, ...]
    last_dom: bool
    dows: tuple[int, ...]
    nths: tuple[tuple[int, int], ...]
    both: bool
    _walkers: tuple[croniter, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # croniter gets plain lists of values only: its reading of `9-9`, `59/15`, of `*/2` in day
        # fields and of wrapped ranges differs from Debian cron's, and changed between releases.
        months = _words(self.months, 12)
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
        if self.match(day + _DAY):  # most jobs; croniter takes ten times as long
            return day + _DAY
        found = [_step_walker(walker, day, backwards=False) for walker in self._walkers]
        return min((near for near in found if near is not None), default=None)

    def before(self, day: date) -> date | None:
        if self.match(day - _DAY):
            return day - _DAY
        found = [_step_walker(walker, day, backwards=True) for walker in self._walkers]
        return max((near for near in found if near is not None), default=None)

    def exist(self) -> bool:
        """False if no calendar day can ever match."""
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
        dom = day in self.doms or (self.last_dom and day == length)
        dow = weekday in self.dows or any(
            weekday == wanted
            and (day + 7 > length if count == LAST_OF_MONTH else count == (day + 6) // 7)
            for wanted, count in self.nths
        )
        return (dom and dow) if self.both else (dom or dow)

    def _alternatives(self) -> Iterator[tuple[str, str]]:
        """Pairs (day of month, weekday) in croniter's words whose union is these days.

        croniter reads a pair with day_or=False, so both must match. It cannot mix `#` with plain
        weekdays, and makes an AND of `1 * 1#2` where the rule is OR; one pair per kind has neither
        trouble.
        """
        doms = [_words(self.doms, 31)] * bool(self.doms) + ["l"] * self.last_dom
        dows = [_words(self.dows, 7)] * bool(self.dows)
        if self.nths:
            dows.append(
                ",".join(f"l{dow}" if n == LAST_OF_MONTH else f"{dow}#{n}" for dow, n in self.nths)
            )
        if self.both:
            yield from product(doms, dows)
        else:
            yield from ((dom, "*") for dom in doms)
            yield from (("*", dow) for dow in dows)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A set of naive wall-clock times: the same ones on each of its days."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days
    catches_up: bool
    """True: fixed times, once per wall-clock value. False: they follow the clock as it is."""

    def after(self, wall: datetime) -> datetime | None:
        """The first wall time strictly after `wall`."""
        if self.days.match(wall.date()):
            later = self._time_after(wall.hour, wall.minute, wall.second)
            if later is not None:
                return datetime.combine(wall, later)
        day = self.days.after(wall.date())
        first = time(self.hours[0], self.minutes[0], self.seconds[0])
        return None if day is None else datetime.combine(day, first)

    def until(self, wall: datetime) -> datetime | None:
        """The last wall time at or before `wall`."""
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
        """See Spaced. By the wall clock: an hour that a gap shortens is not a shorter interval."""
        seconds, minutes, hours = self.seconds, self.minutes, self.hours
        over_minute = seconds[0] - seconds[-1]
        over_hour = (minutes[0] - minutes[-1]) * 60 + over_minute
        overnight = (24 + hours[0] - hours[-1]) * 3600 + over_hour
        distances = [b - a for a, b in pairwise(seconds)]
        distances += [(b - a) * 60 + over_minute for a, b in pairwise(minutes)]
        distances += [(b - a) * 3600 + over_hour for a, b in pairwise(hours)]
        if overnight < enough_seconds:  # only then is it worth the 10 ms to look at all days
            overnight += (self.days.shortest_distance() - 1) * _DAY_SECONDS
        return min([*distances, overnight])


def _step_walker(walker: croniter, day: date, *, backwards: bool) -> date | None:
    # A croniter remembers where it stands, so a shared one must not be stepped: another thread may
    # be at it. A shallow copy costs a microsecond and shares the parsed lists, which are only read.
    own = copy.copy(walker)
    try:
        step = own.get_prev if backwards else own.get_next
        found: datetime = step(datetime, start_time=datetime.combine(day, time()))
    except (OverflowError, ValueError):
        return None  # none within the horizon, or beyond the years that datetime can hold
    return found.date()


def _words(values: tuple[int, ...], size: int) -> str:
    return "*" if len(values) == size else ",".join(map(str, values))


# --------------------------------------------------------- 3. from the wall clock to instants
#
# Debian cron (3.0pl1, cron.c, main loop) counts wall-clock minutes. If the clock leaps forward by
# less than three hours, it runs the fixed-time jobs of the minutes it missed, at once; if it is put
# back by up to three hours, it runs no fixed-time job until the clock has caught up. Interval-like
# jobs follow the clock as it is. A larger leap is a changed clock, not DST: all jobs follow it.


def first_after(pattern: Pattern, zone: ZoneInfo, instant: datetime) -> datetime | None:
    """The first instant strictly after `instant` at which `pattern` is due in `zone`."""
    instant = max(_whole_second(instant), FIRST_INSTANT - _SECOND)
    if instant >= LAST_INSTANT:
        return None
    local = instant.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    edge = _edge_at(wall, zone)  # a repeated hour or nothing: the clock never shows a time in a gap
    if edge and local.fold and not edge.repeats(pattern):
        wall = edge.wall_before - _SECOND  # the first pass has run the rest of the repeated hour
    found = _first_from(pattern, zone, wall, instant)
    if edge and not local.fold and edge.repeats(pattern):
        # After the first pass the clock shows the hour once more, before anything that comes later.
        again = pattern.after(edge.wall_after - _SECOND)
        if again is not None and again < edge.wall_before:
            repeated = (again - edge.offset_after).replace(tzinfo=UTC)
            found = min(found or repeated, repeated)
    return found if found is not None and found <= LAST_INSTANT else None


def newest_until(pattern: Pattern, zone: ZoneInfo, instant: datetime) -> datetime | None:
    """The newest instant at or before `instant` at which `pattern` is due: first_after's mirror."""
    instant = min(_whole_second(instant), LAST_INSTANT)
    if instant < FIRST_INSTANT:
        return None
    local = instant.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    edge = _edge_at(wall, zone)
    if edge and local.fold and not edge.repeats(pattern):
        wall = edge.wall_before - _SECOND
    found = _newest_from(pattern, zone, wall, instant)
    if edge and local.fold and edge.repeats(pattern):
        # Before the second pass the clock has shown the whole hour, also what lies after `wall`.
        earlier = pattern.until(edge.wall_before - _SECOND)
        if earlier is not None and earlier >= edge.wall_after:
            shown = (earlier - edge.offset_before).replace(tzinfo=UTC)
            found = max(found or shown, shown)
    return found if found is not None and found >= FIRST_INSTANT else None


def _first_from(
    pattern: Pattern, zone: ZoneInfo, wall: datetime, instant: datetime
) -> datetime | None:
    """The first due instant after `instant` among the wall times after `wall`."""
    while (due := pattern.after(wall)) is not None:
        wall = due
        edge = _edge_at(wall, zone)
        if edge is None:
            found = _in_utc(wall, zone)
        elif edge.repeated:
            found = (wall - edge.offset_before).replace(tzinfo=UTC)
            if found <= instant and edge.repeats(pattern):
                found = (wall - edge.offset_after).replace(tzinfo=UTC)
        elif edge.catches_up(pattern):
            found = edge.at
        else:
            wall = edge.wall_after - _SECOND
            continue
        if found > instant:
            return found
    return None


def _newest_from(
    pattern: Pattern, zone: ZoneInfo, wall: datetime, instant: datetime
) -> datetime | None:
    """The newest due instant until `instant` among the wall times until `wall`."""
    while (due := pattern.until(wall)) is not None:
        edge = _edge_at(due, zone)
        if edge is None:
            found = _in_utc(due, zone)
        elif edge.repeated:
            found = (due - edge.offset_after).replace(tzinfo=UTC)
            if found > instant or not edge.repeats(pattern):
                found = (due - edge.offset_before).replace(tzinfo=UTC)
        elif edge.catches_up(pattern):
            found = edge.at
        else:
            wall = edge.wall_before - _SECOND
            continue
        if found <= instant:
            return found
        wall = due - _SECOND
    return None


@dataclass(frozen=True, kw_only=True)
class ClockChange:
    """A change of the zone's offset that skips or repeats wall-clock time.

    At the moment `at` the clock, which was about to show `wall_before`, shows `wall_after` instead.
    """

    at: datetime
    offset_before: timedelta
    offset_after: timedelta

    @property
    def wall_before(self) -> datetime:
        return self.at.replace(tzinfo=None) + self.offset_before

    @property
    def wall_after(self) -> datetime:
        return self.at.replace(tzinfo=None) + self.offset_after

    @property
    def repeated(self) -> bool:
        return self.offset_after < self.offset_before

    def repeats(self, pattern: Pattern) -> bool:
        """Whether the second pass of a repeated hour is due too."""
        return self.repeated and (
            not pattern.catches_up or self.offset_before - self.offset_after > CLOCK_CHANGE
        )

    def catches_up(self, pattern: Pattern) -> bool:
        """Whether a time that the gap skipped is due at its end."""
        return pattern.catches_up and self.offset_after - self.offset_before < CLOCK_CHANGE


def clock_changes(zone: ZoneInfo, since: datetime, until: datetime) -> list[ClockChange]:
    """The changes of the zone's clock in (since, until] that skip or repeat wall-clock time.

    Two within one day that undo each other are not seen.
    """
    found: list[ClockChange] = []
    low = _whole_second(since)
    while low < until:
        high = min(low + _DAY, _whole_second(until))
        before, after = (at.astimezone(zone).utcoffset() for at in (low, high))
        if before is not None and after is not None and before != after:
            at = _turn(low, high, after, zone)
            found.append(ClockChange(at=at, offset_before=before, offset_after=after))
        low = high if high > low else until
    return found


def _edge_at(wall: datetime, zone: ZoneInfo) -> ClockChange | None:
    """The edge at which `wall` is skipped or shown twice; None for an ordinary time."""
    aware = wall.replace(tzinfo=zone)
    before, after = aware.utcoffset(), aware.replace(fold=1).utcoffset()
    if before == after or before is None or after is None:
        return None
    low, high = (at.replace(tzinfo=UTC) for at in sorted((wall - before, wall - after)))
    at = _turn(low, high, after, zone)
    return ClockChange(at=at, offset_before=before, offset_after=after)


def _turn(low: datetime, high: datetime, after: timedelta, zone: ZoneInfo) -> datetime:
    """The first second in (low, high] at which the zone's offset is `after`, as it is at `high`."""
    while high - low > _SECOND:
        middle = low + (high - low) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high


def _in_utc(wall: datetime, zone: ZoneInfo) -> datetime:
    return wall.replace(tzinfo=zone).astimezone(UTC)


def _whole_second(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("instant must be aware; a naive one would be read in the host's own zone")
    return instant.astimezone(UTC).replace(microsecond=0)
