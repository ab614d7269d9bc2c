"""A freeze is changed or ends early: what becomes of the runs that it holds or has skipped.

Each held run was recorded to run when its freezes end. One that waits for upstream jobs or for an
approval besides goes on waiting for these, from the new end on.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob, JobExecution
from scheduler.operations.upstream_slots import waits_of
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.freezes import Freeze, blocked, holding
from scheduler.states import BlockedSlots, ReasonCode
from scheduler.store import approvals, executions, freezes
from scheduler.store.slots import held_by, skipped_by
from scheduler.wakeups import became_runnable


def decide_anew(
    now: datetime, settings: SchedulerSettings, *, ended: tuple[Freeze, datetime] | None
) -> None:
    """Decides about the runs that freezes hold, as the freezes are now.

    `ended`: a freeze as it was, and since when it has held. If it holds no more, the last slot that
    it has blocked runs now, where it said so.
    """
    runs = freezes.held_runs()
    since = min((run.scheduled_time for run in runs), default=now)
    jobs = CronJob.objects.in_bulk({run.job_id for run in runs if run.job_id})
    known = freezes.of_jobs(list(jobs), since, settings.default_timezone)
    for run in runs:
        job = jobs.get(run.job_id or 0)
        if job is None:
            continue
        try:
            schedule = schedule_of(job, settings)
        except (ScheduleError, ValueError, OSError):
            continue  # it runs when it was to run
        block = blocked(
            run.scheduled_time,
            known.of(job.pk),
            schedule,
            end_at=job.end_at,
            caught_up_at=run.created_at,
        )
        if block is None:
            freezes.release([run.pk], now)
            _go_on(run, job, now, now)
        elif block.held_until is not None:
            at = max(block.held_until, run.scheduled_time)
            freezes.hold([run.pk], held_by(block), at)
            _go_on(run, job, at, now)
        else:
            why = skipped_by(block, run.scheduled_time)
            freezes.skip([run.pk], now=now, reason=why.reason, facts=why.reason_facts)
    if ended is not None and ended[0].blocked_slots == BlockedSlots.LATEST:
        _run_latest(*ended, now, settings)


def _go_on(run: JobExecution, job: CronJob, at: datetime, now: datetime) -> None:
    """What a run waits for besides, now that its freezes hold it until `at`."""
    if run.reason_code == ReasonCode.UPSTREAM_AWAITED:
        until = at + timedelta(seconds=job.upstream_seconds)
        freezes.go_on_waiting(run.pk, not_before=at, until=until)
    elif run.reason_code == ReasonCode.AWAITS_APPROVAL:
        approvals.ask([run.pk], now)
    elif at <= now:
        became_runnable(run.queue)


def _run_latest(was: Freeze, since: datetime, now: datetime, settings: SchedulerSettings) -> None:
    newest = freezes.skipped_by(was.id, since, now)
    known = freezes.of_jobs(list(newest), now, settings.default_timezone)
    chosen = {
        run_id: (job_id, slot)
        for job_id, (run_id, slot) in newest.items()
        if holding(known.of(job_id), now) is None
        and executions.newest_slot(job_id, until=now) == slot
    }
    ids = freezes.lock_skipped(chosen)
    executions.retry_all(ids, now=now)
    jobs = CronJob.objects.in_bulk({chosen[id_][0] for id_ in ids})
    waiting = set()
    for id_ in ids:
        job_id, slot = chosen[id_]
        if _awaits_upstreams(id_, jobs[job_id], slot, now, settings):
            waiting.add(id_)
    # Whoever ends a freeze has not looked at the runs.
    needed = approvals.need([id_ for id_ in ids if id_ not in waiting])
    approvals.ask(needed, now)
    for queue in executions.queues_of(set(ids).difference(needed, waiting)):
        became_runnable(queue)


def _awaits_upstreams(
    execution_id: int, job: CronJob, slot: datetime, now: datetime, settings: SchedulerSettings
) -> bool:
    """Lets a slot that runs after all wait for its upstream jobs, if the job has any."""
    try:
        wanted = waits_of(job, settings, now)(slot, now)
    except (ScheduleError, ValueError, OSError):
        return False  # beat says what is wrong at the next slot
    if wanted:
        freezes.begin_waiting(execution_id, wanted, not_before=now)
    return bool(wanted)
