"""Runs whose lease ran out, for beat to decide on. Their ends are written by `endings`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scheduler.models import JobExecution
from scheduler.states import RunStatus
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
    retry_backoff_seconds: int | None
    retry_backoff_max_seconds: int | None


def expired_runs(now: datetime, limit: int) -> list[ExpiredRun]:
    """Up to `limit` RUNNING executions whose lease ended before `now`, oldest first. Not locked."""
    expired = JobExecution.objects.filter(status=RunStatus.RUNNING, lease_expires_at__lt=now)
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
        )
        for row in expired.order_by("lease_expires_at").values(*_FIELDS)[:limit]
    ]
