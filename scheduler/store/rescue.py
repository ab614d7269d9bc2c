"""Runs whose lease ran out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scheduler import failpoints
from scheduler.models import JobExecution
from scheduler.schedule.plan import backoff_seconds
from scheduler.states import AttemptOutcome, RunStatus
from scheduler.store import endings, overlap, runs

# For runs without a job (events), and the table's own defaults.
DEFAULT_BACKOFF_SECONDS = 30
DEFAULT_BACKOFF_MAX_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Rescued:
    execution_id: int
    job_name: str
    status: RunStatus
    reason: str


_EXPIRED_FIELDS = (
    "id", "job_id", "job_name", "handler_name", "attempt", "failures", "max_retry",
    "timeout_seconds", "lease_token", "lease_owner", "started_at", "deadline_at",
    "cancel_requested_at", "running_key", "job__retry_backoff_seconds",
    "job__retry_backoff_max_seconds",
)  # fmt: skip


def rescue_expired(now: datetime, limit: int, *, random: Callable[[], float]) -> list[Rescued]:
    """End the attempts whose lease ran out: back to PENDING with back-off, or final. Oldest first.

    Each with the token that was read in its WHERE: a renewal or a verdict that came in between
    wins.
    """
    expired = JobExecution.objects.filter(status=RunStatus.RUNNING, lease_expires_at__lt=now)
    rows: Iterable[Any] = expired.order_by("lease_expires_at").values(*_EXPIRED_FIELDS)[:limit]
    rescued = []
    for row in rows:
        lease = runs.Lease(
            execution_id=row["id"],
            job_id=row["job_id"],
            attempt=row["attempt"],
            token=row["lease_token"],
            owner=row["lease_owner"] or "",
            started_at=row["started_at"] or now,
            exclusive=row["running_key"] is not None,
        )
        status, outcome, reason = _verdict(row, now)
        charged = status != RunStatus.CANCELLED
        if status == RunStatus.PENDING:
            base = row["job__retry_backoff_seconds"]
            longest = row["job__retry_backoff_max_seconds"]
            delay = backoff_seconds(
                row["failures"] + 1,
                DEFAULT_BACKOFF_SECONDS if base is None else base,
                DEFAULT_BACKOFF_MAX_SECONDS if longest is None else longest,
                random,
            )
            available_at = now + timedelta(seconds=delay)
            changes = {"available_at": available_at, "publish_at": available_at, "publish_count": 0}
        else:
            changes = {"finished_at": now, "publish_at": None, "final_token": lease.token}
        changes |= {"status": status, "error_message": reason}
        ending = endings.Ending(outcome=outcome, error=reason)
        failpoints.point("rescue.found")
        if endings.end_attempt(
            lease, ending, now=now, changes=changes, charged=charged, expired_before=now
        ):
            failpoints.point("rescue.ended")
            if lease.exclusive and lease.job_id is not None:
                overlap.wake_waiting(lease.job_id, now=now)
            name = row["job_name"] or row["handler_name"]
            rescued.append(
                Rescued(execution_id=row["id"], job_name=name, status=status, reason=reason)
            )
    return rescued


def _verdict(row: Any, now: datetime) -> tuple[RunStatus, AttemptOutcome, str]:
    """What a run with an expired lease becomes. One whose worker keeps dying ends, and does not
    loop."""
    if row["cancel_requested_at"] is not None:
        return RunStatus.CANCELLED, AttemptOutcome.CANCELLED, "cancelled; the worker was lost"
    exhausted = row["failures"] + 1 > row["max_retry"]
    if now >= row["deadline_at"]:
        reason = f"Execution timed out after {row['timeout_seconds']} s (its worker did not end it)"
        return (
            RunStatus.TIMEOUT if exhausted else RunStatus.PENDING,
            AttemptOutcome.TIMEOUT,
            reason,
        )
    reason = f"worker lost: {row['lease_owner']} stopped renewing its lease"
    return (
        RunStatus.FAILED if exhausted else RunStatus.PENDING,
        AttemptOutcome.LOST,
        reason,
    )
