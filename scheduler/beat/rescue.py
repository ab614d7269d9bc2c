"""Beat's part for a lost worker: its runs are tried again, or end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from django.db import Error

from scheduler import failpoints
from scheduler.conf import SchedulerSettings
from scheduler.states import RunStatus
from scheduler.store.endings import Ending, end
from scheduler.store.rescue import ExpiredRun, expired_runs
from scheduler.transient import is_outage
from scheduler.worker.reporting import parent_ended
from scheduler.worker.verdict import Budget, Verdict, ending, of_lost_attempt


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
    runs = expired_runs(now, settings.batch_size, lease_seconds=settings.lease_seconds)
    verdicts = [_verdict(run, now, random) for run in runs]
    if not runs:
        return []
    failpoints.point("rescue.found")
    lost = [ending(verdict, run.lease, now) for run, verdict in zip(runs, verdicts, strict=True)]
    ended = _end(lost, now)
    failpoints.point("rescue.ended")
    return [
        Rescued(
            execution_id=run.lease.execution_id,
            job_name=run.name,
            status=verdict.status,
            reason=verdict.error,
        )
        for run, verdict in zip(runs, verdicts, strict=True)
        if run.lease.token in ended
    ]


def _end(lost: Sequence[Ending], now: datetime) -> frozenset[str]:
    """Write the ends, all together. If the database refuses one run, one by one."""
    try:
        written = end(lost, now=now, expired_before=now)
        for parent in written.parents:
            parent_ended(parent)
        return written
    except Error as error:
        if is_outage(error) or len(lost) == 1:
            raise
    ended: frozenset[str] = frozenset()
    for one in lost:
        with suppress(Error):  # it is tried again by the next sweep
            ended |= _end([one], now)
    return ended


def _verdict(run: ExpiredRun, now: datetime, random: Callable[[], float]) -> Verdict:
    return of_lost_attempt(
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
