"""Instants as people write them in a schedule, and schedules that are a list of them.

`at 2026-12-24T18:00` is a time of the job's zone; with `Z` or an offset such as `+09:00` it is the
same instant everywhere.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.schedule.clock_changes import change_at, whole_second
from scheduler.schedule.errors import CronParseError, quote
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.slots import FIRST_INSTANT, LAST_INSTANT

_SECOND: Final = timedelta(seconds=1)
_TEXT: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d|\d{8})"
    r"(?:[t ](?P<time>\d\d:\d\d(?::\d\d)?|\d{6}|\d{4})\s*(?P<offset>z|[+-]\d\d:?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Written:
    """An instant as it was written. `offset` is None for a time of the job's own zone."""

    wall: datetime
    has_time: bool
    offset: timedelta | None

    def __str__(self) -> str:
        text = self.wall.strftime("%Y-%m-%d")
        if self.has_time:
            text += self.wall.strftime(" %H:%M:%S" if self.wall.second else " %H:%M")
        if self.offset is not None:
            text += f" {timezone(self.offset).tzname(None) if self.offset else 'UTC'}"
        return text

    def in_utc(self, zone: ZoneInfo) -> datetime:
        """Returns the instant. Raises CronParseError if the zone's clock skips the time.

        Of a time that the clock shows twice it is the first pass, as for fixed times of cron.
        """
        if self.offset is not None:
            return self.wall.replace(tzinfo=timezone(self.offset)).astimezone(UTC)
        change = change_at(self.wall, zone)
        if change is not None and not change.moves_back:
            if self.has_time:
                raise _skipped(self.wall, change.wall_after, zone)
            return change.at
        return self.wall.replace(tzinfo=zone).astimezone(UTC)

    def on_clock(self, zone: ZoneInfo) -> datetime:
        """Returns the time that the zone's clock shows then, naive. Raises CronParseError."""
        return self.in_utc(zone).astimezone(zone).replace(tzinfo=None, fold=0)


def read_written(text: str) -> Written:
    """Returns an instant. Raises CronParseError."""
    shape = _TEXT.fullmatch(text.strip())
    try:
        if shape is None:
            raise ValueError
        day = date.fromisoformat(shape["day"])
        at = time.fromisoformat(shape["time"]) if shape["time"] else time()
        offset = _offset(shape["offset"])
    except ValueError:
        raise CronParseError(
            _(
                "%(text)s is no instant; write it like 2026-12-24T18:00, "
                "or 2026-12-24T18:00Z for UTC"
            )
            % {"text": quote(text.strip())}
        ) from None
    if not FIRST_INSTANT.year < day.year < LAST_INSTANT.year:
        facts = {
            "text": quote(text.strip()),
            "first": FIRST_INSTANT.year,
            "last": LAST_INSTANT.year,
        }
        raise CronParseError(_("%(text)s is not between %(first)s and %(last)s") % facts)
    wall = datetime.combine(day, at)
    return Written(wall=wall, has_time=shape["time"] is not None, offset=offset)


def _offset(text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = datetime.strptime("+0000" if text in "zZ" else text, "%z").utcoffset()
    assert found is not None
    return found


def _skipped(wall: datetime, after: datetime, zone: ZoneInfo) -> CronParseError:
    text = _("%(wall)s does not exist in %(zone)s: the clock leaps over it; write %(after)s")
    shown = {"wall": wall.isoformat("T", "minutes"), "after": after.isoformat("T", "minutes")}
    return CronParseError(text % {**shown, "zone": zone.key})


def read_at(text: str) -> tuple[Written, ...]:
    """Returns what follows `at`: one instant, or several with commas. Raises CronParseError."""
    found = tuple(read_written(item) for item in text.split(","))
    for written in found:
        if not written.has_time:
            wanted = written.wall.isoformat("T", "minutes")
            raise CronParseError(_("“at” needs a time of day; write %(text)s") % {"text": wanted})
    return found


@dataclass(frozen=True, kw_only=True)
class InstantSchedule(JobSchedule):
    """A list of instants, each once."""

    zone: ZoneInfo
    instants: tuple[datetime, ...]
    """Ascending, in UTC."""

    def next_after(self, instant: datetime) -> datetime | None:
        place = bisect_right(self.instants, whole_second(instant))
        return self.instants[place] if place < len(self.instants) else None

    def last_until(self, instant: datetime) -> datetime | None:
        place = bisect_right(self.instants, whole_second(instant))
        return self.instants[place - 1] if place else None

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        distances = ((b - a) // _SECOND for a, b in pairwise(self.instants))
        return min(distances, default=enough_seconds)


def instant_schedule(written: tuple[Written, ...], zone: ZoneInfo) -> InstantSchedule:
    """Raises CronParseError if the zone's clock skips one of them."""
    instants = sorted({each.in_utc(zone) for each in written})
    return InstantSchedule(zone=zone, instants=tuple(instants))
