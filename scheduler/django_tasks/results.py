"""An execution as a TaskResult."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from handlers.context import RunInfo
from handlers.failure import path_of
from scheduler.django_tasks.calls import AskedFor, CallParams, as_called
from scheduler.django_tasks.compat import Task, TaskError, TaskResult, TaskResultStatus
from scheduler.models import JobAttempt, JobExecution
from scheduler.states import FINAL, AttemptOutcome, RunStatus


class WorkerLost(Exception):
    """The process that ran the task ended, or stopped renewing its lease."""


class RunCancelled(Exception):
    """A person cancelled the run."""


_STATUSES = {
    RunStatus.PENDING: TaskResultStatus.READY,
    RunStatus.RUNNING: TaskResultStatus.RUNNING,
    RunStatus.FANNED_OUT: TaskResultStatus.RUNNING,
    RunStatus.SUCCESS: TaskResultStatus.SUCCESSFUL,
}
# What ended an attempt where the task has raised nothing.
_CLASSES = {
    AttemptOutcome.FAILED: Exception,
    AttemptOutcome.TIMEOUT: TimeoutError,
    AttemptOutcome.CANCELLED: RunCancelled,
    AttemptOutcome.LOST: WorkerLost,
}


def call_of(params: object) -> CallParams:
    """Returns the call. SQL may have written params that are none: then it has no arguments."""
    try:
        return CallParams.model_validate(params)
    except ValidationError:
        return CallParams()


def result_of(
    task: Task[..., Any], row: JobExecution, attempts: Sequence[JobAttempt]
) -> TaskResult[Any]:
    """Returns what became of the call so far. `attempts`: those that have ended, oldest first."""
    call = call_of(row.params)
    status = RunStatus(row.status)
    worker_ids = [attempt.worker for attempt in attempts]
    started_at = attempts[0].started_at if attempts else None
    if status == RunStatus.RUNNING:
        worker_ids.append(row.lease_owner or "")
        started_at = started_at or row.started_at
    result = _result(
        task,
        call,
        id=str(row.pk),
        status=_STATUSES.get(status, TaskResultStatus.FAILED),
        enqueued_at=row.created_at if row.job_id else row.scheduled_time,
        started_at=started_at,
        finished_at=row.finished_at if status in FINAL else None,
        last_attempted_at=row.started_at,
        errors=[error for attempt in attempts if (error := _error_of(attempt)) is not None],
        worker_ids=worker_ids,
    )
    if status == RunStatus.SUCCESS and isinstance(row.result, dict):
        object.__setattr__(result, "_return_value", row.result.get("data"))
    return result


def first_attempt(task: Task[..., Any], call: CallParams, info: RunInfo) -> TaskResult[Any]:
    """Returns the same for a run in its first attempt, without asking the database."""
    return _result(
        task,
        call,
        id=str(info.execution_id),
        status=TaskResultStatus.RUNNING,
        enqueued_at=info.scheduled_time,
        started_at=info.started_at,
        finished_at=None,
        last_attempted_at=info.started_at,
        errors=[],
        worker_ids=[info.worker],
    )


def _result(task: Task[..., Any], call: CallParams, **facts: Any) -> TaskResult[Any]:
    called = as_called(task, call.task)
    return TaskResult(
        task=called, args=call.args, kwargs=call.kwargs, backend=called.backend, **facts
    )


def backend_of(task: Task[..., Any], asked: AskedFor) -> str:
    """Returns the alias of the backend through which the call came."""
    return asked.backend or task.backend


def _error_of(attempt: JobAttempt) -> TaskError | None:
    cls = _CLASSES.get(AttemptOutcome(attempt.outcome))
    if cls is None:
        return None  # it succeeded, or was handed back without a fault of its own
    return TaskError(
        exception_class_path=attempt.exception_class or path_of(cls),
        traceback=attempt.traceback or attempt.error,
    )
