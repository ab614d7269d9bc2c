"""From the wall clock to instants: what becomes of wall-clock times that a zone skips or repeats.

The rule is that of Debian cron (3.0pl1, main loop of cron.c), which counts wall-clock minutes:

- The clock moves forward by less than three hours: the fixed-time jobs of the skipped minutes run
  at once.
- The clock moves back by at most three hours: no fixed-time job runs until the clock shows a new
  time.
- Jobs that are not fixed-time follow the clock as it is.
- A larger step is not DST but a corrected clock: all jobs follow it.

docs/schedules.md explains the rule to users.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.schedule.pattern import WallTimes
from scheduler.schedule.slots import FIRST_INSTANT, LAST_INSTANT

LARGEST_DST_STEP: Final = timedelta(hours=3)
"""Debian cron's limit (cron.c, `3*MINUTE_COUNT`)."""

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)


def first_after(pattern: WallTimes, zone: ZoneInfo, instant: datetime) -> datetime | None:
    """Returns the first instant strictly after `instant` at which `pattern` is due in `zone`.

    None if the horizon holds none.
    """
    instant = max(whole_second(instant), FIRST_INSTANT - _SECOND)
    if instant >= LAST_INSTANT:
        return None
    local = instant.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    change = change_at(wall, zone)  # moves back or is None: no clock shows a time inside a gap
    if change and local.fold and not change.runs_twice(pattern):
        wall = change.wall_before - _SECOND  # the first pass ran the rest of the repeated time
    found = _first_from(pattern, zone, wall, instant)
    if change and not local.fold and change.runs_twice(pattern):
        # The second pass comes before everything that is later on the wall clock.
        again = pattern.after(change.wall_after - _SECOND)
        if again is not None and again < change.wall_before:
            repeated = (again - change.offset_after).replace(tzinfo=UTC)
            found = min(found or repeated, repeated)
    return found if found is not None and found <= LAST_INSTANT else None


def newest_until(pattern: WallTimes, zone: ZoneInfo, instant: datetime) -> datetime | None:
    """Returns the newest instant at or before `instant` at which `pattern` is due in `zone`.

    The mirror image of first_after.
    """
    instant = min(whole_second(instant), LAST_INSTANT)
    if instant < FIRST_INSTANT:
        return None
    local = instant.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    change = change_at(wall, zone)
    if change and local.fold and not change.runs_twice(pattern):
        wall = change.wall_before - _SECOND
    found = _newest_from(pattern, zone, wall, instant)
    if change and local.fold and change.runs_twice(pattern):
        # The first pass showed the whole repeated time, also the part that is later than `wall`.
        earlier = pattern.until(change.wall_before - _SECOND)
        if earlier is not None and earlier >= change.wall_after:
            shown = (earlier - change.offset_before).replace(tzinfo=UTC)
            found = max(found or shown, shown)
    return found if found is not None and found >= FIRST_INSTANT else None


def _first_from(
    pattern: WallTimes, zone: ZoneInfo, wall: datetime, instant: datetime
) -> datetime | None:
    """Returns the first due instant after `instant` among the wall-clock times after `wall`."""
    while (due := pattern.after(wall)) is not None:
        wall = due
        change = change_at(wall, zone)
        if change is None:
            found = in_utc(wall, zone)
        elif change.moves_back:
            found = (wall - change.offset_before).replace(tzinfo=UTC)
            if found <= instant and change.runs_twice(pattern):
                found = (wall - change.offset_after).replace(tzinfo=UTC)
        elif change.catches_up(pattern):
            found = change.at
        else:
            wall = change.wall_after - _SECOND
            continue
        if found > instant:
            return found
    return None


def _newest_from(
    pattern: WallTimes, zone: ZoneInfo, wall: datetime, instant: datetime
) -> datetime | None:
    """Returns the newest due instant until `instant` among the wall-clock times until `wall`."""
    while (due := pattern.until(wall)) is not None:
        change = change_at(due, zone)
        if change is None:
            found = in_utc(due, zone)
        elif change.moves_back:
            found = (due - change.offset_after).replace(tzinfo=UTC)
            if found > instant or not change.runs_twice(pattern):
                found = (due - change.offset_before).replace(tzinfo=UTC)
        elif change.catches_up(pattern):
            found = change.at
        else:
            wall = change.wall_before - _SECOND
            continue
        if found <= instant:
            return found
        wall = due - _SECOND
    return None


@dataclass(frozen=True, kw_only=True)
class ClockChange:
    """A change of a zone's offset, which skips or repeats wall-clock time.

    At the instant `at` the clock shows `wall_after` instead of `wall_before`.
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
    def moves_back(self) -> bool:
        """True: the clock shows the times from `wall_after` to `wall_before` twice."""
        return self.offset_after < self.offset_before

    def runs_twice(self, pattern: WallTimes) -> bool:
        """Returns whether the times shown twice are due in both passes."""
        return self.moves_back and (
            not pattern.is_fixed_time or self.offset_before - self.offset_after > LARGEST_DST_STEP
        )

    def catches_up(self, pattern: WallTimes) -> bool:
        """Returns whether skipped times are due at the end of the gap."""
        return pattern.is_fixed_time and self.offset_after - self.offset_before < LARGEST_DST_STEP


def changes_between(zone: ZoneInfo, since: datetime, until: datetime) -> list[ClockChange]:
    """Returns the clock changes of the zone in (since, until], oldest first.

    Two changes within one day that undo each other are not found.
    """
    found: list[ClockChange] = []
    low = whole_second(since)
    while low < until:
        high = min(low + _DAY, whole_second(until))
        before, after = (at.astimezone(zone).utcoffset() for at in (low, high))
        if before is not None and after is not None and before != after:
            at = _instant_of_change(low, high, after, zone)
            found.append(ClockChange(at=at, offset_before=before, offset_after=after))
        low = high if high > low else until
    return found


def change_at(wall: datetime, zone: ZoneInfo) -> ClockChange | None:
    """Returns the change that skips or repeats `wall`; None for an ordinary time."""
    aware = wall.replace(tzinfo=zone)
    before, after = aware.utcoffset(), aware.replace(fold=1).utcoffset()
    if before == after or before is None or after is None:
        return None
    low, high = (at.replace(tzinfo=UTC) for at in sorted((wall - before, wall - after)))
    at = _instant_of_change(low, high, after, zone)
    return ClockChange(at=at, offset_before=before, offset_after=after)


def _instant_of_change(low: datetime, high: datetime, after: timedelta, zone: ZoneInfo) -> datetime:
    """Returns the first second in (low, high] at which the zone's offset is `after`.

    At `high` the offset is `after`.
    """
    while high - low > _SECOND:
        middle = low + (high - low) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high


def in_utc(wall: datetime, zone: ZoneInfo) -> datetime:
    """Returns the instant of an ordinary time, and the first one of a time that is shown twice."""
    return wall.replace(tzinfo=zone).astimezone(UTC)


def in_utc_of_fixed_time(wall: datetime, zone: ZoneInfo) -> datetime:
    """Returns when a fixed time runs: a skipped one at the end of the gap, a repeated one once."""
    change = change_at(wall, zone)
    is_skipped = change is not None and not change.moves_back
    return change.at if change is not None and is_skipped else in_utc(wall, zone)


def whole_second(instant: datetime) -> datetime:
    """Returns `instant` in UTC without its fraction of a second. ValueError if it is naive."""
    if instant.tzinfo is None:
        raise ValueError("instant must be aware; a naive one would be read in the host's own zone")
    return instant.astimezone(UTC).replace(microsecond=0)
