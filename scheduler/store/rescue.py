"""Runs whose lease ran out, for beat to decide on. Their ends are written by `endings`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet

from scheduler.models import JobAttempt, JobExecution
from scheduler.states import AttemptOutcome, RunStatus
from scheduler.store.runs import Lease

_FIELDS = (
    "id", "job_id", "job_name", "handler_name", "attempt", "failures", "max_retry",
    "timeout_seconds", "lease_token", "lease_owner", "started_at", "deadline_at",
    "cancel_requested_at", "running_key", "job__retry_backoff_seconds",
    "job__retry_backoff_max_seconds",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ExpiredRun:
    """A run whose worker stopped renewing its lease, as it was read."""

    lease: Lease
    name: str
    failures: int
    max_retry: int
    timeout_seconds: int
    deadline_at: datetime
    is_cancelled: bool
    """Somebody has asked to cancel it."""
    neighbours: int
    """How many other runs its process had that have not ended either."""
    losses: int
    """How many attempts before this one were lost with their process."""
    retry_backoff_seconds: int | None
    retry_backoff_max_seconds: int | None


def expired_runs(now: datetime, limit: int) -> list[ExpiredRun]:
    """Up to `limit` RUNNING executions whose lease ended before `now`, oldest first. Not locked."""
    running = JobExecution.objects.filter(status=RunStatus.RUNNING)
    expired = running.filter(lease_expires_at__lt=now).order_by("lease_expires_at")
    rows = list(expired.values(*_FIELDS)[:limit])
    if not rows:
        return []
    owners = {row["lease_owner"] for row in rows}
    in_process = _counts(running.filter(lease_owner__in=owners), "lease_owner")
    lost = JobAttempt.objects.filter(outcome=AttemptOutcome.LOST)
    losses = _counts(lost.filter(execution_id__in=[row["id"] for row in rows]), "execution_id")
    return [
        ExpiredRun(
            lease=Lease(
                execution_id=row["id"],
                job_id=row["job_id"],
                attempt=row["attempt"],
                token=row["lease_token"],
                owner=row["lease_owner"] or "",
                started_at=row["started_at"] or now,
                exclusive=row["running_key"] is not None,
            ),
            name=row["job_name"] or row["handler_name"],
            failures=row["failures"],
            max_retry=row["max_retry"],
            timeout_seconds=row["timeout_seconds"],
            deadline_at=row["deadline_at"],
            is_cancelled=row["cancel_requested_at"] is not None,
            retry_backoff_seconds=row["job__retry_backoff_seconds"],
            retry_backoff_max_seconds=row["job__retry_backoff_max_seconds"],
            neighbours=max(0, in_process.get(row["lease_owner"], 0) - 1),
            losses=losses.get(row["id"], 0),
        )
        for row in rows
    ]


def _counts(rows: QuerySet[Any], column: str) -> dict[Any, int]:
    return dict(rows.order_by().values_list(column).annotate(Count("id")))
