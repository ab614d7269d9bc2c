"""Which runs a claim may begin: they are chosen and locked, and nobody waits for a lock.

The most urgent come first. Urgency is the priority, and one more for each full five minutes that a
run waits, so that nothing starves: the lowest priority is at the front after 45 minutes.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Final, Protocol

from django.db import connection

from handlers.params import UnreadableParams
from scheduler.concurrency import JobLimits, Place, places_of
from scheduler.states import OverlapPolicy, RunStatus
from scheduler.store.connection import SKIP_LOCKED, fetch_all, from_json, instant, numbers
from scheduler.store.heads import (
    AFTER,
    BY_LEVEL,
    HIGHEST,
    IS_PENDING,
    Floors,
    Head,
    floor_values,
    heads,
)
from scheduler.store.prepared import fetch_often
from scheduler.store.shards import BY_SHARD

#: So many runs at most are claimed at once.
AT_ONCE: Final = 50
AGEING: Final = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True, slots=True)
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
    queue: str = ""
    priority: int = 0
    parent_id: int | None = None
    shard: int | None = None
    shard_count: int | None = None
    divide_into: int | None = None
    """The job wants so many shards."""
    parents_job_id: int | None = None
    """Of a shard: the job of its parent. The claim asks for it."""
    is_cancelled: bool = False
    """SQL asks for its cancel: a door would have ended it."""
    overlap_policy: str | None = None
    """Of a shard, as the columns below: of its parent's job, when the claim has asked for it."""
    retry_backoff_seconds: int | None = None
    retry_backoff_max_seconds: int | None = None
    limits: JobLimits | None = None
    """None: its job has none, which costs nothing."""

    @property
    def job_of_run(self) -> int | None:
        """The job that it belongs to, also as a shard."""
        return self.job_id if self.parent_id is None else self.parents_job_id

    @property
    def places(self) -> tuple[Place, ...]:
        """The places under limits that it needs to start."""
        job_id = self.job_of_run
        if self.limits is None or job_id is None:
            return ()
        return places_of(
            self.limits,
            job_id=job_id,
            may_overlap=self.overlap_policy == OverlapPolicy.ALLOW,
            params=self.params,
            is_shard=self.parent_id is not None,
        )

    @property
    def guard(self) -> int | None:
        """The guard of a run that must not overlap."""
        if self.job_id is None:
            return self.overlap_key
        if self.overlap_key is not None:
            return None  # of a backfill that ignores the job's overlap policy
        return None if self.overlap_policy == OverlapPolicy.ALLOW else self.job_id

    @property
    def is_orphan(self) -> bool:
        """Its job is gone. Who deletes a job deletes its runs, unless SQL has left one behind."""
        return self.job_id is not None and self.overlap_policy is None


class Choice(Protocol):
    """Which runs a claim wants."""

    def look(self, now: datetime) -> Sequence[Head] | None:
        """Look without locks where there may be any. None: there is none.

        So a worker that is idle opens no transaction, and does not take SQLite's lock of the file.
        """

    def lock(self, found: Sequence[Head], now: datetime) -> list[Candidate]:
        """Lock them, most urgent first, without those that another process holds."""

    def is_full(self, rows: Sequence[Candidate]) -> bool:
        """Whether there may be more than these."""

    def committed(self, rows: Sequence[Candidate]) -> None:
        """The claim of these rows is in the database."""


class ByIds:
    """Those of these executions that may run now."""

    def __init__(self, ids: Collection[int]) -> None:
        self._ids = sorted(ids)

    def look(self, now: datetime) -> Sequence[Head] | None:
        if not self._ids or (connection.vendor == "sqlite" and not self.lock((), now)):
            return None
        return ()

    def lock(self, found: Sequence[Head], now: datetime) -> list[Candidate]:
        where = f"id IN ({numbers(self._ids)}) AND {IS_PENDING} AND available_at <= %s ORDER BY id"
        statement = _select(connection.vendor, "", where)
        return [candidate(row) for row in fetch_all(statement, [now])]

    def is_full(self, rows: Sequence[Candidate]) -> bool:
        return False

    def committed(self, rows: Sequence[Candidate]) -> None:
        return


class MostUrgent:
    """The most urgent runs of these queues, up to `places`, but no more than AT_ONCE.

    A queue is only a name here: name the default queue and '' if both are meant. `floors` is of the
    process; it moves when the claim is committed.
    """

    def __init__(self, queues: Sequence[str], places: int, floors: Floors) -> None:
        self.queues = sorted(set(queues))
        self.places = min(places, AT_ONCE)
        self.floors = floors

    def look(self, now: datetime) -> Sequence[Head] | None:
        if self.places < 1 or not self.queues:
            return None
        found = heads(now, self.queues, self.floors)
        return [head for head in found if head.first_at <= now] or None

    def lock(self, found: Sequence[Head], now: datetime) -> list[Candidate]:
        """One statement for each level that may have some of them: a queue with a priority."""
        chosen: list[tuple[_Rank, Candidate]] = []
        fronts = [(_rank(head.priority, head.first_at, now), head) for head in found]
        for front, head in sorted(fronts, key=lambda each: each[0]):
            # A level is in order of age, so nothing in it is more urgent than its front.
            ahead = bisect_left(chosen, front, key=lambda each: each[0])
            if ahead == self.places:
                break
            rows = self._of_level(head, self.places - ahead, now)
            chosen += [(_rank(row.priority, row.available_at, now, row.id), row) for row in rows]
            chosen.sort(key=lambda each: each[0])
            del chosen[self.places :]
        return [row for _, row in chosen]

    def _of_level(self, head: Head, limit: int, now: datetime) -> list[Candidate]:
        floor = self.floors.last((head.queue, head.priority))
        values: list[Any] = [head.queue, head.priority, now]
        values += floor_values(floor) if floor else []
        statement = _by_level(connection.vendor, floor is not None)
        return [candidate(row) for row in fetch_often(statement, [*values, limit])]

    def is_full(self, rows: Sequence[Candidate]) -> bool:
        return len(rows) >= self.places

    def committed(self, rows: Sequence[Candidate]) -> None:
        # SQLite keeps no entries of rows that have left the index. And it compares instants as
        # texts: one that SQL has written with milliseconds is less than the same with microseconds.
        if connection.vendor == "sqlite":
            return
        self.floors.advance(((row.queue, row.priority), row.available_at, row.id) for row in rows)


_Rank = tuple[int, datetime, int]
"""Sorts the most urgent first, then the oldest."""


def _rank(priority: int, available_at: datetime, now: datetime, id_: int = 0) -> _Rank:
    aged = (now - available_at) // AGEING
    return (-min(HIGHEST, priority + aged), available_at, id_)


COLUMNS: Final = (
    "id, job_id, job_name, handler_name, scheduled_time, logical_time, param_source, params,"
    " attempt, failures, max_retry, timeout_seconds, available_at, created_at, overlap_key,"
    " in_line, queue, priority, parent_id, shard, shard_count"
)
# What a claim needs of the job, in a subquery and not in a join: its row must not be locked, and
# MariaDB locks the rows of all joined tables.
_JOB: Final = "(SELECT {array} FROM cron_jobs j WHERE j.id = e.job_id)"
_OF_JOB: Final = (
    "j.overlap_policy, j.retry_backoff_seconds, j.retry_backoff_max_seconds, j.max_running,"
    " j.concurrency_group, j.concurrency_key, j.shards"
)
_ARRAY: Final = {
    "postgresql": "json_build_array({})::text",
    "mysql": "JSON_ARRAY({})",
    "sqlite": "json_array({})",
}
JOB_OF: Final = {
    vendor: _JOB.format(array=array.format(_OF_JOB)) for vendor, array in _ARRAY.items()
}
_SELECT: Final = """
SELECT {columns}, cancel_requested_at, {job}
  FROM job_executions e {index}
 WHERE {where} {lock}
"""


def _select(vendor: str, index: str, where: str) -> str:
    return _SELECT.format(
        columns=COLUMNS,
        job=JOB_OF[vendor],
        index=index,
        where=where,
        lock=SKIP_LOCKED[vendor],
    )


def running_with(token_prefix: str) -> Candidate | None:
    """The run that a claim in one statement has begun (PostgreSQL), as it was before."""
    where = f"status = '{RunStatus.RUNNING}' AND lease_token = CONCAT(%s::text, id)"
    rows = fetch_all(_select("postgresql", "", where), [token_prefix])
    begun = [candidate(row) for row in rows]
    return replace(begun[0], attempt=begun[0].attempt - 1) if begun else None


def next_shards(parent_id: int, limit: int, now: datetime) -> list[Candidate]:
    """The first shards of a run that a claim may begin, locked, without those that others hold."""
    where = f"{IS_PENDING} AND parent_id = %s AND available_at <= %s ORDER BY shard LIMIT %s"
    statement = _select(connection.vendor, BY_SHARD.get(connection.vendor, ""), where)
    return [candidate(row) for row in fetch_all(statement, [parent_id, now, limit])]


@cache
def _by_level(vendor: str, has_floor: bool) -> str:
    floor = AFTER[vendor] if has_floor else ""
    return _select(
        vendor,
        BY_LEVEL[vendor],
        f"{IS_PENDING} AND queue = %s AND priority = %s AND available_at <= %s {floor}"
        " ORDER BY available_at, id LIMIT %s",
    )


def candidate(row: Sequence[Any]) -> Candidate:
    """Of a row of COLUMNS, `cancel_requested_at` and JOB_OF."""
    *values, cancel_requested_at, job = row
    (
        id_, job_id, job_name, handler_name, scheduled_time, logical_time, param_source,
        params, attempt, failures, max_retry, timeout_seconds, available_at, created_at,
        overlap_key, in_line, queue, priority, parent_id, shard, shard_count,
    ) = values  # fmt: skip
    policy, backoff_seconds, backoff_max_seconds, limits, divide_into = _of_job(job)
    return Candidate(
        id=id_,
        job_id=job_id,
        job_name=job_name,
        handler_name=handler_name,
        scheduled_time=_given(scheduled_time),
        logical_time=instant(logical_time),
        param_source=param_source,
        params=readable_params(params),
        attempt=attempt,
        failures=failures,
        max_retry=max_retry,
        timeout_seconds=timeout_seconds,
        available_at=_given(available_at),
        created_at=_given(created_at),
        overlap_key=overlap_key,
        in_line=in_line,
        queue=queue,
        priority=priority,
        parent_id=parent_id,
        shard=shard,
        shard_count=shard_count,
        divide_into=divide_into,
        is_cancelled=cancel_requested_at is not None,
        overlap_policy=policy,
        retry_backoff_seconds=backoff_seconds,
        retry_backoff_max_seconds=backoff_max_seconds,
        limits=limits,
    )


@lru_cache(maxsize=1_000)
def _of_job(
    array: str | None,
) -> tuple[str | None, int | None, int | None, JobLimits | None, int | None]:
    if array is None:
        return None, None, None, None, None
    policy, backoff_seconds, backoff_max_seconds, *limited, divide_into = json.loads(array)
    return policy, backoff_seconds, backoff_max_seconds, JobLimits.of(*limited), divide_into


def _given(value: Any) -> datetime:
    found = instant(value)
    assert found is not None
    return found


def readable_params(value: Any) -> Any:
    """The params of a row, whatever SQL has written."""
    try:
        return from_json(value)
    # Databases store numbers of thousands of digits and depths that Python refuses to read.
    except (ValueError, RecursionError) as error:
        return UnreadableParams(str(error))
