"""/jobs/{id}/...: retry, cancel and replay an execution; several at once."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from scheduler.api.audit import act_on_many, control_of
from scheduler.api.auth import Caller, caller_of, needs
from scheduler.api.errors import ApiError
from scheduler.api.execution_answers import ExecutionId, detail
from scheduler.api.params import meant_by
from scheduler.api.responses import answers
from scheduler.api.schemas.base import CancelMany, Ids, Outcome, Outcomes
from scheduler.api.schemas.executions import (
    CancelIn,
    ExecutionDetail,
)
from scheduler.api.schemas.jobs import RunNow
from scheduler.models import JobExecution
from scheduler.operations.control import NotPossible
from scheduler.operations.permissions import Action

router = Router(tags=["jobs"])


# --- verbs ---------------------------------------------------------------------------------------


@router.post(
    "/{int:execution_id}/retry",
    response=answers(ExecutionDetail, 404),
    auth=needs(Action.RETRY_EXECUTION),
)
def retry_execution(request: HttpRequest, execution_id: ExecutionId) -> dict[str, Any]:
    """An unsuccessful execution once more, with a fresh budget of retries."""
    caller = caller_of(request)
    return detail(_retry(caller, execution_id), caller)


@router.post(
    "/{int:execution_id}/cancel",
    response=answers(ExecutionDetail, 404, 409),
    auth=needs(Action.CANCEL_EXECUTION),
)
def cancel_execution(
    request: HttpRequest, execution_id: ExecutionId, given: CancelIn | None = None
) -> dict[str, Any]:
    """Cancel one that waits, or ask the worker of one that runs to stop it (it is then still
    RUNNING in the answer).
    """
    caller = caller_of(request)
    return detail(_cancel(caller, execution_id, given.reason if given else ""), caller)


@router.post(
    "/{int:execution_id}/replay",
    response=answers(ExecutionDetail, 404, status=201),
    auth=needs(Action.RUN_JOB),
)
def replay_execution(
    request: HttpRequest, execution_id: ExecutionId, given: RunNow | None = None
) -> Status[dict[str, Any]]:
    """A new run of the same job and handler, with the same parameters or others."""
    caller = caller_of(request)
    params = meant_by(
        caller,
        given.params if given else None,
        lambda: JobExecution.objects.only("params").get(pk=execution_id).params,
    )
    execution = control_of(caller).replay(execution_id, params)
    return Status(201, detail(execution, caller))


@router.post("/bulk/cancel", response=answers(Outcomes), auth=needs(Action.CANCEL_EXECUTION))
def cancel_executions(request: HttpRequest, given: CancelMany) -> Outcomes:
    """Cancel executions; each has its own outcome."""
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        return Outcome(id=each, ok=True, status=_cancel(caller, each, given.reason).status)

    return act_on_many(given.ids, one)


@router.post("/bulk/retry", response=answers(Outcomes), auth=needs(Action.RETRY_EXECUTION))
def retry_executions(request: HttpRequest, given: Ids) -> Outcomes:
    """Retry executions; each has its own outcome."""
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        return Outcome(id=each, ok=True, status=_retry(caller, each).status)

    return act_on_many(given.ids, one)


def _retry(caller: Caller, execution_id: int) -> JobExecution:
    try:
        return control_of(caller).retry(execution_id)
    except NotPossible as error:
        raise ApiError(400, "NOT_RETRYABLE", str(error)) from error


def _cancel(caller: Caller, execution_id: int, reason: str) -> JobExecution:
    control_of(caller).cancel(execution_id, reason=reason)
    return JobExecution.objects.get(pk=execution_id)
