"""Backfills and their executions.

The cursor moves in the transaction that inserts the executions, under the backfill's row lock: so
each slot of a backfill gets exactly one execution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Avg, Count, Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from scheduler.models import Backfill, CronJob, JobExecution
from scheduler.states import (
    ENDED_BACKFILLS,
    FINAL,
    UNFINISHED,
    BackfillState,
    ParamSource,
    ReasonCode,
    RunStatus,
)
from scheduler.store import places, shard_changes, waits
from scheduler.store.connection import execute, lock_in_order, lock_skipping
from scheduler.store.executions import cancel_all_pending
from scheduler.store.shard_changes import Cancelled
from scheduler.store.waits import NEVER, Wait

_UNFINISHED = sorted(UNFINISHED)
_TRIES = 20
# As the overlap key of a job's run: it has no guard. Keys of calls are negative.
_NO_GUARD = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """An execution to be made for a slot."""

    slot: datetime
    params: dict[str, Any]
    waits: tuple[Wait, ...] = ()
    """The upstream jobs that must succeed first."""


# --- a person asks --------------------------------------------------------------------------------


def create(**values: Any) -> Backfill:
    return Backfill.objects.create(**values)


def make_group(ids: Sequence[int]) -> None:
    """Let these new backfills know each other. The first one stands for all."""
    Backfill.objects.filter(id__in=ids).update(group_id=ids[0])


def others_of(backfill_id: int) -> list[int]:
    """The other backfills of the chain whose first one this is, by id."""
    others = Backfill.objects.filter(group_id=backfill_id).exclude(id=backfill_id)
    return list(others.order_by("id").values_list("id", flat=True))


def lock(backfill_id: int) -> Backfill:
    """The backfill, locked until the transaction ends. Waits for a beat that holds it."""
    return Backfill.objects.select_for_update().get(pk=backfill_id)


def set_state(
    backfill_id: int, state: BackfillState, *, ended_at: datetime | None = None, error: str = ""
) -> None:
    """Set the state of a locked backfill."""
    Backfill.objects.filter(id=backfill_id).update(
        state=state, ended_at=ended_at, error=error[:1000]
    )


def cancel_pending(backfill_id: int, *, now: datetime, reason: str) -> Cancelled:
    """Its executions that wait -> CANCELLED at once."""
    waiting = lock_in_order(_runs_of(backfill_id).filter(status=RunStatus.PENDING))
    ids = list(waiting.values_list("id", flat=True))
    rows = JobExecution.objects.filter(id__in=ids)
    changed = cancel_all_pending(rows, now=now, reason=reason, **_why(backfill_id))
    return Cancelled(changed=changed, queues=set(), reserved=places.reserved_by(ids))


def request_cancel(backfill_id: int, *, now: datetime, reason: str) -> Cancelled:
    """Ask the workers of its executions that run to cancel them."""
    rows = _runs_of(backfill_id)
    return shard_changes.cancel(rows, now=now, reason=reason, **_why(backfill_id))


def _runs_of(backfill_id: int) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(backfill_id=backfill_id)


def _why(backfill_id: int) -> dict[str, Any]:
    return {"code": ReasonCode.BACKFILL_CANCELLED, "facts": {"backfill": backfill_id}}


def delete(backfill_id: int) -> bool:
    """Delete a backfill that has ended. Its executions stay in the history."""
    with transaction.atomic():
        gone = Backfill.objects.filter(id=backfill_id, state__in=ENDED_BACKFILLS).delete()[0] > 0
        if gone:
            JobExecution.objects.filter(backfill_id=backfill_id).update(backfill_id=None)
    return gone


# --- beat makes its executions --------------------------------------------------------------------


def any_active() -> bool:
    """Is there an active backfill? One index probe."""
    return _active().order_by("id").values_list("id", flat=True).first() is not None


def with_room(after: int, limit: int) -> list[tuple[int, int]]:
    """(id, job id) of up to `limit` active backfills with room, in the order of their ids.

    Room: fewer executions are unfinished than `parallelism` allows. Only ids after `after`.
    """
    unfinished = (
        JobExecution.objects.filter(backfill_id=OuterRef("pk"), status__in=_UNFINISHED)
        .order_by()
        .values("backfill_id")
        .annotate(number=Count("*"))
        .values("number")
    )
    ready = (
        _active()
        .filter(id__gt=after)
        .annotate(unfinished=Coalesce(Subquery(unfinished), 0))
        .filter(unfinished__lt=F("parallelism"))
    )
    return list(ready.order_by("id").values_list("id", "job_id")[:limit])


def _active() -> Any:
    return Backfill.objects.filter(state=BackfillState.ACTIVE)


# The lock that inserting an execution takes on its job. Taken before the backfill's lock, in the
# same order as by whoever deletes the job.
_HOLD_JOB = {
    "postgresql": "SELECT id FROM cron_jobs WHERE id = %s FOR KEY SHARE",
    "mysql": "SELECT id FROM cron_jobs WHERE id = %s LOCK IN SHARE MODE",
}


def claim(backfill_id: int, job_id: int) -> tuple[Backfill, CronJob] | None:
    """An active backfill, locked, and its job. None: it has ended, or another beat has it."""
    if connection.vendor in _HOLD_JOB:
        execute(_HOLD_JOB[connection.vendor], [job_id])
    found: Backfill | None = lock_skipping(_active().filter(id=backfill_id)).first()
    job = CronJob.objects.filter(id=job_id).first()
    return (found, job) if found is not None and job is not None else None


def unfinished(backfill_id: int) -> int:
    return JobExecution.objects.filter(backfill_id=backfill_id, status__in=_UNFINISHED).count()


def make_runs(backfill: Backfill, job: CronJob, runs: Sequence[Run], *, now: datetime) -> None:
    """Insert a PENDING execution for each of `runs`. The caller moves the cursor."""
    for _ in range(_TRIES):
        instants = _free_instants(job.pk, now, len(runs))
        rows = [
            JobExecution(
                job=job,
                backfill=backfill,
                job_name=job.name,
                handler_name=job.handler_name,
                scheduled_time=scheduled_time,
                logical_time=run.slot,
                requested_by=backfill.requested_by,
                params=run.params,
                param_source=ParamSource.BACKFILL,
                max_retry=job.max_retry,
                timeout_seconds=job.timeout_seconds,
                queue=job.queue,
                priority=job.priority,
                available_at=NEVER if run.waits else now,
                reason_code=ReasonCode.UPSTREAM_AWAITED if run.waits else None,
                overlap_key=_NO_GUARD if backfill.ignores_overlap else None,
                created_at=now,
            )
            for run, scheduled_time in zip(runs, instants, strict=True)
        ]
        try:
            with transaction.atomic():
                JobExecution.objects.bulk_create(rows)
        except IntegrityError:
            continue  # meanwhile a manual run has taken one of these instants
        break
    else:
        raise RuntimeError(f"no free instants for {len(runs)} runs of {job} at {now}")
    for run, instant in zip(runs, instants, strict=True):
        for wait in run.waits:
            waits.record([job.pk], instant, wait, not_before=now)
    Backfill.objects.filter(id=backfill.pk).update(made=F("made") + len(runs))


def move_cursor(backfill_id: int, cursor: datetime) -> None:
    """The slots of a locked backfill are settled up to `cursor`, in its order."""
    Backfill.objects.filter(id=backfill_id).update(cursor=cursor)


def made_since(backfill_id: int, since: datetime) -> int:
    """How many of its runs were made after then."""
    return JobExecution.objects.filter(backfill_id=backfill_id, created_at__gt=since).count()


def settled_slots(job_id: int, slots: Sequence[datetime]) -> set[datetime]:
    """Those of these slots that have a run that has succeeded, waits or goes on."""
    if not slots:
        return set()
    runs = JobExecution.objects.filter(
        job_id=job_id, status__in=[*_UNFINISHED, RunStatus.SUCCESS], scheduled_time__gte=min(slots)
    )
    own = runs.filter(scheduled_time__in=slots).values_list("scheduled_time", flat=True)
    stands_for = runs.filter(logical_time__in=slots).values_list("logical_time", flat=True)
    return {slot for slot in (*own, *stands_for) if slot is not None}


def group_of(group_id: int) -> dict[int, int]:
    """The backfills of a chain of jobs, by job."""
    rows = Backfill.objects.filter(group_id=group_id).order_by("id")
    return dict(rows.values_list("job_id", "id"))


def _free_instants(job_id: int, now: datetime, count: int) -> list[datetime]:
    """Instants from `now` on that no execution of the job has.

    None of them is a whole second, because whole seconds are slots.
    """
    near = JobExecution.objects.filter(
        job_id=job_id, scheduled_time__gte=now, scheduled_time__lt=now + timedelta(seconds=1)
    )
    newest = near.order_by("-scheduled_time").values_list("scheduled_time", flat=True).first()
    instant = now if newest is None else newest + timedelta(microseconds=1)
    found: list[datetime] = []
    while len(found) < count:
        if instant.microsecond:
            found.append(instant)
        instant += timedelta(microseconds=1)
    return found


def end(
    backfill_id: int,
    state: BackfillState,
    *,
    now: datetime,
    error: str = "",
    total: int | None = None,
) -> bool:
    """An active backfill -> DONE, or -> CANCELLED with what is wrong (`error`)."""
    changes: dict[str, Any] = {"state": state, "ended_at": now, "error": error[:1000]}
    if total is not None:
        changes["total"] = total
    changed: int = _active().filter(id=backfill_id).update(**changes)
    return changed == 1


# --- how far it is --------------------------------------------------------------------------------


def counts(backfill_id: int) -> dict[RunStatus, int]:
    """How many of its executions have each status, without those that retention has deleted."""
    rows = (
        JobExecution.objects.filter(backfill_id=backfill_id)
        .order_by()
        .values_list("status")
        .annotate(number=Count("*"))
    )
    return {RunStatus(status): number for status, number in rows}


def unfinished_of(backfill_ids: Sequence[int]) -> dict[int, int]:
    """How many executions of each backfill have not ended. A backfill without any is left out."""
    rows = (
        JobExecution.objects.filter(backfill_id__in=backfill_ids, status__in=_UNFINISHED)
        .order_by()
        .values_list("backfill_id")
        .annotate(number=Count("*"))
    )
    return {backfill_id: number for backfill_id, number in rows if backfill_id is not None}


def mean_duration(backfill_id: int) -> timedelta | None:
    """The mean duration of its executions that have run and ended. None: there are none."""
    ended = JobExecution.objects.filter(
        backfill_id=backfill_id, status__in=sorted(FINAL), started_at__isnull=False
    )
    found: timedelta | None = ended.aggregate(mean=Avg(F("finished_at") - F("started_at")))["mean"]
    return found


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` backfills that ended before `before` and have no executions left."""
    has_runs = Exists(JobExecution.objects.filter(backfill_id=OuterRef("pk")))
    old = Backfill.objects.filter(Q(state__in=ENDED_BACKFILLS), ~has_runs, ended_at__lt=before)
    ids = list(old.order_by("id").values_list("id", flat=True)[:limit])
    return Backfill.objects.filter(id__in=ids).delete()[0] if ids else 0
