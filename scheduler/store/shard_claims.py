"""What a claim does with rows that may not run, and what it asks of the parents of shards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from scheduler.concurrency import JobLimits
from scheduler.models import JobExecution
from scheduler.states import UNFINISHED, ReasonCode, RunStatus
from scheduler.store import shard_changes
from scheduler.store.candidates import Candidate, next_shards
from scheduler.store.overlap import Decision, Step
from scheduler.transient import in_transaction

# So many shards at most leave the front of their queue with the first one that must wait.
_AT_ONCE: Final = 500


@dataclass(frozen=True, kw_only=True)
class Locked:
    """The rows that a claim has locked, most urgent first."""

    rows: Sequence[Candidate] = ()
    may_run: Sequence[Candidate] = ()
    held: Sequence[tuple[Candidate, Decision]] = ()
    """Those that may not run, and what becomes of them."""

    @property
    def guards(self) -> set[int]:
        """The guards that the claim must lock: of the runs' overlap and of their limits."""
        keys = {key for row in self.may_run if (key := row.guard) is not None}
        keys.update(place.guard for row in self.may_run for place in row.places)
        return keys


def look_at(rows: Sequence[Candidate]) -> Locked:
    """Shards learn what they need of their parents. Costs nothing where there is no shard.

    Nothing of a parent changes meanwhile: it goes on while one of its shards is PENDING, and
    whoever changes that waits for the lock of this claim.
    """
    wanted = {row.parent_id for row in rows if row.parent_id is not None}
    parents = _parents_of(wanted) if wanted else {}
    known: list[Candidate] = []
    may_run: list[Candidate] = []
    held: list[tuple[Candidate, Decision]] = []
    for row in rows:
        decision = _may_not_run(row)
        if row.parent_id is not None:
            parent = parents.get(row.parent_id)
            row = row if parent is None else _of_parent(row, parent)
            decision = decision or _behind_parent(row, parent)
        known.append(row)
        if decision is None:
            may_run.append(row)
        else:
            held.append((row, decision))
    return Locked(rows=known, may_run=may_run, held=held)


def siblings(
    refused: Iterable[Candidate], rows: Collection[Candidate], now: datetime
) -> list[Candidate]:
    """Further shards of the parents of these, locked, which the next claims would meet.

    A limit has refused these. So that the others do not delay the queue one claim after the other,
    they look for a place at once. `rows`: what the claim has locked.
    """
    known = {row.id for row in rows}
    return [
        # As the one before has read it: the guards of these limits are locked.
        replace(
            shard,
            parents_job_id=one.parents_job_id,
            overlap_policy=one.overlap_policy,
            limits=one.limits,
        )
        for parent_id, one in {row.parent_id: row for row in refused}.items()
        if parent_id is not None
        for shard in next_shards(parent_id, _AT_ONCE, now)
        if shard.id not in known and _may_not_run(shard) is None
    ]


def _may_not_run(row: Candidate) -> Decision | None:
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


@dataclass(frozen=True, kw_only=True)
class _Parent:
    """What the claim of a shard asks of its parent and the job of that."""

    status: str
    job_id: int | None
    backoff_seconds: int | None
    backoff_max_seconds: int | None
    overlap_policy: str | None
    limits: JobLimits | None


def _parents_of(ids: Collection[int]) -> dict[int, _Parent]:
    """What claims of shards ask of their parents, by id. Without those that are gone."""
    rows = JobExecution.objects.filter(id__in=sorted(ids)).values_list(
        "id", "status", "job_id", "job__retry_backoff_seconds", "job__retry_backoff_max_seconds",
        "job__overlap_policy", "job__max_running", "job__concurrency_group", "job__concurrency_key",
    )  # fmt: skip
    return {
        id_: _Parent(
            status=status,
            job_id=job_id,
            backoff_seconds=backoff,
            backoff_max_seconds=longest,
            overlap_policy=policy,
            limits=JobLimits.of(most, group, key),
        )
        for id_, status, job_id, backoff, longest, policy, most, group, key in rows
    }


def _of_parent(row: Candidate, parent: _Parent) -> Candidate:
    return replace(
        row,
        parents_job_id=parent.job_id,
        retry_backoff_seconds=parent.backoff_seconds,
        retry_backoff_max_seconds=parent.backoff_max_seconds,
        overlap_policy=parent.overlap_policy,
        limits=parent.limits,
    )


def _behind_parent(row: Candidate, parent: _Parent | None) -> Decision | None:
    if parent is not None and parent.status == RunStatus.FANNED_OUT:
        return None
    if parent is not None and parent.status in UNFINISHED:
        return Decision(
            step=Step.PUT_OFF,
            reason=f"waits until #{row.parent_id} begins again",
            code=ReasonCode.WAITS_FOR_PARENT,
        )
    return Decision(
        step=Step.CANCEL,
        reason=f"cancelled because #{row.parent_id} has ended",
        code=ReasonCode.PARENT_ENDED,
        facts={"parent": row.parent_id},
    )


def end_parents(held: Sequence[tuple[Candidate, Decision]], now: datetime) -> None:
    """End the parents of shards that were given up. Beat does it if this process is killed here."""
    parents = {
        row.parent_id
        for row, decision in held
        if row.parent_id is not None and decision.step == Step.CANCEL
    }
    if parents:
        in_transaction(lambda: shard_changes.settle(parents, now=now))
