"""When the old systems run what is no rule of wall-clock times.

Each class implements entries.OldSchedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
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
    """Asks python-dateutil for the times of a rule, as RedBeat does."""

    rule: Any
    zone: str

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        found: list[datetime] = []
        for at in islice(self.rule.xafter(after), limit):
            if at > until:
                break
            found.append(at.astimezone(UTC))
        return found
