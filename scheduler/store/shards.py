"""Runs that are divided: one run, the parent, and its shards, which are runs of their own.

The end of the parent's attempt makes the shards, in its own transaction: RUNNING -> FANNED_OUT. The
transaction that ends the last shard ends the parent. Locks: the shards that end (RUNNING), then
their parents by id, then guards, as overlap.py says. Whoever makes a shard final locks the parent
and looks for others that go on. So of two last ones the second sees the end of the first.

Cancel, retry, and beat's sweep for what SQL or a claim has ended: shard_changes.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Count, QuerySet

from handlers.fan_out import FanOut
from scheduler import failpoints
from scheduler.models import JobExecution
from scheduler.states import FINAL, ParamSource, ReasonCode, RunStatus
from scheduler.store.connection import (
    LOCK,
    execute,
    fetch_all,
    fetch_one,
    from_json,
    instant,
    lock_skipping,
    numbers,
    to_json,
)

#: When a shard that waits for its parent is looked at by itself. The parent wakes it.
PUT_OFF_SECONDS: Final = 300
#: Results of so many shards are in that of their parent, up to so many bytes of JSON together.
RESULTS: Final = 100
_RESULT_BYTES: Final = 64 * 1024
#: States of a shard that goes on, in SQL.
OPEN: Final = f"('{RunStatus.PENDING}', '{RunStatus.RUNNING}')"
#: MySQL might read all rows of these states.
BY_SHARD: Final = {"mysql": "FORCE INDEX (one_execution_per_shard)"}


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A run that waits for its shards, locked by this transaction."""

    id: int
    job_id: int | None
    guard: int | None
    """The guard that it may hold."""
    name: str
    handler_name: str
    shard_count: int
    started_at: datetime | None
    is_cancelled: bool
    """Somebody has asked for its cancel."""


@dataclass(frozen=True, kw_only=True)
class EndedParent:
    """A parent that has ended with its last shard."""

    execution_id: int
    job_id: int | None
    name: str
    handler_name: str
    status: RunStatus


def state_of_parent(
    counts: Mapping[str, int], shard_count: int, *, is_cancelled: bool
) -> RunStatus:
    """The state of a parent whose shards are final. Pure. `counts`: of its shards, by state.

    All succeeded: SUCCESS. Else a person has cancelled the parent: CANCELLED. Else one has failed,
    timed out or is missing: FAILED. Else single shards were cancelled: CANCELLED.
    """
    succeeded = counts.get(RunStatus.SUCCESS, 0)
    if succeeded >= shard_count:
        return RunStatus.SUCCESS
    if is_cancelled:
        return RunStatus.CANCELLED
    is_missing = sum(counts.values()) < shard_count
    if is_missing or counts.get(RunStatus.FAILED) or counts.get(RunStatus.TIMEOUT):
        return RunStatus.FAILED
    return RunStatus.CANCELLED


# --- a run becomes its shards ---------------------------------------------------------------------

_SLOT: Final = (
    "COALESCE(p.logical_time, CASE WHEN p.param_source IN"
    f" ('{ParamSource.CRON}', '{ParamSource.BACKFILL}') THEN p.scheduled_time END)"
)
# Neither a job nor a backfill: these count their runs, and a divided one is one run. So shards
# never take the place of a slot in UNIQUE (job_id, scheduled_time).
_INSERT: Final = f"""
INSERT INTO job_executions
       (parent_id, shard, shard_count, params, job_name, handler_name, scheduled_time, logical_time,
        requested_by, status, param_source, max_retry, timeout_seconds, queue, priority,
        available_at, trace_context, created_at)
SELECT p.id, s.shard, %s, {{params}}, p.job_name, p.handler_name, p.scheduled_time, {_SLOT},
       p.requested_by, '{RunStatus.PENDING}', p.param_source, p.max_retry, p.timeout_seconds,
       p.queue, p.priority, %s, p.trace_context, %s
  FROM job_executions p CROSS JOIN {{shards}}
 WHERE p.id = %s
"""  # noqa: S608 - of constants
# SQLite takes 500 parts of a UNION.
_AT_ONCE: Final = 400


def make(parent_id: int, fan_out: FanOut, now: datetime) -> None:
    """Insert the shards of a run that this transaction fans out, or let those go on that it has."""
    if fan_out.count is None:
        _go_on(parent_id, now)
        return
    for first in range(0, fan_out.count, _AT_ONCE):
        part = range(first, min(first + _AT_ONCE, fan_out.count))
        _insert(parent_id, part, fan_out, now)
    failpoints.point("shards.inserted")


def _insert(parent_id: int, part: range, fan_out: FanOut, now: datetime) -> None:
    values: list[Any] = []
    params, columns = "p.params", ["{shard}"]
    if fan_out.params is not None:
        params = "s.params"
        columns.append("%s::jsonb" if connection.vendor == "postgresql" else "%s")
        values = [to_json(fan_out.params[shard]) for shard in part]
    execute(
        _INSERT.format(params=params, shards=_rows(part, columns)),
        [fan_out.count, now, now, *values, parent_id],
    )


def _rows(part: range, columns: Sequence[str]) -> str:
    """A table `s` with the columns `shard` and perhaps `params`."""
    names = ("shard", "params")[: len(columns)]
    if connection.vendor == "postgresql":  # it plans each part of a UNION by itself
        row = f"({', '.join(columns)})"
        listed = ", ".join(row.format(shard=shard) for shard in part)
        return f"(VALUES {listed}) s ({', '.join(names)})"
    one = "SELECT " + ", ".join(
        f"{column} AS {name}" for column, name in zip(columns, names, strict=True)
    )
    return f"({' UNION ALL '.join(one.format(shard=shard) for shard in part)}) s"


def _go_on(parent_id: int, now: datetime) -> None:
    """Those that were put off. One that a claim holds is put off once more."""
    waiting = shards_of([parent_id]).filter(status=RunStatus.PENDING)
    ids = list(lock_skipping(waiting).order_by("id").values_list("id", flat=True))
    JobExecution.objects.filter(id__in=ids, status=RunStatus.PENDING).update(
        available_at=now, reason_code=None, reason_facts=None
    )


# --- the last shard ends its parent ---------------------------------------------------------------

_PARENTS: Final = """
SELECT id, job_id, COALESCE(job_id, overlap_key), job_name, handler_name, shard_count, started_at,
       cancel_requested_at
  FROM job_executions {index}
 WHERE id IN ({ids}) AND status = %s
 ORDER BY id {lock}
"""
# From the last one on: claims take the first ones first, so while many wait this is one probe.
_GOES_ON: Final = f"""
SELECT 1 FROM job_executions {{index}}
 WHERE parent_id = %s AND status IN {OPEN} {{others}}
 ORDER BY shard DESC LIMIT 1
"""  # noqa: S608 - of constants


def lock_ended(ending: Mapping[int, Collection[int]]) -> list[Parent]:
    """Lock these parents. Returns those whose shards have all ended, by id.

    `ending`: parent -> shards that this transaction is about to end, or none.
    """
    if not ending:
        return []
    statement = _PARENTS.format(
        index="FORCE INDEX (PRIMARY)" if connection.vendor == "mysql" else "",
        ids=numbers(ending),
        lock=LOCK[connection.vendor],
    )
    parents = [
        Parent(
            id=id_, job_id=job_id, guard=guard, name=name or handler_name,
            handler_name=handler_name, shard_count=count or 0, started_at=instant(started_at),
            is_cancelled=asked_at is not None,
        )
        for id_, job_id, guard, name, handler_name, count, started_at, asked_at
        in fetch_all(statement, [RunStatus.FANNED_OUT])
    ]  # fmt: skip
    return [parent for parent in parents if not _goes_on(parent.id, ending[parent.id])]


def _goes_on(parent_id: int, ending: Collection[int]) -> bool:
    statement = _GOES_ON.format(
        index=BY_SHARD.get(connection.vendor, ""),
        others=f"AND id NOT IN ({numbers(ending)})" if ending else "",
    )
    return fetch_one(statement, [parent_id]) is not None


_COUNTS: Final = "SELECT status, COUNT(*) FROM job_executions WHERE parent_id = %s GROUP BY status"
_FIRST_FAILED: Final = """
SELECT id, error_message FROM job_executions
 WHERE parent_id = %s AND status IN ('FAILED', 'TIMEOUT')
 ORDER BY shard LIMIT 1
"""
_RESULTS: Final = """
SELECT shard, id, status, result FROM job_executions
 WHERE parent_id = %s ORDER BY shard LIMIT %s
"""
_END: Final = """
UPDATE job_executions
   SET status = %s, finished_at = %s, result = %s {why}
 WHERE id = %s AND status = %s
"""
_WHY: Final = ", error_message = %s, reason_code = %s, reason_facts = %s"


def end_parents(parents: Iterable[Parent], now: datetime) -> list[EndedParent]:
    """End parents whose shards have all ended. They are locked; the caller frees their guards."""
    return [_end(parent, now) for parent in parents]


def _end(parent: Parent, now: datetime) -> EndedParent:
    counts = counts_of(parent.id)
    status = state_of_parent(counts, parent.shard_count, is_cancelled=parent.is_cancelled)
    # Whoever asked for the cancel has written the reason.
    keeps_reason = status == RunStatus.CANCELLED and parent.is_cancelled
    execute(
        _END.format(why="" if keeps_reason else _WHY),
        [
            status,
            # The database's clock may have gone back since its attempt began.
            max(now, parent.started_at or now),
            to_json(_result(parent, counts)),
            *(() if keeps_reason else _reason(parent, status, counts)),
            parent.id,
            RunStatus.FANNED_OUT,
        ],
    )
    failpoints.point("shards.parent_ended")
    return EndedParent(
        execution_id=parent.id,
        job_id=parent.job_id,
        name=parent.name,
        handler_name=parent.handler_name,
        status=status,
    )


def _reason(
    parent: Parent, status: RunStatus, counts: Mapping[str, int]
) -> tuple[str | None, ReasonCode | None, str | None]:
    """The text, the code, and the facts as JSON. A success has none."""
    count = parent.shard_count
    if status == RunStatus.FAILED:
        missing = max(0, count - sum(counts.values()))
        failed = counts.get(RunStatus.FAILED, 0) + counts.get(RunStatus.TIMEOUT, 0)
        error = f"{failed} of {count} shards failed"
        if missing:
            error += f", {missing} of them are missing"
        first, first_error = fetch_one(_FIRST_FAILED, [parent.id]) or (None, None)
        if first is not None:
            error += f"; the first is #{first}: {first_error or ''}".rstrip(": ")
        facts = {"count": count, "failed": failed, "missing": missing, "first": first}
        return error, ReasonCode.SHARDS_FAILED, to_json(facts)
    if status == RunStatus.CANCELLED:
        cancelled = count - counts.get(RunStatus.SUCCESS, 0)
        facts = {"count": count, "cancelled": cancelled}
        error = f"{cancelled} of {count} shards were cancelled"
        return error, ReasonCode.SHARDS_CANCELLED, to_json(facts)
    return None, None, None


def _result(parent: Parent, counts: Mapping[str, int]) -> dict[str, Any]:
    results: list[dict[str, Any]] = []
    size = 0
    for shard, id_, status, stored in fetch_all(_RESULTS, [parent.id, RESULTS]):
        result = from_json(stored)
        size += len(to_json(result) or "") + 100
        if size > _RESULT_BYTES:
            break
        results.append({"shard": shard, "id": id_, "status": status, "result": result})
    return {"shards": {"count": parent.shard_count, **counts}, "results": results}


def counts_of(parent_id: int) -> dict[str, int]:
    """How many shards of a run there are, by state."""
    return {str(status): int(n) for status, n in sorted(fetch_all(_COUNTS, [parent_id]))}


def ended_of(parent_ids: Collection[int]) -> dict[int, int]:
    """How many shards of each of these runs have ended. A run of which none has is left out."""
    rows = JobExecution.objects.filter(parent_id__in=sorted(parent_ids), status__in=sorted(FINAL))
    return dict(rows.order_by().values_list("parent_id").annotate(Count("id")))


# --- a shard waits for its parent ---------------------------------------------------------------


def put_off(shards: QuerySet[JobExecution], *, now: datetime) -> None:
    """Those of these shards that are PENDING wait until their parent begins again."""
    shards.filter(status=RunStatus.PENDING).update(
        available_at=now + timedelta(seconds=PUT_OFF_SECONDS),
        reason_code=ReasonCode.WAITS_FOR_PARENT,
        reason_facts=None,
    )


def shards_of(parent_ids: Collection[int]) -> QuerySet[JobExecution]:
    """The shards of these runs."""
    return JobExecution.objects.filter(parent_id__in=sorted(parent_ids))
