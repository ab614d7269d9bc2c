"""The watermark of a job: its next slot, and which slots are settled before it.

A slot is settled when it has its row or its recorded skip, or when it must never run because a
person's edit was later. When the calendar, a zone or an expression changes under a job, the first
slot that is not settled is computed anew from `last_slot_at`.

A calendar moves slots, so that instants alone do not say what is settled: the slot of a Saturday
that ran on Monday must not run again because Monday is closed afterwards. Therefore the watermark
also keeps the *nominal* time: the day and time of day, before any move, up to which all is settled.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from scheduler.schedule.fingerprint import fingerprint_of
from scheduler.schedule.from_job import ScheduledJob, ScheduleSettings, schedule_of
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.plan import within
from scheduler.schedule.slots import FIRST_INSTANT, Schedule

_INSTANT: Final = timedelta(microseconds=1)


class PlannedJob(ScheduledJob, Protocol):
    """The columns of a job that has a watermark."""

    @property
    def end_at(self) -> datetime | None: ...
    @property
    def schedule_fingerprint(self) -> str | None: ...
    @property
    def last_slot_at(self) -> datetime | None: ...
    @property
    def last_nominal_at(self) -> datetime | None: ...


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """The four columns of cron_jobs that are written together. Instants are aware UTC."""

    next_run_at: datetime | None
    """None: no slot follows."""
    schedule_fingerprint: str
    last_slot_at: datetime
    """The newest slot that is settled, or the instant of an edit. Nothing until then runs again."""
    last_nominal_at: datetime | None
    """The nominal time of the newest settled slot. None: the calendar moves no slot."""

    def columns(self) -> dict[str, Any]:
        return asdict(self)


def watermark_of(
    job: PlannedJob, settings: ScheduleSettings, next_run_at: datetime | None, *, until: datetime
) -> Watermark:
    """Returns the watermark of a job whose slots are settled `until` then. Raises ScheduleError."""
    return Watermark(
        next_run_at=next_run_at,
        schedule_fingerprint=fingerprint_of(job, settings),
        last_slot_at=until,
        last_nominal_at=nominal_at(schedule_of(job, settings), until),
    )


def is_changed(job: PlannedJob, settings: ScheduleSettings) -> bool:
    """Returns whether the stored watermark belongs to another schedule. Raises ScheduleError.

    A job without a fingerprint is as it is: it was planned by an older release, or typed by SQL.
    """
    stored = job.schedule_fingerprint
    return bool(stored and job.last_slot_at and stored != fingerprint_of(job, settings))


def first_owed(job: PlannedJob, settings: ScheduleSettings) -> datetime | None:
    """Returns the first slot of the job's present schedule that is not settled. None: none is left.

    It may be in the past. Raises ScheduleError.
    """
    schedule = schedule_of(job, settings)
    settled = job.last_slot_at or FIRST_INSTANT
    after = max(settled, job.start_at - _INSTANT) if job.start_at else settled
    return within(next_owed(schedule, after, settled, job.last_nominal_at), job.end_at)


def next_owed(
    schedule: Schedule, after: datetime, last_slot_at: datetime, last_nominal_at: datetime | None
) -> datetime | None:
    """Returns the first slot later than `after` and `last_slot_at` that is not settled."""
    slot = schedule.next_after(max(after, last_slot_at))
    if not isinstance(schedule, JobSchedule):
        return slot
    # Few slots are passed over: those of one closure.
    while slot is not None and not _owes(schedule, slot, last_slot_at, last_nominal_at):
        slot = schedule.next_after(slot)
    return slot


def _owes(
    schedule: JobSchedule,
    slot: datetime,
    last_slot_at: datetime,
    last_nominal_at: datetime | None,
) -> bool:
    zone = schedule.zone
    wall, last = slot.astimezone(zone), last_slot_at.astimezone(zone)
    settled = (last_nominal_at or last_slot_at).astimezone(zone)
    if wall.date() == last.date() or schedule.nominal_day(wall.date()) > settled.date():
        return True
    # The slots of later times of those days had not come yet.
    return wall.time() > settled.time()


def nominal_at(schedule: Schedule, instant: datetime) -> datetime | None:
    """Returns the nominal time until which all is settled when all slots until `instant` are.

    None: the schedule moves no slot, so that the nominal time is `instant` itself.
    """
    if not isinstance(schedule, JobSchedule) or not schedule.moves_slots:
        return None
    wall = instant.astimezone(schedule.zone)
    is_slot = schedule.last_until(instant) == instant
    day = schedule.nominal_day(wall.date())
    if not is_slot:
        # An edit. The slots of later days have not run, even those whose new day is over.
        day = min(day, wall.date())
    moved = wall.combine(day, wall.time(), wall.tzinfo)
    if day < wall.date() and not is_slot and not schedule.has_slots_on(wall.date()):
        # On a day without slots all earlier days are settled, whatever the time of day.
        moved = moved.replace(hour=23, minute=59, second=59, microsecond=0)
    return max(moved.astimezone(instant.tzinfo), FIRST_INSTANT)


@dataclass(frozen=True, kw_only=True)
class Including:
    """`schedule` and one slot more. Implements slots.Schedule."""

    schedule: Schedule
    slot: datetime

    def next_after(self, instant: datetime) -> datetime | None:
        found = self.schedule.next_after(instant)
        if self.slot > instant and (found is None or self.slot < found):
            return self.slot
        return found

    def last_until(self, instant: datetime) -> datetime | None:
        found = self.schedule.last_until(instant)
        if self.slot <= instant and (found is None or self.slot > found):
            return self.slot
        return found
