"""An attempt begins with a claim and keeps its lease. How it ends: endings.py.

Each write after the claim has the lease token in its WHERE.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Least

from handlers.params import UnreadableParams
from scheduler.models import JobExecution
from scheduler.states import OverlapPolicy, RunStatus
from scheduler.store.connection import execute, fetch_one, from_json, instant

# Time between the handler's timeout and the instant at which even a renewed lease ends.
DEADLINE_MARGIN_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An execution that a message named, as it was read before the claim."""

    id: int
    job_id: int | None
    job_name: str
    handler_name: str
    scheduled_time: datetime
    logical_time: datetime | None
    status: str
    params: Any
    attempt: int
    failures: int
    max_retry: int
    timeout_seconds: int
    available_at: datetime
    cancel_requested_at: datetime | None
    overlap_policy: str | None
    retry_backoff_seconds: int | None
    retry_backoff_max_seconds: int | None
    overlap_key: int | None


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to run one attempt and to write its end: the execution and this claim's token."""

    execution_id: int
    job_id: int | None
    attempt: int
    token: str
    owner: str
    started_at: datetime
    exclusive: bool  # it holds a running_key
    overlap_key: int | None = None

    @property
    def running_key(self) -> int | None:
        """What no other run may hold meanwhile: the job's id, or the key that calls share."""
        if not self.exclusive:
            return None
        return self.overlap_key if self.job_id is None else self.job_id


_CANDIDATE = """
SELECT e.id, e.job_id, e.job_name, e.handler_name, e.scheduled_time, e.logical_time, e.status,
       e.params, e.attempt, e.failures, e.max_retry, e.timeout_seconds, e.available_at,
       e.cancel_requested_at, j.overlap_policy, j.retry_backoff_seconds,
       j.retry_backoff_max_seconds, e.overlap_key
  FROM job_executions e
  LEFT JOIN cron_jobs j ON j.id = e.job_id
 WHERE e.id = %s
"""
_COLUMNS = tuple(Candidate.__dataclass_fields__)


def candidate(execution_id: int) -> Candidate | None:
    """The execution and the policies of its job (None for a run without a job)."""
    row = fetch_one(_CANDIDATE, [execution_id])
    if row is None:
        return None
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in ("scheduled_time", "logical_time", "available_at", "cancel_requested_at"):
        values[name] = instant(values[name])
    try:
        values["params"] = from_json(values["params"])
    # Databases store numbers of thousands of digits and depths that Python refuses to read.
    except (ValueError, RecursionError) as error:
        values["params"] = UnreadableParams(str(error))
    return Candidate(**values)


class Overlap(Exception):
    """Another run of the job goes on, and the job does not allow two."""


def lease_for(row: Candidate, *, token: str, owner: str, now: datetime) -> Lease:
    """The lease that `claim` will try to take.

    It exists before the claim. If the answer to the COMMIT is lost, nothing else is known of the
    attempt that may have begun.
    """
    return Lease(
        execution_id=row.id,
        job_id=row.job_id,
        attempt=row.attempt + 1,
        token=token,
        owner=owner,
        started_at=now,
        exclusive=(
            row.overlap_key is not None
            if row.job_id is None
            else row.overlap_policy != OverlapPolicy.ALLOW
        ),
        overlap_key=row.overlap_key,
    )


# `attempt` in the WHERE: a retry by a person may have changed the row since it was read.
_CLAIM = """
UPDATE job_executions
   SET status = %s, attempt = %s, lease_token = %s, lease_owner = %s, lease_expires_at = %s,
       deadline_at = %s, running_key = %s, started_at = %s, publish_at = NULL, progress = NULL,
       progress_message = '', overran = FALSE, reason_code = NULL, reason_facts = NULL
 WHERE id = %s AND status = %s AND attempt = %s AND available_at <= %s
   AND cancel_requested_at IS NULL
"""


def claim(row: Candidate, lease: Lease, *, lease_seconds: float) -> bool:
    """Begin an attempt: one UPDATE with a commit of its own.

    False: somebody else was first, or the run must wait. Raises Overlap. After any other error the
    COMMIT may still have happened: ask `holds`.
    """
    now = lease.started_at
    deadline_at = now + timedelta(seconds=row.timeout_seconds + DEADLINE_MARGIN_SECONDS)
    try:
        changed = execute(
            _CLAIM,
            [
                RunStatus.RUNNING,
                lease.attempt,
                lease.token,
                lease.owner,
                min(now + timedelta(seconds=lease_seconds), deadline_at),
                deadline_at,
                lease.running_key,
                now,
                row.id,
                RunStatus.PENDING,
                row.attempt,
                now,
            ],
        )
    except IntegrityError as error:
        if lease.exclusive:
            raise Overlap from error
        raise
    return changed == 1


def holds(lease: Lease) -> bool:
    """Is this attempt ours? Ask it after a COMMIT whose answer was lost."""
    return rows_of([lease]).exists()


@dataclass(frozen=True, kw_only=True)
class LeaseStates:
    """The runs of a process that are still its own, by token."""

    ours: frozenset[str]
    cancelled: frozenset[str]
    """Those of them that somebody wants cancelled."""


def renew_leases(leases: Collection[Lease], *, now: datetime, lease_seconds: float) -> LeaseStates:
    """Renew all leases of a process in one UPDATE, never past the deadline of a run; read them."""
    expires_at = now + timedelta(seconds=lease_seconds)
    rows_of(leases).update(lease_expires_at=Least(Value(expires_at), F("deadline_at")))
    return watch_leases(leases)


def watch_leases(leases: Collection[Lease]) -> LeaseStates:
    """Read which runs are still ours and which are to be cancelled. Changes nothing."""
    found = list(rows_of(leases).values_list("lease_token", "cancel_requested_at"))
    return LeaseStates(
        ours=frozenset(token for token, _ in found if token),
        cancelled=frozenset(token for token, asked_at in found if token and asked_at),
    )


def rows_of(leases: Collection[Lease]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(
        id__in=sorted(lease.execution_id for lease in leases),
        status=RunStatus.RUNNING,
        lease_token__in=[lease.token for lease in leases],
    )
