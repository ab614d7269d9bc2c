"""A time as people ask for it: `2026-11-27 03:00`, `03:00`, `yesterday 3pm`, `어제 03:00`.

A time without a zone is one of the reader's clock, which may show it never or twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.operations.errors import InvalidJob
from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT, ScheduleError, load_zone
from scheduler.schedule.clock_changes import ClockChange, change_at

LONGEST: Final = 100

_DAYS: Final = {
    "yesterday": -1, "today": 0, "tomorrow": 1,
    "그제": -2, "그저께": -2, "어제": -1, "오늘": 0, "내일": 1,
}  # fmt: skip
_DATE: Final = re.compile(r"(\d{1,4})[-./](\d{1,2})[-./](\d{1,2})", re.ASCII)
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(?:\.\d{1,6})?)?", re.ASCII)
_ENGLISH: Final = re.compile(r"(\d{1,2})(?::(\d\d))? ?(am|pm)", re.ASCII)
_KOREAN: Final = re.compile(r"(?:(오전|오후|새벽|밤) ?)?(\d{1,2})시(?: ?(?:(\d{1,2})분|(반)))?")
_OFFSET: Final = re.compile(r"(?:z|utc|gmt)|(?:utc|gmt)?([+-]\d\d):?(\d\d)", re.ASCII)
_RANGE: Final = re.compile(r"\d ?(?:\.\.|~|\u2013|\u2014| to | - |부터|에서)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class AskedTime:
    """What a text means. `instants`: two for a time that the clock shows twice.

    `gap`: the clock never showed `wall`. Then the instant is the end of the gap.
    """

    instants: tuple[datetime, ...]
    zone: ZoneInfo
    wall: datetime
    gap: ClockChange | None = None


def read_time(text: str, *, now: datetime, zone: ZoneInfo) -> AskedTime:
    """Returns what `text` asks for on the clock of `zone`. Raises InvalidJob for `at`."""
    if len(text) > LONGEST:
        raise _wrong(_("is too long for a time: more than %(limit)s characters")
                     % {"limit": LONGEST})  # fmt: skip
    words = " ".join(text.lower().split())
    if words == "now":
        return AskedTime(instants=(now,), zone=zone, wall=_wall(now, zone))
    if _RANGE.search(words):
        raise _wrong(_("asks for a span; ask for one time, such as 2026-11-27 03:00"))
    rest, offset, zone = _without_zone(words, text, zone)
    today = _wall(now, zone).date()
    if offset is not None:
        today = now.astimezone(timezone(offset)).date()
    day, clock = _day_and_clock(rest, today)
    wall = datetime.combine(day, clock)
    _check_year(wall)
    if offset is not None:
        instant = wall.replace(tzinfo=timezone(offset)).astimezone(UTC)
        return AskedTime(instants=(instant,), zone=zone, wall=wall)
    return _on_clock(wall, zone)


def of_instant(instant: datetime, zone: ZoneInfo) -> AskedTime:
    return AskedTime(instants=(instant,), zone=zone, wall=_wall(instant, zone))


def split_time(text: str, *, now: datetime, zone: ZoneInfo) -> tuple[str, AskedTime] | None:
    """Returns the words before or after a time, and the time: `report 03:00 yesterday`.

    None: the text ends and begins with no time, or is nothing else.
    """
    words = text.split()
    if len(text) > 2 * LONGEST or not 1 < len(words) <= 20:
        return None
    for size in range(min(4, len(words) - 1), 0, -1):
        for rest, part in ((words[:-size], words[-size:]), (words[size:], words[:size])):
            try:
                asked = read_time(" ".join(part), now=now, zone=zone)
            except InvalidJob:
                continue
            if part != ["now"]:  # an ordinary word of a name
                return " ".join(rest), asked
    return None


def _wrong(text: str) -> InvalidJob:
    return InvalidJob({"at": [text]})


def _nonsense() -> InvalidJob:
    return _wrong(_("is no time; right is 2026-11-27 03:00, 03:00, or yesterday 03:00"))


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _on_clock(wall: datetime, zone: ZoneInfo) -> AskedTime:
    change = change_at(wall, zone)
    if change is not None and not change.moves_back:
        return AskedTime(instants=(change.at,), zone=zone, wall=wall, gap=change)
    passes = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return AskedTime(instants=tuple(sorted(passes)), zone=zone, wall=wall)


def _without_zone(words: str, typed: str, zone: ZoneInfo) -> tuple[str, timedelta | None, ZoneInfo]:
    """Returns the words before the zone or the offset at the end, and what that says."""
    found = re.fullmatch(r"(.*\d)(z|[+-]\d\d:?\d\d)", words, re.ASCII)
    head, tail = (found[1], found[2]) if found and ":" in found[1] else ("", "")
    if not tail and " " in words:
        head, _space, tail = words.rpartition(" ")
    if tail and (offset := _OFFSET.fullmatch(tail)):
        hours, minutes = int(offset[1] or 0), int(offset[2] or 0)
        if abs(hours) > 14 or minutes > 59:
            raise _nonsense()
        sign = -1 if tail.lstrip("utcgm").startswith("-") else 1
        return head, timedelta(hours=hours, minutes=sign * minutes), zone
    if "/" in tail and tail[0].isalpha():
        try:
            return head, None, load_zone(typed.split()[-1])
        except ScheduleError as error:
            raise _wrong(error.reason) from error
    return words, None, zone


def _day_and_clock(words: str, today: date) -> tuple[date, time]:
    day, rest = _day(words.replace("t", " ") if _DATE.match(words) else words, today)
    found = _clock(rest.strip())
    if found is None:
        raise _nonsense()
    return day, found


def _day(words: str, today: date) -> tuple[date, str]:
    """Returns the day, and the words without it. Without a day it is today."""
    for name, distance in _DAYS.items():
        for cut in (words.removeprefix(name), words.removesuffix(name)):
            if cut != words:
                return today + timedelta(days=distance), cut
    found = re.search(rf"(?<![\d:]){_DATE.pattern}(?!\d)", words, re.ASCII)
    if found is None:
        return today, words
    year, month, day = (int(part) for part in found.groups())
    try:
        return date(year, month, day), words[: found.start()] + words[found.end() :]
    except ValueError:
        raise _nonsense() from None


def _clock(words: str) -> time | None:
    try:
        if found := _CLOCK.fullmatch(words):
            return time(int(found[1]), int(found[2]), int(found[3] or 0))
        if (found := _ENGLISH.fullmatch(words)) and 1 <= int(found[1]) <= 12:
            return time(int(found[1]) % 12 + 12 * (found[3] == "pm"), int(found[2] or 0))
        if found := _KOREAN.fullmatch(words):
            hour = int(found[2])
            if found[1] in ("오후", "밤") and hour < 12:
                hour += 12
            elif found[1] in ("오전", "새벽", "밤") and hour == 12:
                hour = 0
            return time(hour, 30 if found[4] else int(found[3] or 0))
    except ValueError:
        pass
    return None


def _check_year(wall: datetime) -> None:
    if not FIRST_INSTANT.year < wall.year < LAST_INSTANT.year:
        years = {"first": FIRST_INSTANT.year, "last": LAST_INSTANT.year}
        raise _wrong(_("is not between %(first)s and %(last)s") % years)
