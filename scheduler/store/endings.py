"""How attempts end: one transaction with a fenced write of their runs and a row for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection

from handlers.fan_out import FanOut
from scheduler import failpoints
from scheduler.models import JobAttempt
from scheduler.states import AttemptOutcome, ReasonCode, RunStatus
from scheduler.store import overlap, places, shards
from scheduler.store.connection import LOCK, execute, instant, marks, to_json
from scheduler.store.overlap import Guards
from scheduler.store.prepared import among, execute_often, fetch_often
from scheduler.store.run_reports import Report, save_report
from scheduler.store.runs import Lease
from scheduler.store.shards import EndedParent, Parent
from scheduler.transient import in_transaction


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How one attempt ended, and what becomes of its run."""

    lease: Lease
    outcome: AttemptOutcome
    status: RunStatus
    """Of the run: final, PENDING for its next attempt, or FANNED_OUT: `fan_out` says how."""
    again_at: datetime | None = None
    """When a run that is PENDING again may begin. None: at once."""
    error: str = ""
    traceback: str = ""
    exception_class: str = ""
    result: Any = None
    overran: bool = False
    charged: bool = False
    """It counts as a failure."""
    reason_code: ReasonCode | None = None
    """Why the run is what it is afterwards."""
    reason_facts: Mapping[str, Any] | None = None
    fan_out: FanOut | None = None
    report: Report = field(default_factory=Report)
    """What the handler has reported and nobody has saved yet."""


class Ended(frozenset[str]):
    """The tokens of the attempts whose ends were written."""

    queues_to_wake: frozenset[str] = frozenset()
    """Of runs that may start now, because of these ends: those in line, and shards."""
    parents: Sequence[EndedParent] = ()
    """Parents that have ended with their last shards."""


def end(
    endings: Collection[Ending], *, now: datetime, expired_before: datetime | None = None
) -> Ended:
    """Write these ends: the only way out of RUNNING. Returns the tokens of those that were written.

    The others are no longer of their lease. One transaction, repeated if it loses a race; unless
    the caller has one open.
    `expired_before`: only runs whose lease ran out before then (rescue).

    A run that somebody wants cancelled does not go back to PENDING, where no worker would claim it:
    it ends CANCELLED, uncharged, with the reason of whoever asked for it.
    """
    return in_transaction(lambda: _end(endings, now, expired_before))


def _end(endings: Collection[Ending], now: datetime, expired_before: datetime | None) -> Ended:
    written = lock(endings, now, expired_before)
    guards = overlap.lock_guards(guards_of(written))
    tokens = write(written, guards, now)
    guards.write()
    failpoints.point("end.recorded")
    return tokens


# --- the steps of an end, for a transaction of the caller -----------------------------------------


def lock(
    endings: Collection[Ending], now: datetime, expired_before: datetime | None = None
) -> list[Written]:
    """Lock the runs of those endings that are still of their lease. Waits for other locks."""
    if not endings:
        return []
    locked = _lock([each.lease for each in endings], expired_before)
    written = [
        Written(each, locked[each.lease.execution_id], now)
        for each in endings
        if each.lease.execution_id in locked
    ]
    _lock_parents(written)
    return written


def _lock_parents(written: Sequence[Written]) -> None:
    """Lock the parents of shards that end, and note which ones end with them."""
    ending: dict[int, dict[int, Written]] = {}
    for one in written:
        parent_id = one.ending.lease.parent_id
        if parent_id is not None and not one.goes_back:
            ending.setdefault(parent_id, {})[one.ending.lease.execution_id] = one
    for parent in shards.lock_ended(ending):
        max(ending[parent.id].items())[1].ends_parent = parent


def guards_of(written: Collection[Written]) -> set[int]:
    """The guards that these ends must lock."""
    leases = [one.ending.lease for one in written]
    keys = {lease.guard for lease in leases if lease.guard is not None}
    keys.update(place.guard for lease in leases for place in lease.places)
    parents = (one.ends_parent for one in written)
    return keys.union(p.guard for p in parents if p is not None and p.guard is not None)


def write(written: Sequence[Written], guards: Guards, now: datetime) -> Ended:
    """Write these ends, and free their guards and places. Returns their tokens.

    The caller writes `guards`.
    """
    for one in written:
        save_report(one.ending.lease, one.ending.report)
    _write(_FINISH, written, lambda one: one.finish())
    _write(_CANCEL, written, lambda one: one.cancel())
    _write(_GO_BACK, written, lambda one: one.go_back())
    _write(_FAN_OUT, written, lambda one: one.fan_out())
    failpoints.point("end.updated")
    _insert_attempts(written)
    ended = {
        one.ending.lease.execution_id: one.ending.lease.guard
        for one in written
        if one.ending.lease.guard is not None and not one.fans_out
    }
    queues = _make_shards(written, now)
    parents = [one.ends_parent for one in written if one.ends_parent is not None]
    of_parents = shards.end_parents(parents, now)
    ended |= {parent.id: parent.guard for parent in parents if parent.guard is not None}
    overlap.release(guards, ended, now=now)
    leases = [one.ending.lease for one in written]
    freed = {place for lease in leases for place in lease.places}
    woken = places.settle(freed, now) if freed else ()
    tokens = Ended(lease.token for lease in leases)
    tokens.queues_to_wake = frozenset(guards.queues_to_wake.union(queues, woken))
    tokens.parents = of_parents
    return tokens


def _make_shards(written: Sequence[Written], now: datetime) -> set[str]:
    """Returns the queues of the shards, which may start now."""
    divided = [one.ending for one in written if one.fans_out]
    for each in divided:
        assert each.fan_out is not None
        shards.make(each.lease.execution_id, each.fan_out, now)
    return {each.lease.queue for each in divided}


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What of a run decides about its end, under its lock."""

    asked_to_cancel: bool
    error: str | None
    """The reason of whoever has asked for the cancel."""


# Only a run that goes on has a token. By its status PostgreSQL might read all that are RUNNING.
_RUNNING: Final = """
SELECT id, lease_token, cancel_requested_at, error_message, lease_expires_at
  FROM job_executions {hint}
 WHERE id {among} AND lease_token IS NOT NULL
 ORDER BY id {lock}
"""


def _lock(leases: Sequence[Lease], expired_before: datetime | None) -> dict[int, _Row]:
    """The runs that are still of these leases, locked until the transaction ends."""
    tokens = {lease.execution_id: lease.token for lease in leases}
    condition, listed = among(tokens)
    statement = _RUNNING.format(
        # Else the server may read, and lock, all that are RUNNING.
        hint="FORCE INDEX (PRIMARY)" if connection.vendor == "mysql" else "",
        among=condition,
        lock=LOCK[connection.vendor],
    )
    return {
        id_: _Row(asked_to_cancel=asked_at is not None, error=error)
        for id_, token, asked_at, error, lease_ends in fetch_often(statement, listed)
        if _is_of(tokens[id_], token)
        and (expired_before is None or (instant(lease_ends) or expired_before) < expired_before)
    }


def _is_of(ours: str, token: str | None) -> bool:
    """The fence: a worker that was declared lost does not write."""
    return ours == token


class Written:
    """An ending together with the row that it is written to."""

    def __init__(self, ending: Ending, row: _Row, now: datetime) -> None:
        # The database's clock may have gone back since the attempt began.
        self.at = max(now, ending.lease.started_at)
        self.ending = ending
        self._row = row
        is_cancelled = ending.status == RunStatus.CANCELLED
        goes_back = ending.status == RunStatus.PENDING
        fans_out = ending.status == RunStatus.FANNED_OUT
        self.is_cancelled = is_cancelled or ((goes_back or fans_out) and row.asked_to_cancel)
        self.goes_back = goes_back and not row.asked_to_cancel
        self.fans_out = fans_out and not row.asked_to_cancel
        self.ends_parent: Parent | None = None
        self.outcome = AttemptOutcome.CANCELLED if self.is_cancelled else ending.outcome

    def finish(self) -> tuple[Hashable, ...] | None:
        end = self.ending
        if self.is_cancelled or self.goes_back or self.fans_out:
            return None
        return (
            end.status,
            self.at,
            to_json(end.result),
            end.overran,
            # The errors of earlier attempts stay in job_attempts. A success has no error.
            end.error or None,
            end.reason_code,
            to_json(end.reason_facts),
            int(end.charged),
        )

    def cancel(self) -> tuple[Hashable, ...] | None:
        if not self.is_cancelled:
            return None
        error, reason = self.ending.error, self._row.error if self._row.asked_to_cancel else None
        if error and reason:
            error = f"{error} ({reason})"
        return (
            RunStatus.CANCELLED,
            self.at,
            error or reason or None,
            ReasonCode.CANCELLED_BY_PERSON,
        )

    def go_back(self) -> tuple[Hashable, ...] | None:
        end = self.ending
        if not self.goes_back:
            return None
        return (
            RunStatus.PENDING,
            end.again_at or self.at,
            # After a charged failure its error stays on the row meanwhile.
            (end.error or None) if end.charged else None,
            end.reason_code,
            to_json(end.reason_facts),
            int(end.charged),
        )

    def fan_out(self) -> tuple[Hashable, ...] | None:
        if not self.fans_out:
            return None
        assert self.ending.fan_out is not None
        return (RunStatus.FANNED_OUT, self.ending.fan_out.count)


# MySQL sets columns from left to right, so the token is read before it is deleted.
_FINISH: Final = """
UPDATE job_executions
   SET status = %s, finished_at = %s, result = %s, overran = %s, error_message = %s,
       reason_code = %s, reason_facts = %s, failures = failures + %s, final_token = lease_token,
       lease_token = NULL, lease_expires_at = NULL, deadline_at = NULL
 WHERE id {among}
"""
# Whoever asked for the cancel has written the reason. None: it was asked for by SQL.
_CANCEL: Final = """
UPDATE job_executions
   SET status = %s, finished_at = %s, error_message = %s, result = NULL, overran = FALSE,
       reason_code = COALESCE(reason_code, %s),
       final_token = lease_token, lease_token = NULL, lease_expires_at = NULL,
       deadline_at = NULL
 WHERE id {among}
"""
_GO_BACK: Final = """
UPDATE job_executions
   SET status = %s, available_at = %s,
       error_message = COALESCE(%s, error_message), reason_code = %s, reason_facts = %s,
       failures = failures + %s, lease_token = NULL, lease_expires_at = NULL, deadline_at = NULL
 WHERE id {among}
"""
_FAN_OUT: Final = """
UPDATE job_executions
   SET status = %s, shard_count = COALESCE(shard_count, %s), result = NULL, error_message = NULL,
       reason_code = NULL, reason_facts = NULL, final_token = lease_token, lease_token = NULL,
       lease_expires_at = NULL, deadline_at = NULL
 WHERE id {among}
"""


def _write(
    statement: str,
    written: Sequence[Written],
    values_of: Callable[[Written], tuple[Hashable, ...] | None],
) -> None:
    """Those that end alike are written by one statement. Their rows are locked."""
    alike: dict[tuple[Hashable, ...], list[int]] = {}
    for one in written:
        values = values_of(one)
        if values is not None:
            alike.setdefault(values, []).append(one.ending.lease.execution_id)
    for values, ids in alike.items():
        condition, listed = among(ids)
        execute_often(statement.format(among=condition), [*values, *listed])


_INSERT_ATTEMPTS: Final = """
INSERT INTO job_attempts
       (execution_id, attempt, lease_token, worker, started_at, ended_at, outcome, error, traceback,
        exception_class)
{rows}
"""
# As one parameter: a text that is constant can be prepared.
_OF_JSON: Final = """
SELECT (a ->> 0)::bigint, (a ->> 1)::integer, a ->> 2, a ->> 3, (a ->> 4)::timestamptz,
       (a ->> 5)::timestamptz, a ->> 6, a ->> 7, a ->> 8, a ->> 9
  FROM jsonb_array_elements(%s::jsonb) a
"""


def _insert_attempts(written: Sequence[Written]) -> None:
    """A second fence: UNIQUE (execution_id, attempt)."""
    if not written:
        return
    if connection.vendor == "postgresql":
        attempts = json.dumps([_attempt(one) for one in written])
        execute_often(_INSERT_ATTEMPTS.format(rows=_OF_JSON), [attempts])
        return
    rows: list[str] = []
    values: list[Any] = []
    for one in written:
        end, lease = one.ending, one.ending.lease
        values += [lease.token, lease.owner, lease.started_at, one.at, one.outcome]
        failure = "'', '', NULL"
        if end.error or end.traceback or end.exception_class:
            failure = "%s, %s, %s"
            values += [end.error, end.traceback, end.exception_class or None]
        # Most runs end well. Each place holder less is felt where hundreds end at once.
        rows.append(f"({lease.execution_id:d}, {lease.attempt:d}, {marks(range(5))}, {failure})")
    execute(_INSERT_ATTEMPTS.format(rows="VALUES " + ", ".join(rows)), values)


def _attempt(one: Written) -> list[Any]:
    end, lease = one.ending, one.ending.lease
    return [
        *(lease.execution_id, lease.attempt, lease.token, lease.owner),
        *(lease.started_at.isoformat(), one.at.isoformat(), one.outcome),
        *(end.error, end.traceback, end.exception_class or None),
    ]


def ended(leases: Collection[Lease]) -> frozenset[str]:
    """The tokens of the attempts whose end is in the database.

    Ask it after a COMMIT whose answer was lost.
    """
    there = JobAttempt.objects.filter(lease_token__in=[lease.token for lease in leases])
    return frozenset(there.values_list("lease_token", flat=True))
