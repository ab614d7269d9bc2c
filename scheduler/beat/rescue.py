"""Beat's part for a lost worker: its runs are tried again, or end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler import failpoints
from scheduler.conf import SchedulerSettings
from scheduler.states import RunStatus
from scheduler.store import endings
from scheduler.store.rescue import ExpiredRun, expired_runs
from scheduler.worker.verdict import Budget, Verdict, of_lost_attempt


@dataclass(frozen=True, kw_only=True)
class Rescued:
    execution_id: int
    job_name: str
    status: RunStatus
    reason: str


def rescue_expired(
    now: datetime, settings: SchedulerSettings, *, random: Callable[[], float]
) -> list[Rescued]:
    """End the attempts whose lease ran out, oldest first. Returns those that this call ended.

    Each write demands the token that was read and a lease that is still over: a renewal or a
    verdict of the worker that comes in between wins.
    """
    rescued = []
    for run in expired_runs(now, settings.batch_size, lease_seconds=settings.lease_seconds):
        verdict = of_lost_attempt(
            Budget(
                failures=run.failures,
                max_retry=run.max_retry,
                backoff_seconds=run.retry_backoff_seconds,
                backoff_max_seconds=run.retry_backoff_max_seconds,
            ),
            worker=run.lease.owner,
            timeout_seconds=run.timeout_seconds,
            is_cancelled=run.is_cancelled,
            is_past_deadline=now >= run.deadline_at,
            neighbours=run.neighbours,
            losses=run.losses,
            random=random,
        )
        failpoints.point("rescue.found")
        if not _write(run, verdict, now):
            continue
        failpoints.point("rescue.ended")
        rescued.append(
            Rescued(
                execution_id=run.lease.execution_id,
                job_name=run.name,
                status=verdict.status,
                reason=verdict.error,
            )
        )
    return rescued


def _write(run: ExpiredRun, verdict: Verdict, now: datetime) -> bool:
    ending = endings.Ending(
        outcome=verdict.outcome,
        error=verdict.error,
        reason_code=verdict.reason_code,
        reason_facts=verdict.reason_facts,
    )
    if verdict.status == RunStatus.PENDING:
        again_at = now + timedelta(seconds=verdict.delay_seconds)
        write = endings.retry_later if verdict.charged else endings.hand_back
        return write(run.lease, ending, now=now, available_at=again_at, expired_before=now)
    return endings.finish(
        run.lease,
        ending,
        status=verdict.status,
        now=now,
        charged=verdict.charged,
        expired_before=now,
    )
