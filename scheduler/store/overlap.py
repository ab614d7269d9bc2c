"""Runs that must not overlap: which one goes on, and which ones wait in line for its end.

A job, or a key that calls without a job share, has one row in job_guard, its guard. Whoever holds
the lock of the guard decides: a claim, or the end of a run. Locks are taken in this order, each
kind by id: RUNNING executions, guards, PENDING executions; the last ones only if nobody holds them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.db.models import Max, Min, QuerySet

from scheduler.models import JobExecution, JobGuard
from scheduler.states import OverlapPolicy, ReasonCode, RunStatus
from scheduler.store.connection import lock_in_order, lock_skipping
from scheduler.store.runs import not_before_start

#: When a run in line looks by itself whether it is its turn. The run that ends wakes it.
IN_LINE_SECONDS: Final = 60


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


@dataclass(frozen=True, kw_only=True)
class Decision:
    step: Step
    reason: str = ""
    code: ReasonCode | None = None
    facts: Mapping[str, Any] | None = None
    replaces: int | None = None
    """The execution that is to be cancelled for this one, after the commit."""


def lock_guards(keys: Collection[int]) -> dict[int, Holder | None]:
    """Lock the guards until the transaction ends. Returns the run of each that goes on."""
    rows = JobGuard.objects.filter(id__in=sorted(keys))
    held = dict(lock_in_order(rows).values_list("id", "running_id"))
    missing = sorted(set(keys) - held.keys())
    if missing:
        # Of two processes that insert the same one, the second waits for the first.
        JobGuard.objects.bulk_create([JobGuard(id=key) for key in missing], ignore_conflicts=True)
        new = JobGuard.objects.filter(id__in=missing)
        held.update(lock_in_order(new).values_list("id", "running_id"))
    running = JobExecution.objects.filter(
        id__in=sorted(id_ for id_ in held.values() if id_ is not None), status=RunStatus.RUNNING
    )
    holders = {
        id_: Holder(id=id_, started_at=started_at, param_source=source)
        for id_, started_at, source in running.values_list("id", "started_at", "param_source")
    }
    return {key: holders.get(id_) if id_ is not None else None for key, id_ in held.items()}


def lines(keys: Collection[int]) -> dict[int, Line]:
    """The runs that wait behind these guards. Without those for which nobody waits."""
    if not keys:
        return {}
    ends = _in_line(keys).order_by().values_list("in_line").annotate(Min("id"), Max("id"))
    return {key: Line(oldest=oldest, newest=newest) for key, oldest, newest in ends}


def running_of(key: int) -> int | None:
    """The id of the run that goes on under this guard."""
    held = JobGuard.objects.filter(id=key).values("running_id")
    running = JobExecution.objects.filter(id__in=held, status=RunStatus.RUNNING)
    return running.values_list("id", flat=True).first()


def _in_line(keys: Iterable[int]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(in_line__in=sorted(keys), status=RunStatus.PENDING)


def hold(key: int, execution_id: int) -> None:
    """From now on the guard's run is this one."""
    JobGuard.objects.filter(id=key).update(running_id=execution_id)


def put_in_line(
    key: int, execution_id: int, *, now: datetime, facts: Mapping[str, Any] | None
) -> None:
    """Make a PENDING run wait for the end of the guard's run."""
    later = now + timedelta(seconds=IN_LINE_SECONDS)
    _pending([execution_id]).update(
        in_line=key,
        available_at=later,
        publish_at=later,
        publish_count=0,
        reason_code=ReasonCode.OVERLAP_HELD,
        reason_facts=facts,
    )


def release(guards: Mapping[int, int], *, now: datetime) -> None:
    """These runs have ended (`guards`: by execution). The next one in line of each may start.

    The next one is the oldest, under policy `replace` the newest. Call it in the transaction of the
    end. A run that is in no guard, because its job has allowed overlaps meanwhile, changes nothing.
    """
    if not guards:
        return
    held = lock_in_order(JobGuard.objects.filter(id__in=sorted(set(guards.values()))))
    running = held.values_list("id", "running_id")
    ours = [key for key, id_ in running if id_ is not None and guards.get(id_) == key]
    if not ours:
        return
    awaited = lines(ours)
    # A key of calls may never come again. Whoever waits for its lock makes it anew.
    JobGuard.objects.filter(id__in=[key for key in ours if key < 0 and key not in awaited]).delete()
    JobGuard.objects.filter(id__in=ours).update(running_id=None)
    for key in sorted(awaited):
        # One that a claim holds decides for itself, when it gets the guard.
        waiting = lock_skipping(_in_line([key]))
        order = "-id" if _replaces(key) else "id"
        for id_ in waiting.order_by(order).values_list("id", flat=True)[:1]:
            _pending([id_]).update(in_line=None, available_at=now, publish_at=now)


def _replaces(key: int) -> bool:
    first = JobExecution.objects.filter(in_line=key, job__overlap_policy=OverlapPolicy.REPLACE)
    return key > 0 and first.exists()


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


def _give_up(
    ids: Collection[int],
    status: RunStatus,
    now: datetime,
    reason: str,
    code: ReasonCode | None,
    facts: Mapping[str, Any] | None,
) -> int:
    return _pending(ids).update(
        status=status,
        in_line=None,
        finished_at=not_before_start(now),
        publish_at=None,
        error_message=reason,
        reason_code=code,
        reason_facts=None if facts is None else dict(facts),
    )


def _pending(ids: Collection[int]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(id__in=sorted(ids), status=RunStatus.PENDING)
