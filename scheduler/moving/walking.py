"""When the old systems run a Rule: each walks wall-clock time by its own rules.

A slow and plain reading, minute by minute of the days that matter, which shares no code with
scheduler/schedule. Celery and APScheduler have code of their own that is asked instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from itertools import product
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.moving.cron_fields import Dialect
from scheduler.moving.rules import Rule, in_bounds

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)
# A 29 February comes after four years, or eight around 2100.
_MOST_DAYS: Final = 8 * 366
# Debian cron takes a larger step of the clock for a correction, and follows the clock.
_LARGEST_STEP: Final = timedelta(hours=3)


@dataclass(frozen=True, kw_only=True)
class Walker:
    """The old side of a cron expression. Implements entries.OldSchedule.

    `interval_like`: the minute or the hour began with `*`: for Debian's cron such an entry follows
    the clock when it changes.
    """

    rule: Rule
    dialect: Dialect
    interval_like: bool = False

    @property
    def zone(self) -> str:
        return self.rule.zone

    @cached_property
    def times_of_day(self) -> list[timedelta]:
        """The times since midnight, on a day on which no clock changes."""
        times = product(sorted(self.rule.hours), sorted(self.rule.minutes))
        return [timedelta(hours=hour, minutes=minute) for hour, minute in times]

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        found: list[datetime] = []
        day = after.astimezone(ZoneInfo(self.zone)).date()
        last = until.astimezone(ZoneInfo(self.zone)).date()
        while day <= last and len(found) < limit:
            midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - wall-clock time
            slots = in_bounds(self.rule, self._slots_of_day(midnight))
            found += [slot for slot in slots if after < slot <= until]
            day += _DAY
        return found[:limit]

    def _slots_of_day(self, midnight: datetime) -> list[datetime]:
        """Returns the slots of the wall-clock day that begins at `midnight`."""
        change = _change_on(self.zone, midnight)
        if change is None and not self.rule.matches_day(midnight):
            return []
        if change is None:
            # One offset all day: converting each time by itself takes ten times as long.
            begin = midnight.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)
            return [begin + since for since in self.times_of_day]
        match self.dialect:
            case Dialect.CRON:
                found = self._like_cron(midnight, change)
            case Dialect.KUBERNETES:
                found = self._by_the_clock(midnight)
            case Dialect.AIRFLOW:
                found = self._like_airflow(midnight)
        zone = ZoneInfo(self.zone)
        return sorted({slot for slot in found if slot.astimezone(zone).date() == midnight.date()})

    def _fits(self, wall: datetime) -> bool:
        return self.rule.matches_time(wall) and self.rule.matches_day(wall)

    def _by_the_clock(self, midnight: datetime) -> Iterator[datetime]:
        """robfig/cron: whatever the clock shows. Skipped times do not run, repeated ones twice."""
        for instant, wall in _minutes_of(self.zone, midnight):
            if self._fits(wall):
                yield instant

    def _like_cron(self, midnight: datetime, step: timedelta) -> Iterator[datetime]:
        """cron.c: fixed times run once, skipped ones right after the gap."""
        follows = self.interval_like or abs(step) >= _LARGEST_STEP
        seen: datetime | None = None  # the latest wall-clock minute that has been shown
        previous: datetime | None = None
        for instant, wall in _minutes_of(self.zone, midnight):
            is_new = seen is None or wall > seen
            if self._fits(wall) and (follows or is_new):
                yield instant
            if previous is not None and not follows and wall - previous > _MINUTE:
                skipped = previous + _MINUTE
                while skipped < wall:
                    if self._fits(skipped):
                        yield instant
                    skipped += _MINUTE
            seen, previous = max(seen or wall, wall), wall

    def _like_airflow(self, midnight: datetime) -> Iterator[datetime]:
        """Airflow's CronMixin: a fixed time of day is converted; else the distance is kept.

        An ambiguous time is its second pass, and a skipped one comes an hour later.
        """
        zone = ZoneInfo(self.zone)
        if len(self.rule.minutes) == len(self.rule.hours) == 1:
            (hour,), (minute,) = self.rule.hours, self.rule.minutes
            fixed = midnight.replace(hour=hour, minute=minute)
            if self.rule.matches_day(fixed):
                fold = 0 if _is_skipped(fixed, zone) else 1
                yield fixed.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            return
        end = (midnight + _DAY + 3 * _HOUR).replace(tzinfo=zone).astimezone(UTC)
        wall = self._wall_before(midnight)
        while wall is not None and (instant := wall.replace(tzinfo=zone).astimezone(UTC)) < end:
            yield instant
            following = self._wall_after(wall)
            if following is None:
                return
            # pendulum adds hours in real time, and days on the wall clock.
            if following - wall >= _DAY:
                wall = following.replace(fold=0 if _is_skipped(following, zone) else 1)
            else:
                wall = (instant + (following - wall)).astimezone(zone).replace(tzinfo=None)

    def _wall_before(self, midnight: datetime) -> datetime | None:
        days = (midnight - n * _DAY for n in range(1, _MOST_DAYS))
        day = next((each for each in days if self.rule.matches_day(each)), None)
        return None if day is None else day + self.times_of_day[-1]

    def _wall_after(self, wall: datetime) -> datetime | None:
        midnight = datetime(wall.year, wall.month, wall.day)  # noqa: DTZ001 - wall-clock time
        if self.rule.matches_day(midnight):
            since = wall.replace(fold=0) - midnight
            if later := [each for each in self.times_of_day if each > since]:
                return midnight + later[0]
        days = (midnight + n * _DAY for n in range(1, _MOST_DAYS))
        day = next((each for each in days if self.rule.matches_day(each)), None)
        return None if day is None else day + self.times_of_day[0]


def _is_skipped(wall: datetime, zone: ZoneInfo) -> bool:
    there = wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    return there != wall


@lru_cache(maxsize=4096)
def _change_on(zone_name: str, midnight: datetime) -> timedelta | None:
    """Returns by how much the clock moves on the day or around its two midnights, or None."""
    zone = ZoneInfo(zone_name)
    before = (midnight - _HOUR * 3).replace(tzinfo=zone)
    after = (midnight + _DAY + _HOUR * 3).replace(tzinfo=zone)
    first, last = before.utcoffset(), after.utcoffset()
    if first is None or last is None or first == last:
        return None
    return last - first


@lru_cache(maxsize=64)
def _minutes_of(zone_name: str, midnight: datetime) -> list[tuple[datetime, datetime]]:
    """Returns the minutes of real time of a day and around it, with what the clock shows then."""
    zone = ZoneInfo(zone_name)
    instant = (midnight - _HOUR * 4).replace(tzinfo=zone).astimezone(UTC)
    end = (midnight + _DAY + _HOUR * 4).replace(tzinfo=zone).astimezone(UTC)
    found = []
    while instant < end:
        found.append((instant, instant.astimezone(zone).replace(tzinfo=None)))
        instant += _MINUTE
    return found
