"""Runs that a person approves before they start: approving and rejecting them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from scheduler.models import JobExecution
from scheduler.operations import validation
from scheduler.operations.base import Operations
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.states import ActivityVerb, ApprovalState, ReasonCode, RunStatus
from scheduler.store import approvals
from scheduler.transient import in_transaction
from scheduler.wakeups import became_runnable

_NOTE_LENGTH = 500


def digest_of_params(execution: JobExecution) -> str:
    """Returns a text that changes with the parameters of a run and with its handler.

    Whoever approves says what he has seen by it.
    """
    seen = json.dumps([execution.handler_name, execution.params], sort_keys=True, default=str)
    return hashlib.sha256(seen.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ApprovalOperations(Operations):
    """The operations on runs that wait for an approval."""

    def approve(self, execution_id: int, *, digest: str, note: str = "") -> JobExecution:
        """Lets a run start that waits for it. `digest`: that of the params that the person saw.

        Raises NotPossible if it does not wait, if its time is over or if its params have changed,
        and Frozen while a freeze holds.
        """

        def work() -> JobExecution:
            execution, now = self._decide(execution_id, ApprovalState.APPROVED, digest, note)
            exception: dict[str, Any] = {}
            if execution.job_id is not None:
                exception = self._check_freezes([execution.job_id], now)
            known = approvals.of_run(execution_id)
            # An exception does not wait for the end of the freeze either.
            starts_at = known.starts_at if known is not None and not exception else now
            approvals.release(execution_id, max(now, starts_at))
            facts = {"reason": note, "digest": digest, **exception}
            self._remember_execution(ActivityVerb.APPROVED, execution, now, **facts)
            if starts_at <= now:
                became_runnable(execution.queue)
            return JobExecution.objects.get(pk=execution_id)

        return in_transaction(work)

    def reject(self, execution_id: int, *, digest: str, note: str = "") -> JobExecution:
        """Skips a run that waits for an approval. Raises NotPossible as `approve`."""

        def work() -> JobExecution:
            execution, now = self._decide(execution_id, ApprovalState.REJECTED, digest, note)
            by = self.actor.name
            reason = f"rejected by {by or 'a person'}" + (f": {note}" if note else "")
            facts = {"by": by, "note": note}
            approvals.skip(
                [execution_id], now=now, code=ReasonCode.REJECTED, reason=reason, facts=facts
            )
            self._remember_execution(ActivityVerb.REJECTED, execution, now, reason=note)
            return JobExecution.objects.get(pk=execution_id)

        return in_transaction(work)

    def _decide(
        self, execution_id: int, state: ApprovalState, digest: str, note: str
    ) -> tuple[JobExecution, datetime]:
        problem = validation.text_problem(note, _NOTE_LENGTH)
        if problem:
            raise InvalidJob({"note": [problem]})
        execution = approvals.lock(execution_id)
        # Read after the lock: the time may have run out while it was awaited.
        now = self.clock.now()
        waits = execution.status == RunStatus.PENDING
        if not waits or execution.reason_code != ReasonCode.AWAITS_APPROVAL:
            facts = {"id": execution_id}
            raise NotPossible(
                _("execution #%(id)s does not wait for an approval") % facts,
                general=_("it does not wait for an approval"),
            )
        if digest != digest_of_params(execution):
            raise NotPossible(
                _("the parameters have changed since you looked at them: look at them again")
            )
        by = self.actor.name
        if not approvals.decide(execution_id, state, by=by, note=note, digest=digest, now=now):
            raise NotPossible(_("the time in which it could be approved is over"))
        return execution, now

    def _ask_or_approve(
        self, ids: Collection[int], now: datetime, *, by_person: bool = True
    ) -> set[int]:
        """New runs, or ended ones that are PENDING again: which of them must wait for an approval?

        If a person who may approve them has asked for them, they are approved at once. Returns
        those that wait.
        """
        asked = approvals.need(ids)
        if self.may_approve and by_person:
            approvals.record(asked, by=self.actor.name, now=now)
            return set()
        approvals.ask(asked, now)
        return set(asked)
