"""What an edit of limits changes for runs that wait or go on, and which groups there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef

from scheduler.concurrency import JobLimits, Place, guard_of_group, guard_of_job, places_of
from scheduler.models import ConcurrencyGroup, CronJob, JobExecution
from scheduler.states import OverlapPolicy, RunStatus
from scheduler.store import overlap, places
from scheduler.store.connection import lock_skipping
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
    limits = JobLimits(
        max_running=job.max_running, group=job.concurrency_group, key_path=job.concurrency_key
    )
    if limits.max_running is None and not limits.group:
        return set(queues.values())
    may_overlap = job.overlap_policy == OverlapPolicy.ALLOW
    going = {
        id_: places_of(
            limits, job_id=job.pk, may_overlap=may_overlap, params=params, is_shard=is_shard
        )
        for is_shard, rows in both
        for id_, params in rows.filter(status=RunStatus.RUNNING).values_list("id", "params")
    }
    if guards := {place.guard for each in going.values() for place in each}:
        overlap.lock_guards((), guards)
        places.take_over(going, now)
    return set(queues.values())


def _look_anew(ids: list[int], now: datetime) -> None:
    for start in range(0, len(ids), _AT_ONCE):
        some = JobExecution.objects.filter(
            id__in=ids[start : start + _AT_ONCE], status=RunStatus.PENDING
        )
        some.update(in_line=None, available_at=now)


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
    return _settled(name, now)


def delete_group(name: str, *, now: datetime) -> set[str]:
    """Delete a group that no job names and that is locked. What waits for it starts without it."""
    ConcurrencyGroup.objects.filter(name=name).delete()
    return _settled(name, now)


def _settled(name: str, now: datetime) -> set[str]:
    place = Place(guard=guard_of_group(name), group=name)
    return places.settle([place], now, all_keys=True)


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
