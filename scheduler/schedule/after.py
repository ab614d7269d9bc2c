"""`@after`: a job without a schedule of its own takes the slots that all its upstream jobs have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from scheduler.schedule.job_schedule import JobSchedule

AFTER: Final = "@after"
_INSTANT: Final = timedelta(microseconds=1)
# Schedules that never meet, such as 0 * * * * and 30 * * * *, must not be searched for ever.
_MOST_STEPS: Final = 2_000


def is_after(text: object) -> bool:
    """Returns whether a job with this `cron_expression` takes its slots from its upstream jobs."""
    return isinstance(text, str) and text.strip().lower() == AFTER


@dataclass(frozen=True, kw_only=True)
class CommonSlots(JobSchedule):
    """The slots that all `members` have. Each may have a zone of its own."""

    zone: ZoneInfo
    members: tuple[JobSchedule, ...]

    def next_after(self, instant: datetime) -> datetime | None:
        after = instant
        for _step in range(_MOST_STEPS):
            found = [member.next_after(after) for member in self.members]
            slots = [slot for slot in found if slot is not None]
            if len(slots) < len(found):
                return None
            if min(slots) == max(slots):
                return slots[0]
            after = max(slots) - _INSTANT
        return None

    def last_until(self, instant: datetime) -> datetime | None:
        until = instant
        for _step in range(_MOST_STEPS):
            found = [member.last_until(until) for member in self.members]
            slots = [slot for slot in found if slot is not None]
            if len(slots) < len(found):
                return None
            if min(slots) == max(slots):
                return slots[0]
            until = min(slots)
        return None

    @property
    def moves_slots(self) -> bool:
        return any(member.moves_slots for member in self.members)

    def nominal_day(self, day: date) -> date:
        return min(member.nominal_day(day) for member in self.members)

    def moved_from(self, slot: datetime) -> date | None:
        found = (member.moved_from(slot) for member in self.members)
        return next((day for day in found if day is not None), None)

    def shortest_interval_seconds(self, enough_seconds: int) -> int | None:
        """They are never closer than those of any member."""
        known = [member.shortest_interval_seconds(enough_seconds) for member in self.members]
        longest = max((each for each in known if each is not None), default=0)
        if longest >= enough_seconds or len(self.members) == 1:
            return longest or known[0]
        return None
