"""What a claim does with rows that may not run, and what it asks of the parents of shards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.models import JobExecution
from scheduler.states import UNFINISHED, ReasonCode, RunStatus
from scheduler.store import shard_changes
from scheduler.store.candidates import Candidate
from scheduler.store.overlap import Decision, Step
from scheduler.transient import in_transaction


@dataclass(frozen=True, kw_only=True)
class _Parent:
    """What the claim of a shard asks of its parent."""

    status: str
    job_id: int | None
    backoff_seconds: int | None
    backoff_max_seconds: int | None


def may_not_run(row: Candidate) -> Decision | None:
    """Only SQL leaves such rows. They are ended, or they would stay in front of all others."""
    if row.is_cancelled:
        return Decision(
            step=Step.CANCEL,
            reason="cancelled by SQL before it was claimed",
            code=ReasonCode.CANCELLED_BY_PERSON,
        )
    if row.is_orphan:
        return Decision(
            step=Step.CANCEL,
            reason="cancelled because its job was deleted",
            code=ReasonCode.JOB_DELETED,
        )
    return None


def with_parents(
    rows: Sequence[Candidate],
) -> tuple[Sequence[Candidate], list[tuple[Candidate, Decision]]]:
    """Shards learn what they need of their parents. Returns also those that may not run.

    Costs nothing where there is no shard.
    """
    wanted = [row.parent_id for row in rows if row.parent_id is not None]
    if not wanted:
        return rows, []
    parents = _parents_of(wanted)
    known: list[Candidate] = []
    held: list[tuple[Candidate, Decision]] = []
    for row in rows:
        parent_id = row.parent_id
        if parent_id is None:
            known.append(row)
            continue
        parent = parents.get(parent_id)
        known.append(row if parent is None else _of_parent(row, parent))
        decision = _behind_parent(parent_id, None if parent is None else parent.status)
        if decision is not None and may_not_run(row) is None:
            held.append((row, decision))
    return known, held


def _of_parent(row: Candidate, parent: _Parent) -> Candidate:
    return replace(
        row,
        parents_job_id=parent.job_id,
        retry_backoff_seconds=parent.backoff_seconds,
        retry_backoff_max_seconds=parent.backoff_max_seconds,
    )


def _behind_parent(parent_id: int, status: str | None) -> Decision | None:
    if status == RunStatus.FANNED_OUT:
        return None
    if status in UNFINISHED:
        return Decision(
            step=Step.PUT_OFF,
            reason=f"waits until #{parent_id} begins again",
            code=ReasonCode.WAITS_FOR_PARENT,
        )
    return Decision(
        step=Step.CANCEL,
        reason=f"cancelled because #{parent_id} has ended",
        code=ReasonCode.PARENT_ENDED,
        facts={"parent": parent_id},
    )


def _parents_of(ids: Collection[int]) -> dict[int, _Parent]:
    """What claims of shards ask of their parents, by id. Without those that are gone."""
    rows = JobExecution.objects.filter(id__in=sorted(set(ids))).values_list(
        "id", "status", "job_id", "job__retry_backoff_seconds", "job__retry_backoff_max_seconds"
    )
    return {
        id_: _Parent(
            status=status,
            job_id=job_id,
            backoff_seconds=backoff_seconds,
            backoff_max_seconds=backoff_max_seconds,
        )
        for id_, status, job_id, backoff_seconds, backoff_max_seconds in rows
    }


def end_parents(held: Sequence[tuple[Candidate, Decision]], now: datetime) -> None:
    """End the parents of shards that were given up. Beat does it if this process is killed here."""
    parents = {
        row.parent_id
        for row, decision in held
        if row.parent_id is not None and decision.step == Step.CANCEL
    }
    if parents:
        in_transaction(lambda: shard_changes.settle(parents, now=now))
