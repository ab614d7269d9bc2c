"""The slots that a job has missed, and what happens to them: one rule for enable, edit and pause.

A disabled job misses its slots from `missed_from` on. An enabled job that no beat has planned
misses them from its watermark on. Functions here are pure: they take instants and write nothing.
`store.slots.record_slots` writes what `settle` returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations.upstream_slots import waits_of
from scheduler.schedule import schedule_of, slots_between
from scheduler.schedule.freezes import Freezes
from scheduler.schedule.plan import COUNTED_SKIPS, Decision, DueSchedule, first_slot, plan
from scheduler.schedule.watermark import Watermark, first_owed, is_changed, watermark_of
from scheduler.states import MisfirePolicy
from scheduler.store import slots

_INSTANT: Final = timedelta(microseconds=1)
_HALF_A_SECOND: Final = timedelta(milliseconds=500)


class _Watermarked(Protocol):
    """The columns that say from when on a job misses its slots."""

    @property
    def is_enabled(self) -> bool: ...
    @property
    def next_run_at(self) -> datetime | None: ...
    @property
    def missed_from(self) -> datetime | None: ...


@dataclass(frozen=True, kw_only=True)
class Missed:
    """The slots that a job has missed since it was switched off; `first` and `last` are slots.

    `count` is exact unless there are `more`.
    """

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What the caller must write: the records of missed slots, and the watermark after them.

    `watermark` None: the job has none, and beat looks at it as at a new one.
    """

    records: tuple[slots.SlotRecord, ...] = ()
    watermark: Watermark | None = None


def missed_since(job: _Watermarked) -> datetime | None:
    """Returns from when on a job has missed its slots. None: unknown, or it has missed none."""
    if job.is_enabled:
        return job.next_run_at or job.missed_from
    # A job that was disabled by SQL has no `missed_from`, but still has its watermark.
    return job.missed_from or job.next_run_at


# The next three functions return a limit for slots. Slots are whole seconds, and each limit is half
# a second before or after a whole second, so that it is never equal to a slot.


def before_pause_ends(paused_until: datetime) -> datetime:
    """Returns a limit that includes every slot before the end of the pause, but not one at it."""
    whole = paused_until.replace(microsecond=0)
    return whole + _HALF_A_SECOND if paused_until.microsecond else whole - _HALF_A_SECOND


def before_now(now: datetime) -> datetime:
    """Returns a limit that excludes a slot that is due just now, because it is not missed yet."""
    return (now - _HALF_A_SECOND).replace(microsecond=500_000)


def with_now(now: datetime) -> datetime:
    """Returns a limit that includes a slot that is due just now."""
    return now.replace(microsecond=500_000)


def count_missed(job: CronJob, *, until: datetime, settings: SchedulerSettings) -> Missed:
    """Counts the slots that the job has missed up to `until`. Raises ScheduleError."""
    due = _due(job, until=until, settings=settings)
    if due is None:
        return Missed()
    until = min(until, due.end_at) if due.end_at else until
    counted = slots_between(due.schedule, due.next_run_at - _INSTANT, until, COUNTED_SKIPS + 1)
    if not counted:
        return Missed()
    more = len(counted) > COUNTED_SKIPS
    last = due.schedule.last_until(until) if more else counted[-1]
    return Missed(count=min(len(counted), COUNTED_SKIPS), first=counted[0], last=last, more=more)


def settle(
    job: CronJob,
    *,
    until: datetime,
    settings: SchedulerSettings,
    decided_by: Decision,
    policy: MisfirePolicy = MisfirePolicy.SKIP,
    freezes: Freezes = (),
) -> Settlement:
    """Decides by `policy` what happens to the slots that the job has missed up to `until`.
    `freezes`: those that may block what would run now.

    The watermark is the first slot after `until` that has no record. Raises ScheduleError.
    """
    due = _due(
        job, until=until, settings=settings, policy=policy, decided_by=decided_by, freezes=freezes
    )
    if due is None:
        since = _owed_since(job, settings)
        # If the job was edited after `until`, it misses its slots only from the edit on.
        after = until if since is None else max(until, since - _INSTANT)
        schedule = schedule_of(job, settings)
        first = first_slot(schedule, after, start_at=job.start_at, end_at=job.end_at)
        return Settlement(watermark=watermark_of(job, settings, first, until=after))
    records: list[slots.SlotRecord] = []
    waits = waits_of(job, settings, until)
    while True:
        planned = plan(due, until)
        records += slots.records_of(
            job.pk,
            planned,
            spread_seconds=job.jitter_seconds,
            is_shadow=bool(job.is_shadow),
            waits=waits,
            needs_approval=job.approval_seconds > 0,
        )
        if planned.next_run_at is None or planned.next_run_at > until:
            watermark = watermark_of(job, settings, planned.next_run_at, until=until)
            return Settlement(records=tuple(records), watermark=watermark)
        due = replace(due, next_run_at=planned.next_run_at)


def _owed_since(job: CronJob, settings: SchedulerSettings) -> datetime | None:
    """As `missed_since`, but by the present schedule. Raises ScheduleError."""
    since = missed_since(job)
    return first_owed(job, settings) if since and is_changed(job, settings) else since


def _due(
    job: CronJob,
    *,
    until: datetime,
    settings: SchedulerSettings,
    policy: MisfirePolicy = MisfirePolicy.SKIP,
    decided_by: Decision | None = None,
    freezes: Freezes = (),
) -> DueSchedule | None:
    """Returns the slots to settle up to `until`. None: the job has missed nothing by then."""
    since = _owed_since(job, settings)
    if since is None:
        return None
    begin = max(since, job.start_at) if job.start_at else since
    if begin > until:
        return None
    return DueSchedule(
        schedule=schedule_of(job, settings),
        next_run_at=begin,
        misfire_policy=policy,
        misfire_grace_seconds=0,
        max_catchup=job.max_catchup,
        end_at=job.end_at,
        decided_by=decided_by,
        freezes=freezes,
    )
