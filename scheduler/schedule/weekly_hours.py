"""Hours of a week, such as `Fri 18:00 - Mon 06:00` or `Mon-Fri 22:00 - 06:00`, in a zone.

Each line is one span of hours, or one per day of a list of days. Ends of spans are fixed times:
on a clock change they follow the rule of a job with that time (clock_changes.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.schedule.clock_changes import in_utc_of_fixed_time
from scheduler.schedule.errors import ScheduleError, quote

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_MINUTES: Final = 1440
_WEEK_MINUTES: Final = 7 * _DAY_MINUTES
_TIME: Final = r"(\d{1,2}):(\d{2})"
_NAME: Final = r"[^\W\d_]+"
_ACROSS: Final = re.compile(rf"({_NAME})\s+{_TIME}\s*-\s*({_NAME})\s+{_TIME}")
_EACH_DAY: Final = re.compile(
    rf"({_NAME}(?:\s*-\s*{_NAME})?(?:\s*,\s*{_NAME}(?:\s*-\s*{_NAME})?)*)\s+{_TIME}\s*-\s*{_TIME}"
)


@dataclass(frozen=True, kw_only=True)
class WeekSpan:
    """From `start` on for `length`, both in minutes; `start` counts from Monday 00:00."""

    start: int
    length: int


@dataclass(frozen=True, kw_only=True)
class WeeklyHours:
    zone: ZoneInfo
    spans: tuple[WeekSpan, ...]

    def covers_the_week(self) -> bool:
        """Returns whether no minute of the week is outside of the hours."""
        covered_until = 0
        for start, end in sorted(self._minutes()):
            if start > covered_until:
                return False
            covered_until = max(covered_until, end)
        return covered_until >= _WEEK_MINUTES

    def _minutes(self) -> Iterator[tuple[int, int]]:
        for span in self.spans:
            end = span.start + span.length
            yield span.start, end
            if end > _WEEK_MINUTES:  # it goes on in the next week, which begins the same way
                yield 0, end - _WEEK_MINUTES

    def between(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The spans that hold at some time from `since` to `until`, by their beginning."""
        day = since.astimezone(self.zone).date() - timedelta(days=7)
        monday = day - timedelta(days=day.weekday())
        while self._at(monday, 0) < until:
            for span in self.spans:
                start, end = (
                    self._at(monday, span.start),
                    self._at(monday, span.start + span.length),
                )
                if start < until and end > since:
                    yield start, end
            monday += timedelta(days=7)

    def around(self, instant: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The spans that hold at `instant`: when each begins and ends, as aware UTC."""
        today = instant.astimezone(self.zone).date()
        monday = today - timedelta(days=today.weekday())
        for week in (monday - timedelta(days=7), monday, monday + timedelta(days=7)):
            for span in self.spans:
                start = self._at(week, span.start)
                if start <= instant < (end := self._at(week, span.start + span.length)):
                    yield start, end

    def _at(self, monday: date, minutes: int) -> datetime:
        wall = datetime.combine(monday, time()) + timedelta(minutes=minutes)
        return in_utc_of_fixed_time(wall, self.zone)


@lru_cache(maxsize=200)
def read_hours(text: str, zone: ZoneInfo) -> WeeklyHours:
    """Returns the hours that `text` says. Raises ScheduleError, which names the wrong line."""
    spans: list[WeekSpan] = []
    for line in re.split(r"[\n;]", text):
        if line.strip():
            spans += _spans(line.strip())
    if not spans:
        raise ScheduleError(_("must not be empty"), field="hours")
    return WeeklyHours(zone=zone, spans=tuple(sorted(spans, key=lambda span: span.start)))


def _spans(line: str) -> list[WeekSpan]:
    if found := _ACROSS.fullmatch(line):
        first, hour, minute, last, end_hour, end_minute = found.groups()
        start = _day(first) * _DAY_MINUTES + _minutes(hour, minute, line)
        end = _day(last) * _DAY_MINUTES + _minutes(end_hour, end_minute, line)
        return [WeekSpan(start=start, length=(end - start) % _WEEK_MINUTES or _WEEK_MINUTES)]
    if found := _EACH_DAY.fullmatch(line):
        days, hour, minute, end_hour, end_minute = found.groups()
        start, end = _minutes(hour, minute, line), _minutes(end_hour, end_minute, line)
        length = end - start if end > start else end - start + _DAY_MINUTES
        return [WeekSpan(start=day * _DAY_MINUTES + start, length=length) for day in _days(days)]
    text = _("%(line)s is neither like “Fri 18:00 - Mon 06:00” nor like “Mon-Fri 22:00 - 06:00”")
    raise ScheduleError(text % {"line": quote(line)}, field="hours")


def _days(text: str) -> list[int]:
    found: set[int] = set()
    for part in text.split(","):
        if part.strip().lower() == "daily":
            found |= set(range(7))
            continue
        names = [_day(name) for name in part.split("-")]
        span = (names[-1] - names[0]) % 7
        found |= {(names[0] + number) % 7 for number in range(span + 1)}
    return sorted(found)


def _day(text: str) -> int:
    name = text.strip().lower()
    if name in DAYS:
        return DAYS.index(name)
    if name in _LONG:
        return _LONG.index(name)
    near = nearest(name, (*DAYS, *_LONG))
    unknown = _("%(name)s is not a day of the week") % {"name": quote(text.strip())}
    hint = _("; did you mean %(name)s?") % {"name": near.capitalize()} if near else ""
    raise ScheduleError(unknown + hint, field="hours")


def _minutes(hour: str, minute: str, line: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > _DAY_MINUTES:
        text = _("%(line)s: there is no such time; 00:00 to 24:00 are")
        raise ScheduleError(text % {"line": quote(line)}, field="hours")
    return found
