"""What all operations share: the actor, the clock, the settings, and the entry in the history."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from scheduler.clock import Clock, DatabaseClock
from scheduler.conf import SchedulerSettings, current
from scheduler.models import Activity, Backfill, CronJob, JobExecution
from scheduler.operations.actor import NOBODY, Actor
from scheduler.operations.frozen import check_freezes
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity
from scheduler.store.connection import database_now

_Kind = TypeVar("_Kind", bound="Operations")


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Base of the operations. Each commits on its own, together with its entry in the history.

    `despite_freeze`: the actor lets runs start although a freeze holds. `may_approve`: runs that
    the actor asks for need no further approval. The doors ask who may.
    """

    actor: Actor = NOBODY
    despite_freeze: bool = False
    may_approve: bool = False
    clock: Clock = field(default_factory=lambda: DatabaseClock(database_now, max_age_seconds=0))

    @property
    def settings(self) -> SchedulerSettings:
        """Returns the current settings."""
        return current()

    def of(self, kind: type[_Kind]) -> _Kind:
        """Returns operations of another kind for the same actor."""
        return kind(
            actor=self.actor,
            clock=self.clock,
            despite_freeze=self.despite_freeze,
            may_approve=self.may_approve,
        )

    def _check_freezes(self, job_ids: Collection[int], now: datetime) -> dict[str, Any]:
        """Raises Frozen. Returns what the history remembers of an exception."""
        return check_freezes(job_ids, now, self.settings, despite=self.despite_freeze)

    def _remember_job(
        self, verb: ActivityVerb, job: CronJob, now: datetime, **facts: Any
    ) -> Activity:
        return self._remember(verb, TargetKind.JOB, job.pk, job.name, now, facts)

    def _remember_execution(
        self, verb: ActivityVerb, execution: JobExecution, now: datetime, **facts: Any
    ) -> Activity:
        return activity.record(self._entry_of_execution(verb, execution, now, facts))

    def _remember_executions(
        self, verb: ActivityVerb, found: Iterable[JobExecution], now: datetime, **facts: Any
    ) -> None:
        """An entry for each, in few statements."""
        activity.record_all(self._entry_of_execution(verb, row, now, facts) for row in found)

    def _entry_of_execution(
        self, verb: ActivityVerb, execution: JobExecution, now: datetime, facts: dict[str, Any]
    ) -> activity.Entry:
        name = execution.job_name or execution.handler_name
        return self._entry(verb, TargetKind.EXECUTION, execution.pk, name, now, facts)

    def _remember_backfill(
        self, verb: ActivityVerb, backfill: Backfill, now: datetime, **facts: Any
    ) -> Activity:
        job = CronJob.objects.only("name").filter(pk=backfill.job_id).first()
        name = job.name if job else ""
        return self._remember(verb, TargetKind.BACKFILL, backfill.pk, name, now, facts)

    def _remember(
        self,
        verb: ActivityVerb,
        kind: TargetKind,
        target_id: int | None,
        name: str,
        now: datetime,
        facts: dict[str, Any],
    ) -> Activity:
        """Writes the entry.

        `now` must be the instant that the operation has written on the row itself, because readers
        find the entry of a change by this instant.
        """
        return activity.record(self._entry(verb, kind, target_id, name, now, facts))

    def _entry(
        self,
        verb: ActivityVerb,
        kind: TargetKind,
        target_id: int | None,
        name: str,
        now: datetime,
        facts: dict[str, Any],
    ) -> activity.Entry:
        if self.actor.token:
            facts = {**facts, "token": self.actor.token}
        return activity.Entry(
            at=now,
            actor=self.actor.name,
            user_id=self.actor.user_id,
            door=self.actor.door,
            verb=verb,
            target_kind=kind,
            target_id=target_id,
            target_name=name,
            facts=facts,
        )
