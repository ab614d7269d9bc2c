"""Runs that wait until a person approves them.

Such a run is PENDING from NEVER on, so that no claim has to ask whether it is approved. Its row of
`jobu_run_approvals` says until when a person can decide. Everybody who decides locks the execution
first and then changes the row from WAITING: so there is one verdict.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import QuerySet

from scheduler.models import JobExecution, RunApproval
from scheduler.schedule import LAST_INSTANT
from scheduler.states import ApprovalState, ReasonCode, RunStatus
from scheduler.store.connection import from_json, lock_in_order, to_json

#: `available_at` of a run that nobody has approved.
NEVER: Final = LAST_INSTANT


def of_slots(job_ids: Collection[int], slots: Collection[datetime], made_at: datetime) -> list[int]:
    """The PENDING runs that were recorded just now for these slots."""
    rows = JobExecution.objects.filter(
        job_id__in=sorted(job_ids),
        scheduled_time__in=sorted(slots),
        status=RunStatus.PENDING,
        created_at=made_at,
    )
    return list(rows.values_list("id", flat=True))


def need(ids: Collection[int]) -> list[int]:
    """Those of these PENDING runs whose jobs ask for an approval that they do not have yet."""
    rows = JobExecution.objects.filter(
        id__in=sorted(ids), status=RunStatus.PENDING, job__approval_seconds__gt=0
    )
    asking = list(rows.order_by("id").values_list("id", flat=True))
    if not asking:
        return []
    approved = RunApproval.objects.filter(execution_id__in=asking, state=ApprovalState.APPROVED)
    has = set(approved.values_list("pk", flat=True))
    return [id_ for id_ in asking if id_ not in has]


def ask(ids: Collection[int], now: datetime) -> None:
    """Let these PENDING runs, which are new or were ended, wait for an approval."""
    if not ids:
        return
    rows = JobExecution.objects.filter(id__in=sorted(ids), status=RunStatus.PENDING)
    columns = ("id", "available_at", "reason_code", "reason_facts", "job__approval_seconds")
    waiting: list[RunApproval] = []
    alike: dict[tuple[datetime, str | None], list[int]] = {}
    for id_, available_at, code, facts, seconds in rows.order_by("id").values_list(*columns):
        if not seconds:
            continue
        expires_at = max(now, available_at) + timedelta(seconds=seconds)
        waiting.append(
            RunApproval(
                execution_id=id_,
                state=ApprovalState.WAITING,
                starts_at=available_at,
                expires_at=expires_at,
            )
        )
        # Whoever changes the freeze finds the runs that it holds by these facts.
        freeze = to_json(facts) if code == ReasonCode.FROZEN_HELD else None
        alike.setdefault((expires_at, freeze), []).append(id_)
    RunApproval.objects.filter(execution_id__in=[each.pk for each in waiting]).delete()
    RunApproval.objects.bulk_create(waiting)
    for (expires_at, freeze), chosen in alike.items():
        until = expires_at.isoformat()
        rows.filter(id__in=chosen).update(
            available_at=NEVER,
            error_message=f"waits for an approval until {until}",
            reason_code=ReasonCode.AWAITS_APPROVAL,
            reason_facts={**(from_json(freeze) or {}), "until": until},
        )


def record(ids: Collection[int], *, by: str, now: datetime) -> None:
    """A person who may approve these PENDING runs has asked for them: they are approved."""
    RunApproval.objects.filter(execution_id__in=sorted(ids)).delete()
    RunApproval.objects.bulk_create(
        RunApproval(
            execution_id=id_,
            state=ApprovalState.APPROVED,
            starts_at=now,
            expires_at=now,
            decided_by=by[:150],
            decided_at=now,
        )
        for id_ in sorted(ids)
    )


def of_run(execution_id: int) -> RunApproval | None:
    return RunApproval.objects.filter(execution_id=execution_id).first()


def lock(execution_id: int) -> JobExecution:
    """The execution, locked until the transaction ends. JobExecution.DoesNotExist."""
    rows = JobExecution.objects.filter(id=execution_id).select_related(None)
    return lock_in_order(rows).get()


def decide(
    execution_id: int, state: ApprovalState, *, by: str, note: str, digest: str, now: datetime
) -> bool:
    """WAITING -> `state`, before its time is over. The execution must be locked."""
    waiting = RunApproval.objects.filter(
        execution_id=execution_id, state=ApprovalState.WAITING, expires_at__gt=now
    )
    changed = waiting.update(
        state=state, decided_by=by[:150], decided_at=now, note=note, digest=digest
    )
    return changed == 1


def release(execution_id: int, at: datetime) -> None:
    """An approved run may start at `at`."""
    _awaiting([execution_id]).update(
        available_at=at, error_message=None, reason_code=None, reason_facts=None
    )


def skip(
    ids: Collection[int], *, now: datetime, code: ReasonCode, reason: str, facts: dict[str, Any]
) -> int:
    """PENDING -> SKIPPED. Returns how many."""
    return _awaiting(ids).update(
        status=RunStatus.SKIPPED,
        available_at=now,
        finished_at=now,
        error_message=reason,
        reason_code=code,
        reason_facts=facts,
    )


def any_over(now: datetime) -> bool:
    """Is the time of one over? One index probe."""
    over = _over(now).order_by("expires_at").values_list("pk", flat=True)
    return over.first() is not None


def expire(now: datetime, limit: int) -> int:
    """Skip the runs that nobody has approved in time. Returns how many."""
    found = dict(_over(now).order_by("expires_at").values_list("pk", "expires_at")[:limit])
    locked = list(lock_in_order(_awaiting(found)).values_list("id", flat=True))
    over = [id_ for id_ in locked if _over(now).filter(pk=id_).update(state=ApprovalState.EXPIRED)]
    for id_ in over:
        until = found[id_].isoformat()
        skip(
            [id_], now=now, code=ReasonCode.NOT_APPROVED, facts={"until": until},
            reason=f"nobody approved it until {until}",
        )  # fmt: skip
    # Cancelled meanwhile, or gone: nobody waits for them.
    _over(now).filter(pk__in=sorted(found.keys() - set(locked))).update(state=ApprovalState.EXPIRED)
    return len(over)


def _over(now: datetime) -> QuerySet[RunApproval]:
    return RunApproval.objects.filter(state=ApprovalState.WAITING, expires_at__lte=now)


def _awaiting(ids: Collection[int]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(
        id__in=sorted(ids),
        status=RunStatus.PENDING,
        reason_code=ReasonCode.AWAITS_APPROVAL,
    )
