"""When a message may go out: at once, after quiet hours, or together with others.

Pure: no clock, no database.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from scheduler.alert_settings import QuietHours

#: More messages than this to one recipient at once are one digest.
MOST_AT_ONCE: Final = 5
#: What comes too fast is collected for so long.
DIGEST_AFTER: Final = timedelta(minutes=5)
_MINUTE: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(hours=26)  # a night with a change of the clock


class Limits(Protocol):
    """What a channel allows for each of its recipients."""

    @property
    def min_interval_seconds(self) -> float: ...

    @property
    def max_per_hour(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Recent:
    """What one recipient got over one channel in the hour before: how many, and when the last."""

    count: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What becomes of new messages. `not_before`: the instant from which they may go out."""

    is_digest: bool
    not_before: datetime


def longest_wait(limits: Limits) -> timedelta:
    """How long a message waits at most, outside of quiet hours."""
    return max(DIGEST_AFTER, timedelta(seconds=limits.min_interval_seconds))


def hold(
    new: int, *, now: datetime, recent: Recent, limits: Limits, quiet_until: datetime | None
) -> Hold:
    """Returns what becomes of `new` messages to one recipient over one channel."""
    if quiet_until is not None:
        return Hold(is_digest=True, not_before=quiet_until)
    if recent.last_at is not None:
        free_at = recent.last_at + timedelta(seconds=limits.min_interval_seconds)
        if free_at > now:
            return Hold(is_digest=True, not_before=free_at)
    if recent.count + new > limits.max_per_hour:
        return Hold(is_digest=True, not_before=now + DIGEST_AFTER)
    if limits.min_interval_seconds and new > 1:
        return Hold(is_digest=True, not_before=now)
    return Hold(is_digest=new > MOST_AT_ONCE, not_before=now)


def quiet_until(now: datetime, hours: QuietHours | None, zone: ZoneInfo) -> datetime | None:
    """Returns the end of the quiet hours in which `now` lies, or None outside of them.

    They are what a clock on the wall shows: where it jumps over their end in spring, they end with
    the jump, and in autumn what it shows twice is quiet twice.
    """
    if hours is None or not _is_quiet(now, hours, zone):
        return None
    # The hours are whole minutes, so this looks at the wall clock each minute. It takes 1 ms.
    at = now.replace(second=0, microsecond=0)
    while at - now < _LONGEST:
        at += _MINUTE
        if not _is_quiet(at, hours, zone):
            return at
    return at


def _is_quiet(at: datetime, hours: QuietHours, zone: ZoneInfo) -> bool:
    shown = at.astimezone(zone).time()
    if hours.begin < hours.end:
        return hours.begin <= shown < hours.end
    return shown >= hours.begin or shown < hours.end
