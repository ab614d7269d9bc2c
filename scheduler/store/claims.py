"""An attempt begins: PENDING -> RUNNING, under a fresh token.

Several runs in one transaction. It locks their rows and the guards of those that must not overlap,
asks for a decision about each of these, and writes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from handlers.params import UnreadableParams
from scheduler import failpoints
from scheduler.models import JobExecution
from scheduler.states import OverlapPolicy, ReasonCode, RunStatus
from scheduler.store import overlap
from scheduler.store.connection import (
    SKIP_LOCKED,
    execute,
    fetch_all,
    from_json,
    instant,
    lock_in_order,
    marks,
)
from scheduler.store.executions import request_cancel
from scheduler.store.overlap import Decision, Step
from scheduler.store.runs import Lease, rows_of
from scheduler.transient import in_transaction

# Time between the handler's timeout and the instant at which even a renewed lease ends.
DEADLINE_MARGIN_SECONDS: Final = 30


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An execution that may be claimed, as it was read under its lock."""

    id: int
    job_id: int | None
    job_name: str
    handler_name: str
    scheduled_time: datetime
    logical_time: datetime | None
    param_source: str
    params: Any
    attempt: int
    failures: int
    max_retry: int
    timeout_seconds: int
    available_at: datetime
    created_at: datetime
    overlap_key: int | None
    in_line: int | None
    overlap_policy: str | None = None
    retry_backoff_seconds: int | None = None
    retry_backoff_max_seconds: int | None = None

    @property
    def guard(self) -> int | None:
        """The guard of a run that must not overlap."""
        if self.job_id is None:
            return self.overlap_key
        return None if self.overlap_policy == OverlapPolicy.ALLOW else self.job_id


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A run that this process may begin."""

    row: Candidate
    lease: Lease


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What one claim has done."""

    started: Sequence[Claimed] = ()
    held: Sequence[tuple[Candidate, Decision]] = ()
    """Runs that wait for another one, or were given up for it."""


Decide = Callable[[Candidate, overlap.Holder | None, overlap.Line], Decision]


class Claim:
    """One claim of a process. Its leases exist before its COMMIT, whose answer may be lost."""

    def __init__(self, *, owner: str, lease_seconds: float, decide: Decide) -> None:
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._decide = decide
        # With the id of an execution it is a token, unique without a look at the others.
        self._id = uuid.uuid4().hex[:12]
        self._claims = Claims()

    def take(self, ids: Collection[int], now: datetime) -> Claims:
        """Claim those of `ids` that may run now. One transaction.

        After a DatabaseError the COMMIT may still have happened: ask `taken_after_all`.
        """
        self._claims = Claims()
        # SQLite's transaction takes the lock of the whole file, and waits for it.
        if connection.vendor == "sqlite" and not _runnable(ids, now):
            return self._claims

        def work() -> Claims:
            self._claims = self._take(_locked(ids, now), now)
            return self._claims

        claims = in_transaction(work)
        _replace_holders(claims, now)
        return claims

    def taken_after_all(self, now: datetime) -> Claims:
        """What of the last `take` is in the database. Waits for a COMMIT that is still in flight.

        Call it on a fresh connection.
        """
        leases = [claimed.lease for claimed in self._claims.started]

        def work() -> set[str | None]:
            rows = lock_in_order(rows_of(leases))
            return set(rows.values_list("lease_token", flat=True))

        tokens = in_transaction(work) if leases else set()
        ours = [claimed for claimed in self._claims.started if claimed.lease.token in tokens]
        claims = Claims(started=ours)
        if ours:
            claims = Claims(started=ours, held=self._claims.held)
            _replace_holders(claims, now)
        return claims

    def _take(self, rows: Sequence[Candidate], now: datetime) -> Claims:
        keys = sorted({row.guard for row in rows if row.guard is not None})
        holders = overlap.lock_guards(keys) if keys else {}
        lines = overlap.lines([key for key, holder in holders.items() if holder is not None])
        failpoints.point("claim.read")
        started: list[Claimed] = []
        held: list[tuple[Candidate, Decision]] = []
        for row in rows:
            key = row.guard
            if key is None:
                started.append(Claimed(row=row, lease=self._lease(row, now)))
                continue
            line = lines.get(key, overlap.Line())
            decision = self._decide(row, holders[key], line)
            if decision.step == Step.START:
                started.append(Claimed(row=row, lease=self._lease(row, now)))
                holders[key] = overlap.Holder(
                    id=row.id, started_at=now, param_source=row.param_source
                )
                overlap.hold(key, row.id)
            else:
                held.append((row, decision))
                if decision.step == Step.WAIT:
                    lines[key] = line.with_(row.id)
        self._begin([claimed.lease for claimed in started], rows, now)
        for row, decision in held:
            _hold_back(row, decision, now)
        return Claims(started=started, held=held)

    def _lease(self, row: Candidate, now: datetime) -> Lease:
        return Lease(
            execution_id=row.id,
            job_id=row.job_id,
            attempt=row.attempt + 1,
            token=f"{self._id}-{row.id}",
            owner=self._owner,
            started_at=now,
            guard=row.guard,
        )

    def _begin(self, leases: Sequence[Lease], rows: Sequence[Candidate], now: datetime) -> None:
        timeouts = {row.id: row.timeout_seconds for row in rows}
        by_timeout: dict[int, list[int]] = {}
        for lease in leases:
            by_timeout.setdefault(timeouts[lease.execution_id], []).append(lease.execution_id)
        lease_ends = now + timedelta(seconds=self._lease_seconds)
        for timeout_seconds, ids in by_timeout.items():
            deadline = now + timedelta(seconds=timeout_seconds + DEADLINE_MARGIN_SECONDS)
            execute(
                _BEGIN.format(token=_TOKEN[connection.vendor], ids=marks(ids)),
                [
                    RunStatus.RUNNING,
                    f"{self._id}-",
                    self._owner,
                    min(lease_ends, deadline),
                    deadline,
                    now,
                    *ids,
                ],
            )


_TOKEN: Final = {
    "postgresql": "CONCAT(%s::text, id)",
    "mysql": "CONCAT(%s, id)",
    "sqlite": "%s || id",
}
# The rows are locked, so no other process has changed them.
_BEGIN = """
UPDATE job_executions
   SET status = %s, attempt = attempt + 1, lease_token = {token}, lease_owner = %s,
       lease_expires_at = %s, deadline_at = %s, started_at = %s, in_line = NULL, publish_at = NULL,
       progress = NULL, progress_message = '', overran = FALSE, reason_code = NULL,
       reason_facts = NULL
 WHERE id IN ({ids})
"""
_OF_EXECUTION = (
    "id", "job_id", "job_name", "handler_name", "scheduled_time", "logical_time", "param_source",
    "params", "attempt", "failures", "max_retry", "timeout_seconds", "available_at", "created_at",
    "overlap_key", "in_line",
)  # fmt: skip
_INSTANTS = ("scheduled_time", "logical_time", "available_at", "created_at")
_RUNNABLE = """
SELECT {columns}
  FROM job_executions
 WHERE id IN ({ids}) AND status = %s AND available_at <= %s AND cancel_requested_at IS NULL
 ORDER BY id {lock}
"""
_OF_JOB = ("id", "overlap_policy", "retry_backoff_seconds", "retry_backoff_max_seconds")
_JOBS = "SELECT {columns} FROM cron_jobs WHERE id IN ({ids})"


def _locked(ids: Collection[int], now: datetime) -> list[Candidate]:
    """Those of `ids` that may run now and that nobody else holds, locked."""
    rows = [dict(zip(_OF_EXECUTION, row, strict=True)) for row in _runnable(ids, now)]
    jobs = _policies({row["job_id"] for row in rows if row["job_id"] is not None})
    return [
        _candidate({**row, **jobs.get(row["job_id"], {})})
        for row in rows
        # A run whose job is gone: the job is being deleted, and its runs with it.
        if row["job_id"] is None or row["job_id"] in jobs
    ]


def _runnable(ids: Collection[int], now: datetime) -> list[tuple[Any, ...]]:
    if not ids:
        return []
    statement = _RUNNABLE.format(
        columns=", ".join(_OF_EXECUTION), ids=marks(ids), lock=SKIP_LOCKED[connection.vendor]
    )
    return fetch_all(statement, [*sorted(ids), RunStatus.PENDING, now])


def _policies(ids: Collection[int]) -> dict[int, dict[str, Any]]:
    if not ids:
        return {}
    statement = _JOBS.format(columns=", ".join(_OF_JOB), ids=marks(list(ids)))
    return {
        row[0]: dict(zip(_OF_JOB[1:], row[1:], strict=True))
        for row in fetch_all(statement, sorted(ids))
    }


def _candidate(values: dict[str, Any]) -> Candidate:
    for name in _INSTANTS:
        values[name] = instant(values[name])
    try:
        values["params"] = from_json(values["params"])
    # Databases store numbers of thousands of digits and depths that Python refuses to read.
    except (ValueError, RecursionError) as error:
        values["params"] = UnreadableParams(str(error))
    return Candidate(**values)


def _hold_back(row: Candidate, decision: Decision, now: datetime) -> None:
    why: Mapping[str, Any] = {
        "reason": decision.reason,
        "code": decision.code,
        "facts": decision.facts,
    }
    key = row.guard
    assert key is not None
    if decision.step == Step.SKIP:
        overlap.skip([row.id], now=now, **why)
    elif decision.step == Step.CANCEL:
        overlap.cancel_waiting([row.id], now=now, **why)
    else:
        overlap.put_in_line(key, row.id, now=now, facts=decision.facts)
        if decision.replaces is not None:
            overlap.give_up_older(key, row.id, now=now)
        failpoints.point("overlap.held")


def _replace_holders(claims: Claims, now: datetime) -> None:
    """Ask the runs to stop that newer ones replace: after the commit, not under the guard."""
    for row, decision in claims.held:
        if decision.replaces is not None:
            request_cancel(
                decision.replaces,
                now=now,
                reason=f"replaced by #{row.id} under overlap policy replace",
                code=ReasonCode.REPLACED,
                facts={"newer": row.id},
            )


def why_not(execution_id: int, now: datetime) -> str:
    """Why an execution cannot be claimed. Empty: it can."""
    fields = ("status", "cancel_requested_at", "available_at")
    row = JobExecution.objects.filter(id=execution_id).values_list(*fields).first()
    if row is None:
        return "there is no such execution"
    status, cancel_requested_at, available_at = row
    if status != RunStatus.PENDING:
        return f"it is {status}"
    if cancel_requested_at is not None:
        return "it was cancelled"
    if available_at > now:
        return f"it waits until {available_at.isoformat()}"
    return ""
