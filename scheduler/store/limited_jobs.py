"""What an edit of limits changes for runs that wait or go on, and which groups there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Exists, OuterRef

from scheduler.concurrency import JobLimits, Place, guard_of_group, guard_of_job, places_of
from scheduler.models import ConcurrencyGroup, CronJob, JobExecution
from scheduler.states import OverlapPolicy, PlaceState, RunStatus
from scheduler.store import overlap, places
from scheduler.store.candidates import readable_params
from scheduler.store.connection import fetch_all, lock_skipping, numbers
from scheduler.store.shards import shards_of
from scheduler.transient import in_transaction

#: The columns of a job that decide behind which guard its runs wait.
COLUMNS = frozenset({"max_running", "concurrency_group", "concurrency_key", "overlap_policy"})
_AT_ONCE = 1000


def apply(job: CronJob, now: datetime) -> set[str]:
    """The limits of a job have been edited. Returns the queues to wake.

    Its runs and their shards that wait look anew; those that go on count under the new limits, too,
    so that these hold from now on. Call it in the transaction of the edit, which has locked the
    job.
    """
    mine = JobExecution.objects.filter(job_id=job.pk)
    divided = mine.filter(status=RunStatus.FANNED_OUT).values_list("id", flat=True)
    both = ((False, mine), (True, shards_of(list(divided))))
    queues: dict[int, str] = {}
    for _, rows in both:
        waiting = rows.filter(status=RunStatus.PENDING, in_line__isnull=False)
        # One that a claim holds decides by the columns of before, and beat lets it go on.
        queues |= dict(lock_skipping(waiting.order_by("id")).values_list("id", "queue"))
    _look_anew(sorted(queues), now)
    limits = JobLimits.of(job.max_running, job.concurrency_group, job.concurrency_key)
    if limits is None:
        return set(queues.values())
    of_job = _OfJob(
        job_id=job.pk, may_overlap=job.overlap_policy == OverlapPolicy.ALLOW, limits=limits
    )
    going = {
        id_: of_job.shard if is_shard else of_job.run
        for is_shard, rows in both
        for id_ in rows.filter(status=RunStatus.RUNNING).values_list("id", flat=True)
    }
    _count(going, now)
    return set(queues.values())


def _look_anew(ids: list[int], now: datetime) -> None:
    for start in range(0, len(ids), _AT_ONCE):
        some = JobExecution.objects.filter(
            id__in=ids[start : start + _AT_ONCE], status=RunStatus.PENDING
        )
        some.update(in_line=None, available_at=now)


# --- runs that go on already ----------------------------------------------------------------------

_PlacesOf = Callable[[object], tuple[Place, ...]]
"""Of the params of a run."""


@dataclass(frozen=True, kw_only=True)
class _OfJob:
    """The places that the runs of a job need."""

    job_id: int
    may_overlap: bool
    limits: JobLimits

    def run(self, params: object) -> tuple[Place, ...]:
        return self._of(params, is_shard=False)

    def shard(self, params: object) -> tuple[Place, ...]:
        return self._of(params, is_shard=True)

    def _of(self, params: object, *, is_shard: bool) -> tuple[Place, ...]:
        return places_of(
            self.limits,
            job_id=self.job_id,
            may_overlap=self.may_overlap,
            params=params,
            is_shard=is_shard,
        )


# Only what a worker runs just now, by the index that finds lost runs.
_GOING_ON: Final = """
SELECT e.id, e.attempt, e.parent_id IS NOT NULL, j.id, j.overlap_policy, j.max_running,
       j.concurrency_group, j.concurrency_key
  FROM job_executions e {index}
  LEFT JOIN job_executions p ON p.id = e.parent_id
  JOIN cron_jobs j ON j.id = COALESCE(e.job_id, p.job_id)
 WHERE e.status = %s AND (j.max_running IS NOT NULL OR j.concurrency_group > '')
"""
_INDEX: Final = {"mysql": "FORCE INDEX (executions_to_rescue)"}
_COUNTED: Final = """
SELECT execution_id, guard_id, attempt FROM job_places WHERE state = %s
"""
_PARAMS: Final = "SELECT id, params FROM job_executions WHERE id IN ({ids})"


def count_going_on(now: datetime) -> int:
    """Count runs that go on without the places that they need: beat's net. Returns how many.

    So it is when SQL gives a job a limit, and when a worker took a run just as a person did.
    """
    statement = _GOING_ON.format(index=_INDEX.get(connection.vendor, ""))
    found = fetch_all(statement, [RunStatus.RUNNING])
    if not found:
        return 0
    counted = set(fetch_all(_COUNTED, [PlaceState.STARTED]))
    going: dict[int, _PlacesOf] = {}
    for id_, attempt, is_shard, job_id, policy, *limited in found:
        limits = JobLimits.of(*limited)
        assert limits is not None
        of_job = _OfJob(job_id=job_id, may_overlap=policy == OverlapPolicy.ALLOW, limits=limits)
        places_of_run = of_job.shard if is_shard else of_job.run
        # The params decide about the key alone, and may be long.
        if any((id_, place.guard, attempt) not in counted for place in places_of_run({})):
            going[id_] = places_of_run
    return in_transaction(lambda: _count(going, now)) if going else 0


def _count(going: Mapping[int, _PlacesOf], now: datetime) -> int:
    needed: dict[int, tuple[Place, ...]] = {}
    if going:
        for id_, params in fetch_all(_PARAMS.format(ids=numbers(going)), ()):
            if needs := going[id_](readable_params(params)):
                needed[id_] = needs
    if needed:
        guards = {place.guard for each in needed.values() for place in each}
        overlap.lock_guards((), guards)
        places.take_over(needed, now)
    return len(needed)


# --- groups ---------------------------------------------------------------------------------------


def groups() -> list[ConcurrencyGroup]:
    return list(ConcurrencyGroup.objects.order_by("name"))


def group(name: str) -> ConcurrencyGroup | None:
    return ConcurrencyGroup.objects.filter(name=name).first()


def lock_group(name: str, *, job_id: int | None = None) -> ConcurrencyGroup | None:
    """The group, locked until the transaction ends. What is None is not made by others either.

    `job_id`: the guards of this job will be locked, too, so they are now: guards have an order.
    """
    both = (True, False) if job_id is not None else ()
    of_job = [guard_of_job(job_id or 0, may_overlap=may_overlap) for may_overlap in both]
    overlap.lock_guards(of_job, [guard_of_group(name)])
    return group(name)


def save_group(name: str, values: Mapping[str, Any], *, now: datetime) -> set[str]:
    """Make a group, or change its limits, and let go on what may. Returns the queues to wake.

    Call it in a transaction.
    """
    lock_group(name)
    columns = {**values, "updated_at": now}
    if not ConcurrencyGroup.objects.filter(name=name).update(**columns):
        ConcurrencyGroup.objects.create(name=name, **columns)
    if values.get("rate_count") is None:
        places.forget_starts(_place(name))
    return places.settle([_place(name)], now, all_keys=True)


def delete_group(name: str, *, now: datetime) -> set[str]:
    """Delete a group that no job names and that is locked. What waits for it starts without it."""
    ConcurrencyGroup.objects.filter(name=name).delete()
    places.forget_starts(_place(name))
    return places.settle([_place(name)], now, all_keys=True)


def _place(name: str) -> Place:
    return Place(guard=guard_of_group(name), group=name)


def jobs_of_group(name: str, limit: int) -> list[str]:
    named = CronJob.objects.filter(concurrency_group=name).order_by("id")
    return list(named.values_list("name", flat=True)[:limit])


def take_from_settings(wanted: Mapping[str, Mapping[str, Any]], now: datetime) -> set[str]:
    """Write the groups of the configuration. One that it no longer has may be edited from now on.

    Returns the queues to wake.
    """
    known = {each.name: each for each in groups()}
    queues: set[str] = set()
    for name, values in sorted(wanted.items()):
        new = {**values, "is_of_settings": True}
        old = known.get(name)
        if old is None or any(getattr(old, column) != value for column, value in new.items()):
            queues |= in_transaction(lambda name=name, new=new: save_group(name, new, now=now))  # type: ignore[misc]
    dropped = [name for name, each in known.items() if each.is_of_settings and name not in wanted]
    if dropped:
        ConcurrencyGroup.objects.filter(name__in=dropped).update(is_of_settings=False)
    return queues


def jobs_without_their_group(limit: int) -> list[tuple[int, str, str]]:
    """Enabled jobs that name a group which is not there: id, name, group. SQL may leave such."""
    there = ConcurrencyGroup.objects.filter(name=OuterRef("concurrency_group"))
    named = CronJob.objects.filter(concurrency_group__gt="", is_enabled__in=[True])
    lost = named.filter(~Exists(there)).order_by("concurrency_group", "id")
    return list(lost.values_list("id", "name", "concurrency_group")[:limit])
