"""How an attempt ends: one fenced UPDATE and the attempt's own row, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import transaction

from scheduler import failpoints
from scheduler.models import JobAttempt
from scheduler.states import AttemptOutcome, RunStatus
from scheduler.store.connection import execute, to_json
from scheduler.store.run_reports import Report, insert_logs
from scheduler.store.runs import Lease, rows_of

_NO_LEASE: dict[str, Any] = {
    "lease_token": None,
    "lease_expires_at": None,
    "deadline_at": None,
    "running_key": None,
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended, for its row in job_attempts."""

    outcome: AttemptOutcome
    error: str = ""
    traceback: str = ""
    report: Report = field(default_factory=Report)  # what is not saved yet


def finish(
    lease: Lease,
    ending: Ending,
    *,
    status: RunStatus,
    now: datetime,
    result: Any = None,
    overran: bool = False,
    charged: bool = False,
) -> bool:
    """RUNNING -> a final state. False: the run is no longer ours, nothing was written."""
    changes = {
        "status": status,
        "finished_at": now,
        "result": to_json(result),
        "overran": overran,
        "final_token": lease.token,
        "publish_at": None,
        # What an earlier attempt said stays in job_attempts; a success has no error.
        "error_message": ending.error or None,
    }
    return end_attempt(lease, ending, now=now, changes=changes, charged=charged)


def retry_later(lease: Lease, ending: Ending, *, now: datetime, available_at: datetime) -> bool:
    """RUNNING -> PENDING after a charged failure. The reason stays in sight while it waits."""
    changes = {
        "status": RunStatus.PENDING,
        "available_at": available_at,
        "publish_at": available_at,
        "publish_count": 0,
        "error_message": ending.error or None,
    }
    return end_attempt(lease, ending, now=now, changes=changes, charged=True)


def hand_back(lease: Lease, *, now: datetime, reason: str) -> bool:
    """RUNNING -> PENDING, not charged: the worker leaves, the run has done nothing wrong."""
    changes = {
        "status": RunStatus.PENDING,
        "available_at": now,
        "publish_at": now,
        "publish_count": 0,
    }
    ending = Ending(outcome=AttemptOutcome.RELEASED, error=reason)
    return end_attempt(lease, ending, now=now, changes=changes, charged=False)


_WHERE_MINE = "WHERE id = %s AND status = %s AND lease_token = %s"
_INSERT_ATTEMPT = """
INSERT INTO job_attempts
       (execution_id, attempt, lease_token, worker, started_at, ended_at, outcome, error, traceback)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def end_attempt(
    lease: Lease,
    ending: Ending,
    *,
    now: datetime,
    changes: dict[str, Any],
    charged: bool,
    expired_before: datetime | None = None,
) -> bool:
    """The one way out of RUNNING: the fenced UPDATE and the attempt's row, in one transaction.

    A run that somebody wants cancelled does not go back to PENDING, where nobody would claim it: it
    ends CANCELLED, uncharged, and says why somebody wanted it. `expired_before` (rescue) demands
    besides that the lease ran out before then. In a transaction of its own unless the caller has
    one open.
    """
    goes_back = changes["status"] == RunStatus.PENDING
    changes = {**_NO_LEASE, **changes}
    if changes["status"] == RunStatus.CANCELLED and (reason := _reason_to_cancel(lease)):
        error = changes["error_message"]
        changes["error_message"] = f"{error} ({reason})" if error else reason
    if ending.report.progress is not None:
        changes["progress"], changes["progress_message"] = ending.report.progress
    columns = [f"{name} = %s" for name in changes]
    if charged:
        columns.append("failures = failures + 1")
    statement = f"UPDATE job_executions SET {', '.join(columns)} {_WHERE_MINE}"  # noqa: S608 - names of ours
    parameters = [*changes.values(), lease.execution_id, RunStatus.RUNNING, lease.token]
    if expired_before is not None:
        statement += " AND lease_expires_at < %s"
        parameters.append(expired_before)
    if goes_back:
        statement += " AND cancel_requested_at IS NULL"
    with transaction.atomic():
        if execute(statement, parameters) == 1:
            failpoints.point("end.updated")
            _insert_attempt(lease, ending, now)
            insert_logs(lease, ending.report)
            failpoints.point("end.recorded")
            return True
    if not goes_back:
        return False
    # Either no longer ours, which the same WHERE says again, or to be cancelled.
    return end_attempt(
        lease,
        replace(ending, outcome=AttemptOutcome.CANCELLED),
        now=now,
        changes={
            "status": RunStatus.CANCELLED,
            "finished_at": now,
            "publish_at": None,
            "final_token": lease.token,
            "error_message": ending.error or None,
        },
        charged=False,
        expired_before=expired_before,
    )


def _reason_to_cancel(lease: Lease) -> str | None:
    """What the one who asked for it gave; it stays as it is while this attempt runs."""
    asked = rows_of([lease]).filter(cancel_requested_at__isnull=False)
    return asked.values_list("error_message", flat=True).first()


def _insert_attempt(lease: Lease, ending: Ending, now: datetime) -> None:
    execute(
        _INSERT_ATTEMPT,
        [
            lease.execution_id,
            lease.attempt,
            lease.token,
            lease.owner,
            lease.started_at,
            now,
            ending.outcome,
            ending.error,
            ending.traceback,
        ],
    )


def has_ended(lease: Lease) -> bool:
    """Has the end of this attempt been written? Likewise, for the COMMIT of its outcome."""
    return JobAttempt.objects.filter(lease_token=lease.token).exists()
