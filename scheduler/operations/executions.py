"""What a person may do with executions: run a job, replay, send an event, cancel, retry, delete."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from scheduler.labels import label, label_of
from scheduler.models import CronJob, JobExecution
from scheduler.operations import validation
from scheduler.operations.errors import InvalidJob, KeyInUse, NotPossible, refusal
from scheduler.operations.event_digest import digest_of, is_answered_by
from scheduler.operations.reserved import give_on
from scheduler.operations.retrying import RetryOperations
from scheduler.operations.start_time import StartTime
from scheduler.operations.tracing import current_context
from scheduler.states import (
    FINAL,
    RETRYABLE,
    ActivityVerb,
    ParamSource,
    ReasonCode,
    RunStatus,
)
from scheduler.store import executions, shard_changes
from scheduler.transient import in_transaction
from scheduler.wakeups import became_runnable


@dataclass(frozen=True, kw_only=True)
class CancelledAttempt:
    """What `cancel_attempt` found and did.

    `attempt`: the one that runs, or that comes next. `is_new`: this call has asked for the cancel.
    `has_ended`: the execution is final.
    """

    attempt: int
    is_new: bool
    has_ended: bool


@dataclass(frozen=True, kw_only=True)
class ExecutionOperations(RetryOperations):
    """The operations on executions."""

    # --- new runs ---------------------------------------------------------------------------------

    def run_now(self, job_id: int, params: Mapping[str, Any] | None = None) -> JobExecution:
        """Creates a manual run. `params` replace the job's. The schedule does not change."""
        job = CronJob.objects.get(pk=job_id)
        given = job.handler_params if params is None else params
        validation.check_params(job.handler_name, given)

        def work() -> JobExecution:
            now = self.clock.now()
            exception = self._check_freezes([job.pk], now)
            execution, _ = executions.create_execution(
                job,
                handler_name=job.handler_name,
                params=given,
                source=ParamSource.MANUAL,
                now=now,
                requested_by=self.actor.name,
                trace_context=current_context(),
            )
            facts = {"execution_id": execution.pk, **exception}
            self._remember_job(ActivityVerb.RUN, job, now, **facts)
            return self._started(execution, now)

        return in_transaction(work)

    def replay(self, execution_id: int, params: object | None = None) -> JobExecution:
        """Creates a manual run of an execution's job and handler, with its params or `params`.

        The original does not change. The new run is for the same slot.
        """
        original = self._execution(execution_id)
        if original.parent_id is not None:
            facts = {"id": original.pk, "parent": original.parent_id}
            raise NotPossible(
                gettext(
                    "execution #%(id)s is a shard of #%(parent)s: replay that, or retry this one"
                )
                % facts,
                general=gettext("it is a shard: replay its parent, or retry it"),
            )
        given = original.params if params is None else params
        validation.check_params(original.handler_name, given)
        slot = original.scheduled_time if original.param_source == ParamSource.CRON else None

        def work() -> JobExecution:
            now = self.clock.now()
            exception = self._check_freezes([original.job_id] if original.job_id else [], now)
            execution, _ = executions.create_execution(
                original.job,
                handler_name=original.handler_name,
                params=given,
                source=ParamSource.MANUAL,
                now=now,
                logical_time=original.logical_time or slot,
                requested_by=self.actor.name,
                max_retry=original.max_retry,
                timeout_seconds=original.timeout_seconds,
                queue=original.queue,
                priority=original.priority,
                trace_context=current_context(),
            )
            facts = {"source_id": original.pk, **exception}
            self._remember_execution(ActivityVerb.REPLAYED, execution, now, **facts)
            return self._started(execution, now)

        return in_transaction(work)

    def event(
        self,
        *,
        params: Mapping[str, Any],
        handler_name: str = "",
        job_id: int | None = None,
        idempotency_key: str | None = None,
        at: datetime | None = None,
        after_seconds: float | None = None,
    ) -> tuple[JobExecution, bool]:
        """Creates a run for an event. With a job, the event's params are merged into the job's.

        Without a `handler_name` the job's handler runs. The run starts at once, or not before `at`,
        or not before `after_seconds` from now. Returns the run, and whether it is new. If the same
        event was sent before with this idempotency_key, no run is created and the earlier run is
        returned, also if `at` is over by now. KeyInUse: the key belongs to another event.
        """
        time = StartTime(at=at, after_seconds=after_seconds)
        time.check()
        job = CronJob.objects.get(pk=job_id) if job_id is not None else None
        merged: Any = params
        if job is not None and isinstance(params, Mapping):
            if not isinstance(job.handler_params, Mapping):  # SQL may have written another value
                raise InvalidJob({"params": [gettext("must be a JSON object")]})
            merged = {**job.handler_params, **params}
        handler = handler_name or (job.handler_name if job is not None else handler_name)
        validation.check_params(handler, merged)
        digest = None
        if idempotency_key is not None:
            digest = digest_of(handler_name=handler_name, job_id=job_id, params=params, time=time)
            problem = validation.text_problem(idempotency_key, 255, required=True)
            if problem:
                raise InvalidJob({"idempotency_key": [problem]})

        def work() -> tuple[JobExecution, bool]:
            now = self.clock.now()
            execution = executions.with_dedupe_key(idempotency_key)
            is_new = execution is None
            exception: dict[str, Any] = {}
            if execution is None:
                exception = self._check_freezes([job.pk] if job else [], now)
                execution, is_new = executions.create_execution(
                    job,
                    handler_name=handler,
                    params=merged,
                    source=ParamSource.EVENT,
                    now=now,
                    dedupe_key=idempotency_key,
                    dedupe_digest=digest,
                    requested_by=self.actor.name,
                    available_at=time.available_at(now),
                    trace_context=current_context(),
                )
            if is_new:
                self._remember_execution(ActivityVerb.EVENT, execution, now, **exception)
                # A program has sent it, whoever its token belongs to.
                execution = self._started(execution, now, by_person=False)
            elif digest is not None and not is_answered_by(
                execution, digest=digest, handler_name=handler_name, job_id=job_id
            ):
                raise KeyInUse(gettext("another event was sent with this idempotency key"))
            return execution, is_new

        return in_transaction(work)

    def _started(
        self, execution: JobExecution, now: datetime, *, by_person: bool = True
    ) -> JobExecution:
        """Returns a run that has become PENDING, after an approval has been asked for."""
        parent_id = execution.parent_id  # of a shard, which begins when its parent has begun
        ids = [execution.pk] if execution.job_id is not None else []
        ids = ids if parent_id is None else [parent_id]
        if ids and self._ask_or_approve(ids, now, by_person=by_person):
            return self._execution(execution.pk)
        if execution.available_at <= now or parent_id is not None:
            became_runnable(execution.queue)
        return execution

    # --- stop and repeat --------------------------------------------------------------------------

    def cancel(self, execution_id: int, *, reason: str = "") -> RunStatus:
        """Cancels a waiting execution, or asks the worker of a running one to stop it.

        Returns CANCELLED, RUNNING, or FANNED_OUT while shards go on. Once the execution is
        cancelled, its error_message says who asked for it and why.
        """
        statuses = self._cancel([execution_id], reason)
        if execution_id not in statuses:
            raise JobExecution.DoesNotExist
        status = statuses[execution_id]
        if status in FINAL:
            raise self._has_ended(execution_id, status)
        return RunStatus.CANCELLED if status == RunStatus.PENDING else status

    def cancel_all(self, ids: Collection[int], *, reason: str = "") -> dict[int, str]:
        """The same for many, in a few statements. Returns why some were refused, by id."""
        statuses = self._cancel(ids, reason)
        refused: dict[int, Exception] = {
            id_: self._has_ended(id_, status) for id_, status in statuses.items() if status in FINAL
        }
        refused |= {id_: JobExecution.DoesNotExist() for id_ in ids if id_ not in statuses}
        return {id_: refusal(error, is_general=True) for id_, error in refused.items()}

    def _cancel(self, ids: Collection[int], reason: str) -> dict[int, RunStatus]:
        """Returns the states before, of those that are there."""
        reason = reason.strip()
        by = f"cancelled by {self.actor.name or 'a person'}"

        def work() -> dict[int, RunStatus]:
            now = self.clock.now()
            # Locked, so that no worker claims one or puts it back between the two updates.
            rows = executions.lock_all(ids)
            reasons: Any = {
                "now": now,
                "reason": f"{by}: {reason}" if reason else by,
                "code": ReasonCode.CANCELLED_BY_PERSON,
                "facts": {"by": self.actor.name, "note": reason},
            }
            unfinished = [row for row in rows if row.status not in FINAL]
            chosen = JobExecution.objects.filter(id__in=[row.pk for row in unfinished])
            give_on(shard_changes.cancel(chosen, **reasons), self.clock)
            self._remember_executions(ActivityVerb.CANCELLED, unfinished, now, reason=reason)
            return {row.pk: RunStatus(row.status) for row in rows}

        return in_transaction(work)

    def _has_ended(self, execution_id: int, status: RunStatus) -> NotPossible:
        known = {"id": execution_id, "status": label_of(RunStatus, status)}
        return NotPossible(
            gettext("execution #%(id)s is %(status)s already") % known,
            general=gettext("it is %(status)s already") % known,
        )

    def cancel_attempt(self, execution_id: int, attempt: int) -> CancelledAttempt:
        """Cancels the execution if this attempt runs or comes next, and nobody has asked before.

        Several workers get the same command at once, and one entry in the history is enough.
        """
        by = f"cancelled by {self.actor.name or 'a program'}"
        facts = {"by": self.actor.name, "note": ""}

        def work() -> CancelledAttempt:
            now = self.clock.now()
            execution = self._execution(execution_id)
            is_waiting = execution.status == RunStatus.PENDING
            current = execution.attempt + is_waiting
            if current != attempt:
                return CancelledAttempt(
                    attempt=current, is_new=False, has_ended=execution.status in FINAL
                )
            cancelled = shard_changes.cancel(
                JobExecution.objects.filter(id=execution_id),
                now=now,
                reason=by,
                code=ReasonCode.CANCELLED_BY_PERSON,
                facts=facts,
            )
            is_new = cancelled.changed == 1
            give_on(cancelled, self.clock)
            if is_new:
                self._remember_execution(ActivityVerb.CANCELLED, execution, now, reason="")
            status = self._execution(execution_id).status
            return CancelledAttempt(attempt=current, is_new=is_new, has_ended=status in FINAL)

        return in_transaction(work)

    def retry(self, execution_id: int) -> JobExecution:
        """Retries an unsuccessful execution. It gets its full number of retries again."""

        def work() -> JobExecution | None:
            now = self.clock.now()
            exception = self._check_freezes(executions.job_of(execution_id), now)
            if not shard_changes.retry_all([execution_id], now=now):
                return None
            execution = self._execution(execution_id)
            self._remember_execution(ActivityVerb.RETRIED, execution, now, **exception)
            return self._started(execution, now)

        retried = in_transaction(work)
        if retried is not None:
            return retried
        execution = self._execution(execution_id)
        allowed = ", ".join(map(label, sorted(RETRYABLE)))
        facts = {**_facts_of(execution), "allowed": allowed}
        raise NotPossible(
            gettext("execution #%(id)s is %(status)s; only %(allowed)s can be retried") % facts,
            general=gettext("it is %(status)s; only %(allowed)s can be retried") % facts,
        )

    def delete_execution(self, execution_id: int) -> None:
        """Deletes an execution that has ended. Its slot does not run again."""

        def work() -> None:
            execution = self._execution(execution_id)
            if execution.parent_id is not None:
                known = {"id": execution.pk, "parent": execution.parent_id}
                raise NotPossible(
                    gettext("execution #%(id)s is a shard of #%(parent)s: delete that") % known,
                    general=gettext("it is a shard: delete its parent"),
                )
            if not executions.delete_execution(execution_id):
                facts = _facts_of(execution)
                raise NotPossible(
                    gettext("execution #%(id)s is %(status)s; cancel it first") % facts,
                    general=gettext("it is %(status)s; cancel it first") % facts,
                )
            now = self.clock.now()
            status = execution.status
            self._remember_execution(ActivityVerb.DELETED, execution, now, status=status)

        in_transaction(work)

    def _execution(self, execution_id: int) -> JobExecution:
        return JobExecution.objects.get(pk=execution_id)


def _facts_of(execution: JobExecution) -> dict[str, object]:
    return {"id": execution.pk, "status": label_of(RunStatus, execution.status)}
