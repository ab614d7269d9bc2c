"""Beat's part in a pause: when it is over, the job is enabled and what it missed is recorded.

The slots of the pause become one SKIPPED row, as when a person enables the job. Slots from the end
of the pause on follow the misfire policy, so that a slot exactly at the end is not lost, nor one
for which no beat was there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations import validation
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.plan import DueSchedule, first_slot, plan
from scheduler.states import MisfirePolicy
from scheduler.store import jobs, slots
from scheduler.transient import in_transaction, is_outage

_HALF_A_SECOND = timedelta(milliseconds=500)


@dataclass(frozen=True, kw_only=True)
class _Return:
    """How a job comes back. `watermark`: its first slot after the pause; None: treat it as new."""

    watermark: datetime | None = None
    records: tuple[slots.SlotRecord, ...] = ()


def end_pauses(clock: Clock, settings: SchedulerSettings) -> int:
    """Enable up to a batch of jobs whose pause is over. Returns how many.

    Jobs that another beat holds are left to it.
    """
    if not jobs.any_pause_over(clock.now()):
        return 0

    def work() -> int:
        now = clock.now()
        paused = jobs.claim_paused(now, settings.batch_size)
        returns = {job.pk: _return_of(job, now, settings) for job in paused}
        slots.record_slots([r for found in returns.values() for r in found.records], now)
        return jobs.resume({id_: found.watermark for id_, found in returns.items()}, now=now)

    try:
        return in_transaction(work)
    # One bad row must not keep the others paused: all are enabled without recording their slots.
    except Exception as error:
        if is_outage(error):
            raise
        return jobs.resume_all(clock.now())


def _return_of(job: CronJob, now: datetime, settings: SchedulerSettings) -> _Return:
    # SQL may have changed the row. Without a watermark, beat checks it and says what is wrong.
    if job.paused_until is None or validation.job_problems(job, now=now, settings=settings):
        return _Return()
    try:
        schedule = schedule_of(job, settings)
    except ScheduleError:
        return _Return()
    over = _just_before(job.paused_until)
    # A job that was switched off by SQL still has its watermark.
    since = job.missed_from or job.next_run_at
    if since is None or since > over:
        # It was edited after the end of the pause, and misses slots since then.
        after = max(over, since - timedelta(microseconds=1)) if since else over
        return _Return(
            watermark=first_slot(schedule, after, start_at=job.start_at, end_at=job.end_at)
        )
    begin = max(since, job.start_at) if job.start_at else since
    if begin > over:
        return _Return(
            watermark=first_slot(schedule, over, start_at=job.start_at, end_at=job.end_at)
        )
    planned = plan(
        DueSchedule(
            schedule=schedule,
            next_run_at=begin,
            misfire_policy=MisfirePolicy.SKIP,
            misfire_grace_seconds=0,
            end_at=job.end_at,
            decided_by="the pause",
        ),
        over,
    )
    records = slots.records_of(job.pk, planned, spread_seconds=job.jitter_seconds)
    return _Return(watermark=planned.next_run_at, records=tuple(records))


def _just_before(end: datetime) -> datetime:
    """An instant before `end`. Slots are whole seconds: none is equal to it or between the two."""
    whole = end.replace(microsecond=0)
    return whole + _HALF_A_SECOND if end.microsecond else whole - _HALF_A_SECOND
