"""Runs of a job that must not overlap: which one runs, which ones wait, which one is next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q, QuerySet

from scheduler.models import JobExecution
from scheduler.states import OverlapPolicy, ParamSource, ReasonCode, RunStatus
from scheduler.store.endings import not_before_start
from scheduler.store.runs import Candidate

# How long the first run in line waits before it asks again, if nobody wakes it before.
HELD_SECONDS = 5
# The others ask more rarely: a second for each run before them, within these bounds.
_IN_LINE_SECONDS = (60, 600)
# An event may ask for a run in a month. Until then it stands for no work that waits now, so no run
# of the job is given up for it.
_WAITS_FOR_THE_TIME_OF_ITS_EVENT = Q(param_source=ParamSource.EVENT, attempt=0, publish_count=0)


def running_execution(running_key: int) -> int | None:
    """The id of the run that holds the running_key."""
    return _first_id(JobExecution.objects.filter(running_key=running_key))


def waits_before(row: Candidate, *, now: datetime) -> list[int]:
    """Older executions of the same job that only wait for their turn; as many as `hold` counts."""
    their_turn = Q(available_at__lte=now) | Q(publish_count__gt=0)  # see `hold`
    older = _pending_of(row).filter(their_turn, id__lt=row.id)
    # Not ordered: for an order by id the database might walk the whole history.
    return list(older.values_list("id", flat=True)[: _IN_LINE_SECONDS[1]])


def waits_for_its_time(row: Candidate, *, now: datetime) -> tuple[int, bool] | None:
    """An older execution of the same job that may not start yet.

    The flag says what it waits for: True its next attempt, False its jitter.
    """
    asleep = _pending_of(row).filter(id__lt=row.id, available_at__gt=now, publish_count=0)
    asleep = asleep.exclude(_WAITS_FOR_THE_TIME_OF_ITS_EVENT)
    for id_, attempt in asleep.values_list("id", "attempt")[:1]:
        return id_, attempt > 0
    return None


def waits_behind(row: Candidate, *, now: datetime) -> int | None:
    """The newest execution of the same job that waits and is younger."""
    younger = _pending_of(row).filter(id__gt=row.id)
    younger = younger.exclude(_WAITS_FOR_THE_TIME_OF_ITS_EVENT, available_at__gt=now)
    return _first_id(younger.order_by("-id"))


def _first_id(rows: QuerySet[JobExecution]) -> int | None:
    return rows.values_list("id", flat=True).first()


def _pending_of(row: Candidate) -> QuerySet[JobExecution]:
    return _pending(row.overlap_key or 0 if row.job_id is None else row.job_id)


def _pending(running_key: int) -> QuerySet[JobExecution]:
    """The PENDING executions that would hold this key. Ids of jobs are positive, others are not."""
    pending = JobExecution.objects.filter(status=RunStatus.PENDING)
    if running_key > 0:
        return pending.filter(job_id=running_key)
    return pending.filter(overlap_key=running_key)


def hold(
    execution_id: int, *, now: datetime, running: int | None = None, in_front: int = 0
) -> bool:
    """Make a PENDING run wait, because `running` goes on and `in_front` older runs wait before it.

    The run that ends wakes the next one (`wake_waiting`). Should that be lost, this one asks again
    after a time that grows with `in_front`.
    """
    shortest, longest = _IN_LINE_SECONDS
    seconds = min(max(in_front, shortest), longest) if in_front else HELD_SECONDS
    later = now + timedelta(seconds=seconds)
    pending = JobExecution.objects.filter(id=execution_id, status=RunStatus.PENDING)
    held = pending.update(
        available_at=later,
        publish_at=later,
        # Reset to 1, not to 0: a count of 0 marks runs that wait for their time (back-off, jitter),
        # and `wake_waiting` must skip those.
        publish_count=1,
        reason_code=ReasonCode.OVERLAP_HELD,
        reason_facts={"running": running},
    )
    return held == 1


def skip(
    execution_id: int, *, now: datetime, reason: str, code: ReasonCode, facts: Mapping[str, Any]
) -> bool:
    """PENDING -> SKIPPED, with the reason. For a run that has had no attempt."""
    return _give_up(execution_id, RunStatus.SKIPPED, now, reason, code, facts)


def cancel_waiting(
    execution_id: int, *, now: datetime, reason: str, code: ReasonCode, facts: Mapping[str, Any]
) -> bool:
    """PENDING -> CANCELLED, with the reason. For a run that has had attempts: SKIPPED would say
    that it never ran.
    """
    return _give_up(execution_id, RunStatus.CANCELLED, now, reason, code, facts)


def _give_up(
    execution_id: int,
    status: RunStatus,
    now: datetime,
    reason: str,
    code: ReasonCode,
    facts: Mapping[str, Any],
) -> bool:
    pending = JobExecution.objects.filter(id=execution_id, status=RunStatus.PENDING)
    changed = pending.update(
        status=status,
        finished_at=not_before_start(now),
        publish_at=None,
        error_message=reason,
        reason_code=code,
        reason_facts=dict(facts),
    )
    return changed == 1


def wake_waiting(running_key: int, *, now: datetime) -> bool:
    """Let the next held run try at once, because the run that held the running_key has ended.

    The next one is the oldest, under policy `replace` the newest. The others could not run anyway.
    """
    held = _pending(running_key).filter(available_at__gt=now, publish_count__gt=0)
    # For an order by the plain id the database might walk the whole history.
    by_id = F("id") + 0
    found = held.order_by(by_id).values_list("id", "job__overlap_policy").first()
    if found is None:
        return False
    id_, policy = found
    if policy == OverlapPolicy.REPLACE:
        id_ = held.order_by(by_id.desc()).values_list("id", flat=True).first() or id_
    # Only if it is still held: meanwhile it may have run, failed, and wait for its next attempt.
    woken = held.filter(id=id_).update(available_at=now, publish_at=now, publish_count=0)
    return woken == 1
