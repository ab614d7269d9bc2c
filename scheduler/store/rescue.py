"""Runs whose lease ran out, for beat to decide on. Their ends are written by `endings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Q

from scheduler.models import JobAttempt, JobExecution
from scheduler.states import AttemptOutcome, RunStatus
from scheduler.store import places
from scheduler.store.runs import Lease

_FIELDS = (
    "id", "job_id", "job_name", "handler_name", "attempt", "failures", "max_retry",
    "timeout_seconds", "lease_token", "lease_owner", "started_at", "deadline_at",
    "cancel_requested_at", "overlap_key", "job__retry_backoff_seconds",
    "job__retry_backoff_max_seconds", "queue", "parent_id", "parent__job__retry_backoff_seconds",
    "parent__job__retry_backoff_max_seconds",
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
    """How many other runs of its process were lost with it."""
    losses: int
    """How many attempts before this one were lost with their process, charged or not."""
    retry_backoff_seconds: int | None
    retry_backoff_max_seconds: int | None


def expired_runs(now: datetime, limit: int, *, lease_seconds: float) -> list[ExpiredRun]:
    """The RUNNING executions whose lease ended before `now`, oldest first. Not locked.

    The runs of a process come together or not at all, so that a process which was lost is judged
    once: about `limit` runs, but always all of one process. A process renews all its leases at the
    same time. So its leases that end within half a lease were lost with the first, and the others
    are those of a process that lives: one of its runs is past its deadline.
    """
    running = JobExecution.objects.filter(status=RunStatus.RUNNING)
    expired = running.filter(lease_expires_at__lt=now).order_by("lease_expires_at")
    first = list(expired.values_list("lease_owner", flat=True)[:limit])
    if not first:
        return []
    soon = running.filter(lease_expires_at__lt=now + timedelta(seconds=lease_seconds / 2))
    processes = {
        owner: (runs, last_end)
        for owner, runs, last_end in soon.filter(lease_owner__in=set(first))
        .order_by()
        .values_list("lease_owner")
        .annotate(Count("id"), Max("lease_expires_at"))
    }
    chosen: list[str] = []
    chosen_runs = 0
    # Only a row that was written by SQL has no owner.
    for owner in dict.fromkeys(owner for owner in first if owner is not None):
        runs, last_end = processes.get(owner, (0, now))
        if last_end < now and chosen_runs < limit:
            chosen.append(owner)
            chosen_runs += runs
    rows = list(expired.filter(Q(lease_owner__in=chosen) | Q(lease_owner=None)).values(*_FIELDS))
    lost = JobAttempt.objects.filter(
        outcome=AttemptOutcome.LOST, execution_id__in=[row["id"] for row in rows]
    ).order_by()
    losses = dict(lost.values_list("execution_id").annotate(Count("id")))
    taken = places.of_runs([row["id"] for row in rows])
    return [
        ExpiredRun(
            lease=Lease(
                execution_id=row["id"],
                job_id=row["job_id"],
                attempt=row["attempt"],
                token=row["lease_token"],
                owner=row["lease_owner"] or "",
                started_at=row["started_at"] or now,
                # Perhaps without a guard: then its end changes none.
                guard=row["overlap_key"] if row["job_id"] is None else row["job_id"],
                places=taken.get(row["id"], ()),
                parent_id=row["parent_id"],
                queue=row["queue"],
            ),
            name=row["job_name"] or row["handler_name"],
            failures=row["failures"],
            max_retry=row["max_retry"],
            timeout_seconds=row["timeout_seconds"],
            deadline_at=row["deadline_at"],
            is_cancelled=row["cancel_requested_at"] is not None,
            retry_backoff_seconds=_of_job(row, "retry_backoff_seconds"),
            retry_backoff_max_seconds=_of_job(row, "retry_backoff_max_seconds"),
            neighbours=max(0, processes.get(row["lease_owner"], (1, now))[0] - 1),
            losses=losses.get(row["id"], 0),
        )
        for row in rows
    ]


def _of_job(row: Mapping[str, Any], column: str) -> int | None:
    """The jobs of shards are those of their parents."""
    of_its_own: int | None = row[f"job__{column}"]
    return row[f"parent__job__{column}"] if row["parent_id"] is not None else of_its_own
