"""Slots that a calendar leaves out or moves to another day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scheduler.schedule.business_days import Rule
from scheduler.schedule.calendars import BusinessDays, Calendar, CalendarSchedule
from scheduler.schedule.clock_changes import in_utc_of_fixed_time
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.several import SeveralSchedules


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """The calendar that blocks a slot. `moved_to`: the slot that runs instead, if there is one."""

    calendar: str
    moved_to: datetime | None


def blocked(schedule: JobSchedule, instant: datetime) -> Blocked | None:
    """Returns what blocks `instant`, which is no slot of `schedule`.

    None: no calendar does; without it, `instant` would be no slot either.
    """
    members = schedule.members if isinstance(schedule, SeveralSchedules) else (schedule,)
    for member in members:
        if not isinstance(member, CalendarSchedule | BusinessDays):
            continue
        base: JobSchedule = member.base
        if base.last_until(instant) == instant:
            moved_to = _moved_to(member, instant)
            return Blocked(calendar=member.spec.name, moved_to=moved_to)
    return None


def _moved_to(schedule: CalendarSchedule | BusinessDays, slot: datetime) -> datetime | None:
    wall = slot.astimezone(schedule.zone).replace(tzinfo=None, fold=0)
    calendar = Calendar(schedule.spec)
    match schedule.rule:
        case Rule.NEXT:
            day = calendar.on_or_after(wall.date())
        case Rule.PREVIOUS:
            day = calendar.on_or_before(wall.date())
        case Rule.SKIP:
            return None
    if day is None:
        return None
    found = in_utc_of_fixed_time(datetime.combine(day, wall.time()), schedule.zone)
    return found if schedule.last_until(found) == found else None
