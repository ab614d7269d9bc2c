"""Runs of a job that must not overlap: who runs, who waits, and who is next."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet

from scheduler.models import JobExecution
from scheduler.states import OverlapPolicy, RunStatus
from scheduler.store.runs import Candidate

# A run held back by another run of its job asks again after this, if nobody wakes it before.
HELD_SECONDS = 5
# With others in front of it, it asks more rarely: a second for each of them, within these bounds.
_IN_LINE_SECONDS = (60, 600)


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
