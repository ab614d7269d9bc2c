"""A freeze is changed or ends early: what becomes of the runs that it holds or has skipped.

A door calls it in the transaction of the change, and beat when SQL has changed a freeze. A second
call changes nothing. Each held run was recorded to run when its freezes end. One that waits for
upstream jobs or for an approval besides goes on waiting for these, from the new end on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob, JobExecution
from scheduler.operations.upstream_slots import waits_of
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.freezes import Block, Freeze, blocked, holding
from scheduler.schedule.plan import jitter_seconds
from scheduler.states import BlockedSlots, ReasonCode
from scheduler.store import approvals, executions, freezes
from scheduler.store.slots import held_by, skipped_by
from scheduler.store.waits import NEVER
from scheduler.wakeups import became_runnable


def decide_anew(
    now: datetime, settings: SchedulerSettings, *, ended: Collection[tuple[Freeze, datetime]]
) -> None:
    """Decides about the runs that freezes hold, as the freezes are now.

    `ended`: freezes as they were, and since when each has held. If one holds no more, the last slot
    that it has blocked runs now, where it said so.
    """
    runs = freezes.held_runs()
    begins = freezes.begins_of(runs)
    released: list[_Held] = []
    held: dict[tuple[int, datetime], list[_Held]] = {}
    skipped: dict[int, list[_Held]] = {}
    for each in _decided(runs, now, settings):
        block, at = each.block, each.at
        # One whose freezes are over is held by none. It waits for a worker, or for what else it
        # waits for, and its time for that does not begin anew.
        begun = max(now, begins.get(each.run.pk, NEVER))
        if block is None:
            if begun > now:
                released.append(each)
        elif block.held_until is None:
            skipped.setdefault(block.freeze.id, []).append(each)
        elif begun != max(now, at) or not _is_of(each.run, block):
            held.setdefault((block.freeze.id, at), []).append(each)
    freezes.release([each.run.pk for each in released], now)
    _go_on(released, now, now)
    for (_freeze, at), some in held.items():
        assert some[0].block is not None
        freezes.hold([each.run.pk for each in some], held_by(some[0].block), at)
        _go_on(some, at, now)
    for some in skipped.values():
        assert some[0].block is not None
        why = skipped_by(some[0].block, now)
        ids = [each.run.pk for each in some]
        freezes.skip(ids, now=now, reason=why.reason, facts=why.reason_facts)
    for freeze, since in ended:
        if freeze.blocked_slots == BlockedSlots.LATEST:
            _run_latest(freeze, since, now, settings)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A run that a freeze has held, and how it is blocked now. `at`: it may start then."""

    run: JobExecution
    job: CronJob
    block: Block | None
    at: datetime


def _decided(
    runs: Collection[JobExecution], now: datetime, settings: SchedulerSettings
) -> Iterator[_Held]:
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
        at = now
        if block is not None and block.held_until is not None:
            jitter = jitter_seconds(job.pk, run.scheduled_time, job.jitter_seconds)
            at = max(block.held_until, run.scheduled_time) + timedelta(seconds=jitter)
        yield _Held(run=run, job=job, block=block, at=at)


def _is_of(run: JobExecution, block: Block) -> bool:
    """Whether the run says already that this freeze holds it."""
    return block.freeze.facts().items() <= dict(run.reason_facts or {}).items()


def _go_on(some: Collection[_Held], at: datetime, now: datetime) -> None:
    """What these runs wait for besides, now that their freezes hold them until `at`."""
    approvals.ask([e.run.pk for e in some if e.run.reason_code == ReasonCode.AWAITS_APPROVAL], now)
    waiting: dict[datetime, list[int]] = {}
    for each in some:
        if each.run.reason_code == ReasonCode.UPSTREAM_AWAITED:
            until = at + timedelta(seconds=each.job.upstream_seconds)
            waiting.setdefault(until, []).append(each.run.pk)
    for until, ids in waiting.items():
        freezes.go_on_waiting(ids, not_before=at, until=until)
    if at <= now:
        others = (e.run for e in some if e.run.reason_code == ReasonCode.FROZEN_HELD)
        for queue in {run.queue for run in others}:
            became_runnable(queue)


def _run_latest(was: Freeze, since: datetime, now: datetime, settings: SchedulerSettings) -> None:
    newest = freezes.skipped_by(was.id, since, now)
    known = freezes.of_jobs(list(newest), now, settings.default_timezone)
    chosen = {
        run_id: (job_id, slot)
        for job_id, (run_id, slot) in newest.items()
        if holding(known.of(job_id), now) is None
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
