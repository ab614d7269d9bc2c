"""What the schedule of a job can do, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


class JobSchedule(ABC):
    """A schedule in a zone. Implements slots.Schedule and slots.KnowsShortestInterval.

    Values: two schedules of the same text and zone are equal, and threads may share them.
    """

    zone: ZoneInfo

    @abstractmethod
    def next_after(self, instant: datetime) -> datetime | None:
        """See slots.Schedule."""

    @abstractmethod
    def last_until(self, instant: datetime) -> datetime | None:
        """See slots.Schedule."""

    @property
    def moves_slots(self) -> bool:
        """Whether a slot may stand for a slot of another day."""
        return False

    def nominal_day(self, day: date) -> date:
        """Returns the last day whose slots are settled when those on `day` are."""
        return day

    def moved_from(self, slot: datetime) -> date | None:
        """Returns the local day that `slot` stands for if the calendar has moved it, or None."""
        return None

    def has_slots_on(self, day: date) -> bool:
        """Returns whether the local day `day` has a slot."""
        first = self.next_after(start_of(day, self.zone) - _SECOND)
        return first is not None and first < start_of(day + _DAY, self.zone)

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        """See slots.KnowsShortestInterval."""
        return None


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Returns the first instant of a local day, in UTC."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
