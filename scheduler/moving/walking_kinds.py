"""When the old systems run what is no rule of wall-clock times.

Each class implements entries.OldSchedule.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Instants:
    """Runs at a few instants, each once."""

    instants: Sequence[datetime]
    zone: str = "UTC"

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        found = sorted(at.astimezone(UTC).replace(microsecond=0) for at in self.instants)
        return [at for at in found if after < at <= until][:limit]


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Runs each `seconds` of elapsed time, counted from `start`, between two instants."""

    start: datetime
    seconds: int
    first_at: datetime | None = None
    last_at: datetime | None = None
    zone: str = "UTC"

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        step = timedelta(seconds=self.seconds)
        if self.first_at is not None:
            after = max(after, self.first_at - _SECOND)
        if self.last_at is not None:
            until = min(until, self.last_at)
        at = self.start + ((after - self.start) // step + 1) * step
        found: list[datetime] = []
        while at <= until and len(found) < limit:
            found.append(at.astimezone(UTC))
            at += step
        return found


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """Asks python-dateutil for the times of a rule, as RedBeat does.

    dateutil begins at the rule's start each time, so what it has returned is kept.
    """

    rule: Any
    zone: str

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        known = self._times_from(after)
        while not known.times or known.times[-1] <= until:
            at = next(known.coming, None)
            if at is None:
                break
            if at > known.after:
                known.times.append(at.astimezone(UTC))
        place = bisect_right(known.times, after)
        return [at for at in known.times[place : place + limit] if at <= until]

    def _times_from(self, after: datetime) -> _Times:
        if not self._kept or self._kept[0].after > after:
            self._kept[:] = [_Times(after=after, coming=iter(self.rule))]
        return self._kept[0]

    @cached_property
    def _kept(self) -> list[_Times]:
        return []


@dataclass
class _Times:
    """The times after `after` so far, and those that come."""

    after: datetime
    coming: Iterator[datetime]
    times: list[datetime] = field(default_factory=list)
