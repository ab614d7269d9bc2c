"""An attempt begins, is renewed and ends. Every write after the claim carries the lease token in
its WHERE.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Least

from handlers.params import UnreadableParams
from scheduler import failpoints
from scheduler.models import JobAttempt, JobExecution, JobLog
from scheduler.states import AttemptOutcome, OverlapPolicy, RunStatus
from scheduler.store.connection import execute, fetch_one, from_json, instant, to_json

# Time between the handler's timeout and the instant at which even a renewed lease ends.
DEADLINE_MARGIN_SECONDS = 30
# A run held back by another run of its job asks again after this, if nobody wakes it before.
HELD_SECONDS = 5
# With others in front of it, it asks more rarely: a second for each of them, within these bounds.
_IN_LINE_SECONDS = (60, 600)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An execution that a message named, as it was when we looked."""

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


@dataclass(frozen=True, kw_only=True)
class Lease:
    """An attempt that is ours until somebody else's verdict: the execution and the token of this
    claim.
    """

    execution_id: int
    job_id: int | None
    attempt: int
    token: str
    owner: str
    started_at: datetime
    exclusive: bool  # holds the job's running_key


_CANDIDATE = """
SELECT e.id, e.job_id, e.job_name, e.handler_name, e.scheduled_time, e.logical_time, e.status,
       e.params, e.attempt, e.failures, e.max_retry, e.timeout_seconds, e.available_at,
       e.cancel_requested_at, j.overlap_policy, j.retry_backoff_seconds, j.retry_backoff_max_seconds
  FROM job_executions e
  LEFT JOIN cron_jobs j ON j.id = e.job_id
 WHERE e.id = %s
"""
_COLUMNS = tuple(Candidate.__dataclass_fields__)


def candidate(execution_id: int) -> Candidate | None:
    """The execution as it stands, with its job's policies (None for a run without a job)."""
    row = fetch_one(_CANDIDATE, [execution_id])
    if row is None:
        return None
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in ("scheduled_time", "logical_time", "available_at", "cancel_requested_at"):
        values[name] = instant(values[name])
    try:
        values["params"] = from_json(values["params"])
    # A number of thousands of digits, a depth of hundreds: databases take what Python does not.
    except (ValueError, RecursionError) as error:
        values["params"] = UnreadableParams(str(error))
    return Candidate(**values)


class Overlap(Exception):
    """Another run of this job is going on, and the job does not allow that."""


def lease_for(row: Candidate, *, token: str, owner: str, now: datetime) -> Lease:
    """The lease that `claim` will try to take. Made beforehand: after a COMMIT whose answer was
    lost it
    is the only thing that we know about the attempt."""
    return Lease(
        execution_id=row.id,
        job_id=row.job_id,
        attempt=row.attempt + 1,
        token=token,
        owner=owner,
        started_at=now,
        exclusive=row.job_id is not None and row.overlap_policy != OverlapPolicy.ALLOW,
    )


# `attempt`: the row we decided on, unchanged; a retry in between may have given it another life.
_CLAIM = """
UPDATE job_executions
   SET status = %s, attempt = %s, lease_token = %s, lease_owner = %s, lease_expires_at = %s,
       deadline_at = %s, running_key = %s, started_at = %s, publish_at = NULL, progress = NULL,
       progress_message = '', overran = FALSE
 WHERE id = %s AND status = %s AND attempt = %s AND available_at <= %s
   AND cancel_requested_at IS NULL
"""


def claim(row: Candidate, lease: Lease, *, lease_seconds: float) -> bool:
    """Begin an attempt: one UPDATE, committed by itself. False: somebody else was first, or it must
    wait.

    Raises Overlap. After any other error the commit may have happened all the same: ask `holds`.
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
                row.job_id if lease.exclusive else None,
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
    """Is this attempt ours? The answer after a COMMIT whose own answer was lost."""
    return _mine([lease]).exists()


def has_ended(lease: Lease) -> bool:
    """Has the end of this attempt been written? Likewise, for the COMMIT of its outcome."""
    return JobAttempt.objects.filter(lease_token=lease.token).exists()


# --- while another run of the job goes on ------------------------------------------------------


def running_execution(job_id: int) -> int | None:
    """The id of the run that holds the job's running_key."""
    return _first_id(JobExecution.objects.filter(running_key=job_id))


def waits_before(row: Candidate, *, now: datetime) -> list[int]:
    """Older executions of the same job that only wait for their turn; so many as `hold` counts."""
    their_turn = Q(available_at__lte=now) | Q(publish_count__gt=0)  # see `hold`
    older = _pending_of(row).filter(their_turn, id__lt=row.id)
    # In no order: by id the database might walk the history instead of what is pending.
    return list(older.values_list("id", flat=True)[: _IN_LINE_SECONDS[1]])


def waits_for_its_time(row: Candidate, *, now: datetime) -> tuple[int, bool] | None:
    """An older execution of the same job whose time has not come, and whether that is its next try:
    else it is its jitter.
    """
    asleep = _pending_of(row).filter(id__lt=row.id, available_at__gt=now, publish_count=0)
    for id_, attempt in asleep.values_list("id", "attempt")[:1]:
        return id_, attempt > 0
    return None


def waits_behind(row: Candidate) -> int | None:
    """The newest execution of the same job that waits and is younger."""
    return _first_id(_pending_of(row).filter(id__gt=row.id).order_by("-id"))


def _first_id(rows: QuerySet[JobExecution]) -> int | None:
    return rows.values_list("id", flat=True).first()


def _pending_of(row: Candidate) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(job_id=row.job_id, status=RunStatus.PENDING)


def hold(execution_id: int, *, now: datetime, in_front: int = 0) -> bool:
    """Put a waiting run back for a while: `in_front` of it so many others wait. They are woken one
    by one, by the runs that end.
    """
    shortest, longest = _IN_LINE_SECONDS
    seconds = min(max(in_front, shortest), longest) if in_front else HELD_SECONDS
    later = now + timedelta(seconds=seconds)
    pending = JobExecution.objects.filter(id=execution_id, status=RunStatus.PENDING)
    # Counted anew: its messages did arrive, and a lost one is to be sent again soon. Not from 0:
    # that is what they have before their time whom nobody may wake, next tries and slots in their
    # jitter.
    return pending.update(available_at=later, publish_at=later, publish_count=1) == 1


def skip(execution_id: int, *, now: datetime, reason: str) -> bool:
    """PENDING -> SKIPPED, with the reason. For what never ran."""
    return _give_up(execution_id, RunStatus.SKIPPED, now=now, reason=reason)


def cancel_waiting(execution_id: int, *, now: datetime, reason: str) -> bool:
    """PENDING -> CANCELLED, with the reason. For what has run before; its attempts keep their
    errors.
    """
    return _give_up(execution_id, RunStatus.CANCELLED, now=now, reason=reason)


def _give_up(execution_id: int, status: RunStatus, *, now: datetime, reason: str) -> bool:
    pending = JobExecution.objects.filter(id=execution_id, status=RunStatus.PENDING)
    changed = pending.update(status=status, finished_at=now, publish_at=None, error_message=reason)
    return changed == 1


def request_cancel(execution_id: int, *, now: datetime, reason: str) -> bool:
    """Ask the worker of a RUNNING execution to cancel it; it looks every few seconds. The reason
    waits in `error_message` for the verdict.
    """
    running = JobExecution.objects.filter(
        id=execution_id, status=RunStatus.RUNNING, cancel_requested_at__isnull=True
    )
    return running.update(cancel_requested_at=now, error_message=reason) == 1


def wake_waiting(job_id: int, *, now: datetime) -> bool:
    """The run that held the job's running_key has ended: the oldest of those put back may try at
    once, under policy `replace` the newest. The others would only be put back again.
    """
    held = JobExecution.objects.filter(
        job_id=job_id, status=RunStatus.PENDING, available_at__gt=now, publish_count__gt=0
    )
    # By the plain id the database might walk the history instead of what is pending.
    by_id = F("id") + 0
    found = held.order_by(by_id).values_list("id", "job__overlap_policy").first()
    if found is None:
        return False
    id_, policy = found
    if policy == OverlapPolicy.REPLACE:
        id_ = held.order_by(by_id.desc()).values_list("id", flat=True).first() or id_
    # Still held: by now it may have been claimed, have failed, and wait for its next try.
    woken = held.filter(id=id_).update(available_at=now, publish_at=now, publish_count=0)
    return woken == 1


# --- while it runs -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LeaseReport:
    """What became of this process's runs, by token."""

    ours: frozenset[str]
    cancelled: frozenset[str]


def renew_leases(leases: Collection[Lease], *, now: datetime, lease_seconds: float) -> LeaseReport:
    """Renew all runs of this process in one UPDATE, never past their deadline; look them up."""
    expires_at = now + timedelta(seconds=lease_seconds)
    _mine(leases).update(lease_expires_at=Least(Value(expires_at), F("deadline_at")))
    return watch_leases(leases)


def watch_leases(leases: Collection[Lease]) -> LeaseReport:
    """Which runs are still ours, and which of those a person wants cancelled. Changes nothing."""
    found = list(_mine(leases).values_list("lease_token", "cancel_requested_at"))
    return LeaseReport(
        ours=frozenset(token for token, _ in found if token),
        cancelled=frozenset(token for token, asked_at in found if token and asked_at),
    )


def _mine(leases: Collection[Lease]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(
        id__in=sorted(lease.execution_id for lease in leases),
        status=RunStatus.RUNNING,
        lease_token__in=[lease.token for lease in leases],
    )


@dataclass(frozen=True, kw_only=True)
class LogLine:
    seq: int
    at: datetime
    level: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a run has said since the last time it was saved."""

    lines: Sequence[LogLine] = ()
    progress: tuple[float | None, str] | None = None
    doubtful: bool = False  # an earlier try failed, perhaps at the answer to its COMMIT


def save_said(lease: Lease, said: Said) -> None:
    """Keep log lines and progress of a run that goes on."""
    _insert_logs(lease, said)
    if said.progress is not None:
        percent, message = said.progress
        _mine([lease]).update(progress=percent, progress_message=message[:500])


_INSERT_LOGS = "INSERT INTO job_logs (execution_id, attempt, seq, at, level, message) VALUES {rows}"
# 3,000 parameters and, with lines of 4 KiB that are escaped, a few MB: SQLite takes 32,766 at once,
# MariaDB's `max_allowed_packet` is 16 MB by default.
_LINES_AT_ONCE = 500


def _insert_logs(lease: Lease, said: Said) -> None:
    lines = said.lines
    if lines and said.doubtful:
        there = JobLog.objects.filter(execution_id=lease.execution_id, attempt=lease.attempt)
        saved = set(there.values_list("seq", flat=True))
        lines = [line for line in lines if line.seq not in saved]
    if not lines:
        return
    # Lines are only ever added, so they need no fence.
    row = "(%s, %s, %s, %s, %s, %s)"
    for first in range(0, len(lines), _LINES_AT_ONCE):
        chunk = lines[first : first + _LINES_AT_ONCE]
        values: list[Any] = []
        for line in chunk:
            values += [lease.execution_id, lease.attempt]
            values += [line.seq, line.at, line.level, line.message]
        execute(_INSERT_LOGS.format(rows=", ".join([row] * len(chunk))), values)


# --- how it ends -------------------------------------------------------------------------------

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
    said: Said = field(default_factory=Said)  # what is not saved yet


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
    if ending.said.progress is not None:
        changes["progress"], changes["progress_message"] = ending.said.progress
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
            _insert_logs(lease, ending.said)
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
    asked = _mine([lease]).filter(cancel_requested_at__isnull=False)
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
