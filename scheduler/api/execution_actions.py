"""/jobs/{id}/...: actions on executions (retry, cancel, replay), on one or on several."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from scheduler.api.audit import act_on_many, control_of
from scheduler.api.auth import Caller, caller_of, needs
from scheduler.api.errors import ApiError
from scheduler.api.execution_answers import ExecutionId, answered
from scheduler.api.params import replacement_params
from scheduler.api.responses import answers
from scheduler.api.schemas.base import CancelMany, DespiteFreeze, Ids, Outcome, Outcomes
from scheduler.api.schemas.executions import CancelIn, DecideIn, ExecutionAnswer
from scheduler.api.schemas.jobs import RunNow
from scheduler.models import JobExecution
from scheduler.operations.control import NotPossible
from scheduler.operations.frozen import Frozen
from scheduler.operations.permissions import Action

router = Router(tags=["jobs"])


# --- verbs ---------------------------------------------------------------------------------------


@router.post(
    "/{int:execution_id}/retry",
    response=answers(ExecutionAnswer, 404, 409),
    auth=needs(Action.RETRY_EXECUTION),
)
def retry_execution(
    request: HttpRequest, execution_id: ExecutionId, given: DespiteFreeze | None = None
) -> dict[str, Any]:
    """Retry an unsuccessful execution. It gets its full number of retries again."""
    caller = caller_of(request)
    despite = given.despite_freeze if given else False
    return answered(_retry(caller, execution_id, despite_freeze=despite), caller)


@router.post(
    "/{int:execution_id}/cancel",
    response=answers(ExecutionAnswer, 404, 409),
    auth=needs(Action.CANCEL_EXECUTION),
)
def cancel_execution(
    request: HttpRequest, execution_id: ExecutionId, given: CancelIn | None = None
) -> dict[str, Any]:
    """Cancel an execution.

    A waiting execution is cancelled at once. If it is running, its worker is asked to stop it, and
    the answer still shows RUNNING.
    """
    caller = caller_of(request)
    return answered(_cancel(caller, execution_id, given.reason if given else ""), caller)


@router.post(
    "/{int:execution_id}/replay",
    response=answers(ExecutionAnswer, 404, 409, status=201),
    auth=needs(Action.RUN_JOB),
)
def replay_execution(
    request: HttpRequest, execution_id: ExecutionId, given: RunNow | None = None
) -> Status[dict[str, Any]]:
    """Start a new run of the same job and handler, with the same or with other parameters."""
    caller, wanted = caller_of(request), given or RunNow()
    params = replacement_params(
        caller,
        wanted.params,
        lambda: JobExecution.objects.only("params").get(pk=execution_id).params,
    )
    control = control_of(caller, despite_freeze=wanted.despite_freeze)
    execution = control.replay(execution_id, params)
    return Status(201, answered(execution, caller))


@router.post(
    "/{int:execution_id}/approve",
    response=answers(ExecutionAnswer, 404, 409),
    auth=needs(Action.APPROVE_EXECUTION),
)
def approve_execution(
    request: HttpRequest, execution_id: ExecutionId, given: DecideIn
) -> dict[str, Any]:
    """Let an execution start that waits for an approval. `digest` says which parameters you saw."""
    caller = caller_of(request)
    control = control_of(caller, despite_freeze=given.despite_freeze)
    execution = control.approve(execution_id, digest=given.digest, note=given.note)
    return answered(execution, caller)


@router.post(
    "/{int:execution_id}/reject",
    response=answers(ExecutionAnswer, 404, 409),
    auth=needs(Action.APPROVE_EXECUTION),
)
def reject_execution(
    request: HttpRequest, execution_id: ExecutionId, given: DecideIn
) -> dict[str, Any]:
    """Skip an execution that waits for an approval."""
    caller = caller_of(request)
    execution = control_of(caller).reject(execution_id, digest=given.digest, note=given.note)
    return answered(execution, caller)


@router.post("/bulk/cancel", response=answers(Outcomes), auth=needs(Action.CANCEL_EXECUTION))
def cancel_executions(request: HttpRequest, given: CancelMany) -> Outcomes:
    """Cancel several executions. The answer has one outcome for each execution."""
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        return Outcome(id=each, ok=True, status=_cancel(caller, each, given.reason).status)

    return act_on_many(given.ids, one)


@router.post("/bulk/retry", response=answers(Outcomes), auth=needs(Action.RETRY_EXECUTION))
def retry_executions(request: HttpRequest, given: Ids) -> Outcomes:
    """Retry several executions. The answer has one outcome for each execution."""
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        return Outcome(id=each, ok=True, status=_retry(caller, each).status)

    return act_on_many(given.ids, one)


def _retry(caller: Caller, execution_id: int, *, despite_freeze: bool = False) -> JobExecution:
    try:
        return control_of(caller, despite_freeze=despite_freeze).retry(execution_id)
    except Frozen:
        raise
    except NotPossible as error:
        raise ApiError(400, "NOT_RETRYABLE", str(error)) from error


def _cancel(caller: Caller, execution_id: int, reason: str) -> JobExecution:
    control_of(caller).cancel(execution_id, reason=reason)
    return JobExecution.objects.get(pk=execution_id)
