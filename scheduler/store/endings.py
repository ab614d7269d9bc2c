"""How an attempt ends: one transaction with a fenced UPDATE of its run and a row of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from scheduler import failpoints
from scheduler.limits import own_transaction
from scheduler.models import JobAttempt
from scheduler.states import AttemptOutcome, ReasonCode, RunStatus
from scheduler.store import overlap
from scheduler.store.connection import execute, to_json
from scheduler.store.run_reports import Report, insert_logs
from scheduler.store.runs import Lease, rows_of


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended, for its row in job_attempts."""

    outcome: AttemptOutcome
    error: str = ""
    traceback: str = ""
    exception_class: str = ""
    reason_code: ReasonCode | None = None
    """Why the execution is what it is afterwards, for its own row."""
    reason_facts: Mapping[str, Any] | None = None
    report: Report = field(default_factory=Report)
    """What the handler has reported and nobody has saved yet."""


def finish(
    lease: Lease,
    ending: Ending,
    *,
    status: RunStatus,
    now: datetime,
    result: Any = None,
    overran: bool = False,
    charged: bool = False,
    expired_before: datetime | None = None,
) -> bool:
    """RUNNING -> a final state. False: the run is no longer ours, nothing was written.

    `expired_before`, here and below: only if the lease ran out before then (rescue).
    """
    changes = {
        "status": status,
        "finished_at": now,
        "result": to_json(result),
        "overran": overran,
        "final_token": lease.token,
        "publish_at": None,
        # The errors of earlier attempts stay in job_attempts. A success has no error.
        "error_message": ending.error or None,
    }
    return _end_attempt(lease, ending, changes, now=now, charged=charged, expired=expired_before)


def retry_later(
    lease: Lease,
    ending: Ending,
    *,
    now: datetime,
    available_at: datetime,
    expired_before: datetime | None = None,
) -> bool:
    """RUNNING -> PENDING after a charged failure. Its error stays on the row meanwhile."""
    changes = {
        "status": RunStatus.PENDING,
        "available_at": available_at,
        "publish_at": available_at,
        "publish_count": 0,
        "error_message": ending.error or None,
    }
    return _end_attempt(lease, ending, changes, now=now, charged=True, expired=expired_before)


def hand_back(
    lease: Lease,
    ending: Ending,
    *,
    now: datetime,
    available_at: datetime | None = None,
    expired_before: datetime | None = None,
) -> bool:
    """RUNNING -> PENDING, not charged: the worker goes away, the run has done nothing wrong.

    `available_at`: when it may begin again; None: at once.
    """
    available_at = available_at or now
    changes = {
        "status": RunStatus.PENDING,
        "available_at": available_at,
        "publish_at": available_at,
        "publish_count": 0,
    }
    return _end_attempt(lease, ending, changes, now=now, charged=False, expired=expired_before)


_NO_LEASE: dict[str, Any] = {
    "lease_token": None,
    "lease_expires_at": None,
    "deadline_at": None,
}
# Whoever asked for the cancel has written it. NULL: it was asked for by SQL.
_KEEP_REASON = f"reason_code = COALESCE(reason_code, '{ReasonCode.CANCELLED_BY_PERSON}')"
_WHERE_MINE = "WHERE id = %s AND status = %s AND lease_token = %s"


def _end_attempt(
    lease: Lease,
    ending: Ending,
    changes: dict[str, Any],
    *,
    now: datetime,
    charged: bool,
    expired: datetime | None = None,
) -> bool:
    """The only way out of RUNNING. In a transaction of its own, unless the caller has one open.

    A run that somebody wants cancelled does not go back to PENDING, where no worker would claim it:
    it ends CANCELLED, uncharged, with the reason of whoever asked for it.
    """
    # The database's clock may have gone back since the attempt began.
    now = max(now, lease.started_at)
    if "finished_at" in changes:
        changes["finished_at"] = now
    goes_back = changes["status"] == RunStatus.PENDING
    is_cancelled = changes["status"] == RunStatus.CANCELLED
    changes = {**_NO_LEASE, **changes}
    if is_cancelled and (reason := _reason_to_cancel(lease)):
        error = changes["error_message"]
        changes["error_message"] = f"{error} ({reason})" if error else reason
    if not is_cancelled:
        changes["reason_code"] = ending.reason_code
        changes["reason_facts"] = to_json(ending.reason_facts)
    if ending.report.progress is not None:
        changes["progress"], changes["progress_message"] = ending.report.progress
    columns = [f"{name} = %s" for name in changes]
    if is_cancelled:
        columns.append(_KEEP_REASON)
    if charged:
        columns.append("failures = failures + 1")
    statement = f"UPDATE job_executions SET {', '.join(columns)} {_WHERE_MINE}"  # noqa: S608 - names of ours
    parameters = [*changes.values(), lease.execution_id, RunStatus.RUNNING, lease.token]
    if expired is not None:
        statement += " AND lease_expires_at < %s"
        parameters.append(expired)
    if goes_back:
        statement += " AND cancel_requested_at IS NULL"
    with own_transaction():
        if execute(statement, parameters) == 1:
            failpoints.point("end.updated")
            _insert_attempt(lease, ending, now)
            insert_logs(lease, ending.report)
            if lease.guard is not None:
                overlap.release({lease.guard: lease.execution_id}, now=now)
            failpoints.point("end.recorded")
            return True
    if not goes_back:
        return False
    # No row matched: the run is to be cancelled, or it is no longer ours. The same WHERE tells.
    cancelled = replace(ending, outcome=AttemptOutcome.CANCELLED)
    changes = {
        "status": RunStatus.CANCELLED,
        "finished_at": now,
        "publish_at": None,
        "final_token": lease.token,
        "error_message": ending.error or None,
    }
    return _end_attempt(lease, cancelled, changes, now=now, charged=False, expired=expired)


def _reason_to_cancel(lease: Lease) -> str | None:
    """The reason that `request_cancel` wrote; nothing overwrites it while this attempt runs."""
    asked = rows_of([lease]).filter(cancel_requested_at__isnull=False)
    return asked.values_list("error_message", flat=True).first()


_INSERT_ATTEMPT = """
INSERT INTO job_attempts
       (execution_id, attempt, lease_token, worker, started_at, ended_at, outcome, error, traceback,
        exception_class)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


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
            ending.exception_class or None,
        ],
    )


def has_ended(lease: Lease) -> bool:
    """Is the end of this attempt in the database? Ask it after a COMMIT whose answer was lost."""
    return JobAttempt.objects.filter(lease_token=lease.token).exists()
