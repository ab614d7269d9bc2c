"""What every schedule can do: return its slots, within the years in which slots exist."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, Protocol, runtime_checkable

from scheduler.schedule.errors import CronIntervalTooShortError

FIRST_INSTANT: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""No slot is earlier. Before 1970 zones had offsets with odd seconds, and no job needs those."""
LAST_INSTANT: Final = datetime(9900, 1, 1, tzinfo=UTC)
"""No slot is later, so that arithmetic near the year 9999 cannot overflow."""

_SLOTS_JUDGED: Final = 200


class Schedule(Protocol):
    """A series of slots, with or without an end. Slots are aware UTC instants on whole seconds."""

    def next_after(self, instant: datetime) -> datetime | None:
        """Returns the first slot strictly after `instant`; None if the horizon holds none."""

    def last_until(self, instant: datetime) -> datetime | None:
        """Returns the newest slot at or before `instant`; None if the horizon holds none."""


@runtime_checkable
class KnowsShortestInterval(Protocol):
    """A schedule that knows how close its slots get without listing them."""

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        """Returns the shortest distance between two slots, exactly if it is below `enough_seconds`.

        Otherwise the answer is any number from `enough_seconds` on. None: it does not know.
        """


def slots_between(
    schedule: Schedule, after: datetime, until: datetime, limit: int
) -> list[datetime]:
    """Returns the slots in (after, until], oldest first, at most the `limit` oldest ones."""
    slots: list[datetime] = []
    slot = schedule.next_after(after)
    while slot is not None and slot <= until and len(slots) < limit:
        slots.append(slot)
        slot = schedule.next_after(slot)
    return slots


def check_interval(schedule: Schedule, minimum_seconds: int, now: datetime) -> None:
    """Raises CronIntervalTooShortError if two slots can be closer than `minimum_seconds`.

    All pairs of slots count, not only the next two. A schedule that does not know its shortest
    interval is judged by its next 200 slots after `now`.
    """
    found: int | None = None
    if isinstance(schedule, KnowsShortestInterval):
        found = schedule.shortest_interval_seconds(minimum_seconds)
    if found is None:
        slots = slots_between(schedule, now, LAST_INSTANT, _SLOTS_JUDGED)
        distances = (int((b - a).total_seconds()) for a, b in pairwise(slots))
        found = min(distances, default=minimum_seconds)
    if found < minimum_seconds:
        raise CronIntervalTooShortError(found, minimum_seconds)
