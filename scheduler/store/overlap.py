"""Runs that must not overlap: which one goes on, and which ones wait in line for its end.

A job, a group of jobs with limits (places.py), or a key that calls without a job share, has one row
in job_guard, its guard. Whoever holds the lock of the guard decides: a claim, the end of a run,
beat, an edit. Locks are taken in this order, each kind by id: jobs (an edit), RUNNING executions,
the parents of those that are shards (shards.py), guards, PENDING executions, rows of job_places. A
parent holds its guard until it has ended. PENDING executions are locked only if nobody holds them,
and a claim has locked its own before the guards. Rows of job_places have one owner: who holds their
guard. MySQL and MariaDB lock one entry of the index behind what a claim reads. If that is the run
which is let go on, the server ends one of the two transactions, and it is repeated at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.db import connection
from django.db.models import QuerySet

from scheduler.models import CronJob, JobExecution, JobGuard
from scheduler.states import OverlapPolicy, ReasonCode, RunStatus
from scheduler.store.connection import (
    LOCK,
    execute,
    fetch_all,
    instant,
    lock_skipping,
    numbers,
    to_json,
)

#: When a run in line looks by itself whether it is its turn. The run that ends wakes it.
IN_LINE_SECONDS: Final = 60
#: The same where beat lets runs go on that nobody else has let go on. Lines there may be long.
LET_GO_ON_SECONDS: Final = 600


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The run that goes on."""

    id: int
    started_at: datetime | None
    param_source: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """The runs that wait for the end of the holder."""

    oldest: int | None = None
    newest: int | None = None

    def with_(self, execution_id: int) -> Line:
        ids = [id_ for id_ in (self.oldest, self.newest, execution_id) if id_ is not None]
        return Line(oldest=min(ids), newest=max(ids))


class Step(StrEnum):
    START = "start"
    WAIT = "wait"  # in line, until the run that goes on has ended
    SKIP = "skip"  # for ever; it has had no attempt
    CANCEL = "cancel"  # for ever; it has had attempts
    PUT_OFF = "put_off"  # a shard, until its parent begins again


@dataclass(frozen=True, kw_only=True)
class Decision:
    step: Step
    reason: str = ""
    code: ReasonCode | None = None
    facts: Mapping[str, Any] | None = None
    replaces: int | None = None
    """The execution that is to be cancelled for this one, after the commit."""
    behind: int | None = None
    """The guard in whose line it waits. None: the one of its overlap."""


class Guards:
    """The guards that this transaction has locked. Changes are collected and written at once."""

    def __init__(self, running: Mapping[int, int | None]) -> None:
        self._running = dict(running)
        self._held: dict[int, int] = {}
        self._freed: set[int] = set()
        self.queues_to_wake: set[str] = set()
        """Of the runs in line that may start now."""
        self._gone: set[int] = set()

    def is_held_by(self, key: int, execution_id: int) -> bool:
        return self._running.get(key) == execution_id

    def holders(self, keys: Collection[int]) -> dict[int, Holder]:
        """The runs that go on under these guards. Without those under which none does."""
        believed = {key: id_ for key in keys if (id_ := self._running[key]) is not None}
        if not believed:
            return {}
        ids = believed.values()
        running = {
            id_: Holder(id=id_, started_at=instant(started_at), param_source=source)
            for id_, started_at, source in fetch_all(
                _HOLDERS.format(ids=numbers(ids)), [RunStatus.RUNNING, RunStatus.FANNED_OUT]
            )
        }
        return {key: running[id_] for key, id_ in believed.items() if id_ in running}

    def hold(self, key: int, execution_id: int) -> None:
        """From now on the guard's run is this one."""
        self._running[key] = self._held[key] = execution_id

    def free(self, key: int, *, is_awaited: bool) -> None:
        """The guard's run has ended."""
        self._running[key] = None
        # A key of calls may never come again. Whoever waits for its lock makes it anew.
        (self._freed if is_awaited or key > 0 else self._gone).add(key)

    def write(self) -> None:
        """Write the changes: one statement for those that are held, one for those that are free."""
        freed, gone = (keys - self._held.keys() for keys in (self._freed, self._gone))
        if gone:
            execute(_DELETE.format(keys=numbers(gone)), ())
        if freed:
            execute(_FREE.format(keys=numbers(freed)), ())
        if self._held:
            cases = " ".join(f"WHEN {key} THEN {id_}" for key, id_ in self._held.items())
            execute(_HOLD.format(cases=cases, keys=numbers(self._held)), ())


_LOCK_GUARDS: Final = """
SELECT id, running_id FROM job_guard {index} WHERE id IN ({keys}) ORDER BY id {lock}
"""
# Of two processes that insert the same one, the second waits for the first.
_MAKE: Final = {
    "postgresql": "INSERT INTO job_guard (id) VALUES {rows} ON CONFLICT DO NOTHING",
    "mysql": "INSERT IGNORE INTO job_guard (id) VALUES {rows}",
    "sqlite": "INSERT OR IGNORE INTO job_guard (id) VALUES {rows}",
}
_HOLDERS: Final = """
SELECT id, started_at, param_source FROM job_executions WHERE id IN ({ids}) AND status IN (%s, %s)
"""
_HOLD: Final = "UPDATE job_guard SET running_id = CASE id {cases} END WHERE id IN ({keys})"
_FREE: Final = "UPDATE job_guard SET running_id = NULL WHERE id IN ({keys})"
_DELETE: Final = "DELETE FROM job_guard WHERE id IN ({keys})"


def lock_guards(of_ended: Collection[int], of_claimed: Collection[int] = ()) -> Guards:
    """Lock these guards until the transaction ends, and make those of claimed runs if need be."""
    needed = set(of_claimed)
    running = _locked(needed.union(of_ended))
    # Again if an end deletes one that has just been there.
    while missing := sorted(needed - running.keys()):
        rows = ", ".join(f"({key})" for key in missing)
        execute(_MAKE[connection.vendor].format(rows=rows), ())
        running |= _locked(missing)
    return Guards(running)


def _locked(keys: Collection[int]) -> dict[int, int | None]:
    if not keys:
        return {}
    statement = _LOCK_GUARDS.format(
        # Else the server reads a small table as a whole, and waits for guards of others.
        index="FORCE INDEX (PRIMARY)" if connection.vendor == "mysql" else "",
        keys=numbers(keys),
        lock=LOCK[connection.vendor],
    )
    return dict(fetch_all(statement, ()))


# Of each guard the two ends of its line, however long that is. Only PENDING runs are in line.
_LINES: Final = """
SELECT g.id, (SELECT e.id FROM job_executions e WHERE e.in_line = g.id ORDER BY e.id LIMIT 1),
       (SELECT e.id FROM job_executions e WHERE e.in_line = g.id ORDER BY e.id DESC LIMIT 1)
  FROM job_guard g WHERE g.id IN ({keys})
"""


def lines(keys: Collection[int]) -> dict[int, Line]:
    """The runs that wait behind these guards. Without those for which nobody waits."""
    if not keys:
        return {}
    ends = fetch_all(_LINES.format(keys=numbers(keys)), ())
    return {
        key: Line(oldest=oldest, newest=newest)
        for key, oldest, newest in ends
        if oldest is not None
    }


def running_of(key: int) -> int | None:
    """The id of the run that goes on under this guard."""
    held = JobGuard.objects.filter(id=key).values("running_id")
    going_on = [RunStatus.RUNNING, RunStatus.FANNED_OUT]
    running = JobExecution.objects.filter(id__in=held, status__in=going_on)
    return running.values_list("id", flat=True).first()


def _in_line(keys: Iterable[int]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(in_line__in=sorted(keys), status=RunStatus.PENDING)


_PUT_IN_LINE: Final = """
UPDATE job_executions
   SET in_line = %s, available_at = %s, reason_code = %s, reason_facts = %s
 WHERE id IN ({ids}) AND status = %s
"""


def put_in_line(
    key: int,
    ids: Collection[int],
    *,
    now: datetime,
    code: ReasonCode | None = ReasonCode.OVERLAP_HELD,
    facts: Mapping[str, Any] | None,
    is_let_go_on: bool = False,
) -> None:
    """Make PENDING runs wait for the end of the guard's run, or for a place under its limit."""
    later = now + timedelta(seconds=LET_GO_ON_SECONDS if is_let_go_on else IN_LINE_SECONDS)
    execute(
        _PUT_IN_LINE.format(ids=numbers(ids)),
        [
            key,
            later,
            code,
            to_json(facts),
            RunStatus.PENDING,
        ],
    )


def release(guards: Guards, ended: Mapping[int, int], *, now: datetime) -> None:
    """These runs have ended (`ended`: execution -> guard). The next one in line of each may start.

    The next one is the oldest, under policy `replace` the newest. Call it in the transaction of the
    end. A run that is in no guard, because its job has allowed overlaps meanwhile, changes nothing.
    """
    ours = sorted({key for id_, key in ended.items() if guards.is_held_by(key, id_)})
    awaited = lines(ours)
    for key in ours:
        guards.free(key, is_awaited=key in awaited)
    for key in sorted(awaited):
        # One that a claim holds decides for itself, when it gets the guard.
        waiting = lock_skipping(_in_line([key]))
        order = "-id" if _replaces(key) else "id"
        for id_, queue in waiting.order_by(order).values_list("id", "queue")[:1]:
            _pending([id_]).update(in_line=None, available_at=now)
            guards.queues_to_wake.add(queue)


def _replaces(key: int) -> bool:
    return key > 0 and CronJob.objects.filter(id=key, overlap_policy=OverlapPolicy.REPLACE).exists()


def give_up_older(key: int, newest: int, *, now: datetime) -> None:
    """Those in line that are older than `newest` do not run: policy `replace`."""
    older = lock_skipping(_in_line([key]).filter(id__lt=newest))
    has_run = dict(older.values_list("id", "attempt"))
    why = "{} by overlap policy replace: #" + f"{newest} is newer"
    for give_up, what, ids in (
        (skip, "skipped", [id_ for id_, attempt in has_run.items() if not attempt]),
        (cancel_waiting, "cancelled", [id_ for id_, attempt in has_run.items() if attempt]),
    ):
        if ids:
            give_up(
                ids,
                now=now,
                reason=why.format(what),
                code=ReasonCode.OVERLAP_NEWER,
                facts={"newer": newest},
            )


def skip(
    ids: Collection[int],
    *,
    now: datetime,
    reason: str,
    code: ReasonCode | None,
    facts: Mapping[str, Any] | None,
) -> int:
    """PENDING -> SKIPPED, with the reason. For runs that have had no attempt."""
    return _give_up(ids, RunStatus.SKIPPED, now, reason, code, facts)


def cancel_waiting(
    ids: Collection[int],
    *,
    now: datetime,
    reason: str,
    code: ReasonCode | None,
    facts: Mapping[str, Any] | None,
) -> int:
    """PENDING -> CANCELLED, with the reason. For runs that have had attempts: SKIPPED would say
    that they never ran.
    """
    return _give_up(ids, RunStatus.CANCELLED, now, reason, code, facts)


# `finished_at` of a run that has had attempts: the clock may have gone back since.
_GIVE_UP: Final = """
UPDATE job_executions
   SET status = %s, in_line = NULL,
       finished_at = CASE WHEN started_at > %s THEN started_at ELSE %s END,
       error_message = %s, reason_code = %s, reason_facts = %s
 WHERE id IN ({ids}) AND status = %s
"""


def _give_up(
    ids: Collection[int],
    status: RunStatus,
    now: datetime,
    reason: str,
    code: ReasonCode | None,
    facts: Mapping[str, Any] | None,
) -> int:
    return execute(
        _GIVE_UP.format(ids=numbers(ids)),
        [status, now, now, reason, code, to_json(facts), RunStatus.PENDING],
    )


def _pending(ids: Collection[int]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(id__in=sorted(ids), status=RunStatus.PENDING)
