"""Recurrence rules of RFC 5545, such as `RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=FR`.

python-dateutil computes them on naive local time. It begins at DTSTART and goes on to the year 9999
when nothing is found, so that no search here is left to it alone:

- A search begins at the period (year, month, week, day, hour or minute) that it is about.
- It is done in the last 400 years before 9999, after which the calendar repeats day by day. What is
  not found ends there.
- A rule with COUNT is computed once, and kept.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

from dateutil.rrule import DAILY, HOURLY, MINUTELY, MONTHLY, WEEKLY, YEARLY, rrule, rrulestr
from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.schedule.cron_schedule import ZonedSchedule
from scheduler.schedule.errors import CronNeverFiresError, CronParseError, quote
from scheduler.schedule.instants import Written, read_written
from scheduler.schedule.pattern import HORIZON_YEARS

MOST_COUNTED: Final = 1000
"""A rule with a larger COUNT is refused: its runs are computed together."""

_KEYS: Final = (
    *("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYMONTHDAY", "BYDAY", "BYHOUR"),
    *("BYMINUTE", "BYSECOND", "BYSETPOS", "BYYEARDAY", "BYWEEKNO"),
)
_FREQUENCIES: Final[dict[str, int]] = {
    "YEARLY": YEARLY,
    "MONTHLY": MONTHLY,
    "WEEKLY": WEEKLY,
    "DAILY": DAILY,
    "HOURLY": HOURLY,
    "MINUTELY": MINUTELY,
}
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY_KEYS: Final = ("BYMONTHDAY", "BYDAY", "BYYEARDAY", "BYWEEKNO")
_VALUE: Final = re.compile(r"[A-Z0-9,+-]+", re.ASCII)
_HASHED: Final = re.compile(r"(?:^|,)H(?![A-Z])")
_CYCLE_YEARS: Final = 400
_LAST_YEAR: Final = 9999
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
# How far back a search looks first.
_FIRST_SPAN: Final = {
    YEARLY: timedelta(days=400),
    MONTHLY: timedelta(days=40),
    WEEKLY: timedelta(days=8),
    DAILY: timedelta(days=2),
    HOURLY: timedelta(hours=3),
    MINUTELY: timedelta(minutes=5),
}
# So much wider is the next look. A step over a gap costs as much as the gap is long.
_WIDER: Final = 64
_HORIZON: Final = timedelta(days=HORIZON_YEARS * 366)


@dataclass(frozen=True, kw_only=True)
class WrittenRule:
    """A rule as it was written: its parts in order, and its beginning if the text has one."""

    parts: dict[str, str]
    start: Written | None

    @property
    def text(self) -> str:
        return ";".join(f"{key}={value}" for key, value in self.parts.items())


def read_rule(rule: str, start: str) -> WrittenRule:
    """Returns the rule of a line `RRULE:...`, and of `DTSTART...` if that is not empty.

    Raises CronParseError. Whether the rule ever fires is known with its beginning: see rule_times.
    """
    parts: dict[str, str] = {}
    for item in rule.partition(":")[2].strip().strip(";").upper().split(";"):
        key, equals, value = (text.strip() for text in item.partition("="))
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            text = _("%(key)s is no part of a rule; there are %(known)s")
            named = {"key": quote(key), "known": near or ", ".join(_KEYS)}
            raise CronParseError(text % named)
        if _HASHED.search(value):
            text = _(
                "%(item)s: 'H' stands in cron expressions only; write one such as “H H * * FRI”, "
                "or a number"
            )
            raise CronParseError(text % {"item": quote(item)})
        if not equals or not _VALUE.fullmatch(value) or key in parts:
            raise CronParseError(
                _("%(item)s cannot be read; write %(key)s=... once")
                % {"item": quote(item), "key": key}
            )
        parts[key] = value
    _check_frequency(parts)
    for key, high in (("INTERVAL", 10_000), ("COUNT", MOST_COUNTED)):
        value = parts.get(key, "1")
        if not value.isdigit() or len(value) > 9 or not 1 <= int(value) <= high:
            facts = {"key": key, "value": quote(value), "low": 1, "high": high}
            raise CronParseError(_("%(key)s: %(value)s is outside %(low)s-%(high)s") % facts)
    if "COUNT" in parts and "UNTIL" in parts:
        raise CronParseError(_("COUNT and UNTIL exclude each other; write one of them"))
    written = WrittenRule(parts=parts, start=read_start(start) if start else None)
    # Whether its distance meets its hours and minutes is not known without its beginning.
    once = WrittenRule(parts={**parts, "INTERVAL": "1"}, start=None)
    _dateutil_rule(once, datetime(2001, 1, 1))  # noqa: DTZ001  (wall-clock times are naive)
    return written


def _check_frequency(parts: dict[str, str]) -> None:
    wanted = parts.get("FREQ", "")
    if wanted == "SECONDLY":
        text = _("FREQ=SECONDLY fires each second; write “every 10 seconds”, or FREQ=MINUTELY")
        raise CronParseError(text)
    if wanted not in _FREQUENCIES:
        facts = {"value": quote(wanted), "known": ", ".join(_FREQUENCIES)}
        raise CronParseError(_("FREQ: %(value)s is unknown; there are %(known)s") % facts)
    if len(set(parts.get("BYSECOND", "").split(","))) >= 60:
        raise CronParseError(_("BYSECOND with all seconds fires each second; leave it out"))


def read_start(line: str) -> Written:
    """Returns the instant of a line `DTSTART:20261127T090000`. Raises CronParseError."""
    name, _colon, text = line.partition(":")
    if "TZID" in name.upper():
        raise CronParseError(
            _("DTSTART has a zone of its own; set the job's time zone, and write DTSTART:%(text)s")
            % {"text": text[:20]}
        )
    return read_written(text)


def _until(parts: dict[str, str], zone: ZoneInfo) -> datetime | None:
    """Returns the last time that the rule may have. A day without a time is included."""
    if "UNTIL" not in parts:
        return None
    written = read_written(parts["UNTIL"])
    if not written.has_time:
        return datetime.combine(written.wall, time(23, 59, 59))
    return written.on_clock(zone)


def _dateutil_rule(written: WrittenRule, start: datetime) -> rrule:
    """Returns the rule without its end, with all that DTSTART implies written out.

    So it can begin at another period and mean the same.
    """
    parts = {key: v for key, v in written.parts.items() if key not in ("COUNT", "UNTIL")}
    frequency = _FREQUENCIES[parts["FREQ"]]
    if not parts.keys() & set(_DAY_KEYS):
        if frequency == YEARLY:
            parts.setdefault("BYMONTH", f"{start.month}")
        if frequency in (YEARLY, MONTHLY):
            parts["BYMONTHDAY"] = f"{start.day}"
        elif frequency == WEEKLY:
            parts["BYDAY"] = _WEEKDAYS[start.weekday()]
    if frequency < HOURLY:
        parts.setdefault("BYHOUR", f"{start.hour}")
    if frequency < MINUTELY:
        parts.setdefault("BYMINUTE", f"{start.minute}")
    parts.setdefault("BYSECOND", f"{start.second}")
    text = ";".join(f"{key}={value}" for key, value in parts.items())
    try:
        found = rrulestr(f"RRULE:{text}", dtstart=start)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        facts = {"text": quote(written.text), "error": quote(str(error))}
        raise CronParseError(_("%(text)s is no rule: %(error)s") % facts) from error
    assert isinstance(found, rrule)
    return found


@dataclass(frozen=True, kw_only=True)
class RuleTimes:
    """The naive local times of a rule. Implements pattern.WallTimes."""

    start: datetime
    until_time: datetime | None
    frequency: int
    interval: int
    first_weekday: int
    counted: tuple[datetime, ...] | None
    """All times of a rule with COUNT."""
    rule: rrule = field(compare=False, repr=False)

    @property
    def is_fixed_time(self) -> bool:
        """As in cron: what repeats within the day follows the clock."""
        return self.frequency in (YEARLY, MONTHLY, WEEKLY, DAILY)

    def after(self, wall: datetime) -> datetime | None:
        if self.counted is not None:
            place = bisect_right(self.counted, wall)
            return self.counted[place] if place < len(self.counted) else None
        found = next((at for at in self._times_from(wall) if at > wall), None)
        is_found = found is not None and found - max(wall, self.start) <= _HORIZON
        return found if is_found else None

    def until(self, wall: datetime) -> datetime | None:
        if self.counted is not None:
            place = bisect_right(self.counted, wall)
            return self.counted[place - 1] if place else None
        if self.until_time is not None:
            wall = min(wall, self.until_time)
        span = min(_FIRST_SPAN[self.frequency] * self.interval, _HORIZON)
        while wall >= self.start:
            begin = max(self.start, wall - span) if span < _HORIZON else self.start
            first = next(self._times_from(begin), None)
            if first is not None and first <= wall:
                return self._last_from(first, wall)
            if begin <= self.start:
                return None
            span *= _WIDER
        return None

    def _last_from(self, low: datetime, wall: datetime) -> datetime:
        """Returns the last time at or before `wall`. `low` is one of those times.

        Halves the span first: one that is wide enough for a rule with long gaps may have a hundred
        thousand times before its last gap.
        """
        enough = max(_FIRST_SPAN[self.frequency] * self.interval, _DAY)
        high = wall
        while high - low > enough:
            middle = low + (high - low) // 2
            found = next((at for at in self._times_from(middle) if at >= middle), None)
            if found is not None and found <= wall:
                low = found
            else:
                high = middle
        for at in self._times_from(low):
            if at > wall:
                break
            low = max(low, at)
        return low

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        return None

    def _times_from(self, wall: datetime) -> Iterator[datetime]:
        """Yields the times, ascending, from the period of `wall` on or from one before it."""
        begin = self._period_start(wall)
        # Here the calendar of the last 400 years stands for that of now.
        cycles = (_LAST_YEAR - HORIZON_YEARS - begin.year) // _CYCLE_YEARS
        years = max(cycles, 0) * _CYCLE_YEARS
        shifted = self.rule.replace(dtstart=begin.replace(year=begin.year + years))
        for found in shifted:
            at = found.replace(year=found.year - years)
            if self.until_time is not None and at > self.until_time:
                return
            yield at

    def _period_start(self, wall: datetime) -> datetime:
        """Returns `start`, or the beginning of a later period that is not after that of `wall`."""
        start = self.start
        if wall <= start:
            return start
        if self.frequency in (YEARLY, MONTHLY):
            size = self.interval * (12 if self.frequency == YEARLY else 1)
            first = start.year * 12 + start.month - 1
            if self.frequency == YEARLY:
                first = start.year * 12
            months = (wall.year * 12 + wall.month - 1 - first) // size * size
            if months == 0:
                return start
            return datetime.combine(_month(first + months), time())
        if self.frequency == WEEKLY:
            week = start.date() - timedelta(days=(start.weekday() - self.first_weekday) % 7)
            size_days = 7 * self.interval
            steps = (wall.date() - week).days // size_days
            return (
                start if steps == 0 else datetime.combine(week + steps * size_days * _DAY, time())
            )
        whole, unit = _unit_of(start, self.frequency)
        steps = (wall - whole) // (unit * self.interval)
        return start if steps <= 0 else whole + steps * self.interval * unit


def _month(months: int) -> date:
    return date(months // 12, months % 12 + 1, 1)


def _unit_of(start: datetime, frequency: int) -> tuple[datetime, timedelta]:
    if frequency == DAILY:
        return datetime.combine(start, time()), _DAY
    if frequency == HOURLY:
        return start.replace(minute=0, second=0), timedelta(hours=1)
    return start.replace(second=0), timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class RuleSchedule(ZonedSchedule):
    """A rule in a zone. Equality and hash use the text, the zone and the beginning."""

    text: str
    start: datetime


def rule_schedule(written: WrittenRule, zone: ZoneInfo) -> RuleSchedule:
    """Returns the schedule of a rule that has a start.

    Raises CronParseError, and CronNeverFiresError if no time matches.
    """
    assert written.start is not None
    start = written.start.on_clock(zone)
    until = _until(written.parts, zone)
    return RuleSchedule(
        text=written.text,
        start=start,
        zone=zone,
        pattern=_times(written.text, tuple(written.parts.items()), start, until),
    )


@lru_cache(maxsize=4096)
def _times(
    text: str, parts: tuple[tuple[str, str], ...], start: datetime, until: datetime | None
) -> RuleTimes:
    written = WrittenRule(parts=dict(parts), start=None)
    facts: dict[str, Any] = {
        "start": start,
        "until_time": until,
        "frequency": _FREQUENCIES[written.parts["FREQ"]],
        "interval": int(written.parts.get("INTERVAL", "1")),
        "first_weekday": _WEEKDAYS.index(written.parts.get("WKST", "MO")),
        "rule": _dateutil_rule(written, start),
    }
    found = RuleTimes(**facts, counted=None)
    if until is not None and until < start:
        text = _("UNTIL is before the rule begins (%(start)s); write a later one")
        raise CronNeverFiresError(text % {"start": start.isoformat("T", "minutes")})
    if found.after(start - _SECOND) is None:
        raise CronNeverFiresError(
            _("never fires: no time matches %(text)s from %(start)s on")
            % {"text": quote(text), "start": start.isoformat("T", "minutes")}
        )
    if "COUNT" in written.parts:
        times = islice(found._times_from(start), int(written.parts["COUNT"]))
        return RuleTimes(**facts, counted=tuple(times))
    return found
