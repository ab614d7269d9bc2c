"""/crons/{id}/...: actions on jobs (enable, disable, pause, clone, run), on one or on several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from scheduler.api.audit import act_on_many, control_of
from scheduler.api.auth import Caller, caller_of, needs
from scheduler.api.cron_answers import CronId, answered, unless_name_is_taken
from scheduler.api.execution_answers import answered as execution_answered
from scheduler.api.paging import refuse_unknown
from scheduler.api.params import replacement_params
from scheduler.api.responses import answers
from scheduler.api.schemas.base import Ids, Outcome, Outcomes, PauseMany
from scheduler.api.schemas.executions import ExecutionAnswer
from scheduler.api.schemas.jobs import (
    CloneIn,
    CronAnswer,
    EnableIn,
    MissedOut,
    Pause,
    RunNow,
    SwitchIn,
    SwitchOut,
)
from scheduler.models import CronJob, JobExecution
from scheduler.moving.instructions import instruction
from scheduler.moving.switching import Switching
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action
from scheduler.operations.switches import SwitchControl
from scheduler.states import OldSide, SwitchDirection

router = Router(tags=["crons"])
_SWITCH = ("job_id", "direction", "state", "old_side", "source", "since")


# --- verbs ---------------------------------------------------------------------------------------


@router.post(
    "/{int:cron_id}/toggle", response=answers(CronAnswer, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def toggle_cron(request: HttpRequest, cron_id: CronId) -> dict[str, Any]:
    """Disable a job that is enabled; enable a job that is disabled."""
    caller = caller_of(request)
    control = control_of(caller)
    is_enabled = CronJob.objects.get(pk=cron_id).is_enabled
    job = control.disable(cron_id) if is_enabled else control.enable(cron_id)
    return answered(job, caller)


@router.post(
    "/{int:cron_id}/enable", response=answers(CronAnswer, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def enable_cron(
    request: HttpRequest, cron_id: CronId, given: EnableIn | None = None
) -> dict[str, Any]:
    """Enable a job. `missed`: which of the slots that it missed while it was off are run."""
    caller = caller_of(request)
    missed = given.missed if given else "none"
    return answered(control_of(caller).enable(cron_id, missed=missed), caller)


@router.post(
    "/{int:cron_id}/resume", response=answers(CronAnswer, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def resume_cron(
    request: HttpRequest, cron_id: CronId, given: EnableIn | None = None
) -> dict[str, Any]:
    """Resume a paused job. Does the same as enable."""
    return enable_cron(request, cron_id, given)


@router.post(
    "/{int:cron_id}/disable", response=answers(CronAnswer, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def disable_cron(request: HttpRequest, cron_id: CronId) -> dict[str, Any]:
    """Disable a job until somebody enables it."""
    caller = caller_of(request)
    return answered(control_of(caller).disable(cron_id), caller)


@router.post(
    "/{int:cron_id}/pause", response=answers(CronAnswer, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def pause_cron(request: HttpRequest, cron_id: CronId, given: Pause | None = None) -> dict[str, Any]:
    """Pause a job with a reason. At `until` the job is enabled automatically."""
    caller = caller_of(request)
    wanted = given or Pause()
    job = control_of(caller).pause(cron_id, reason=wanted.reason, until=wanted.until)
    return answered(job, caller)


@router.post(
    "/{int:cron_id}/switch", response=answers(SwitchOut, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def switch_cron(
    request: HttpRequest, cron_id: CronId, given: SwitchIn | None = None
) -> dict[str, Any]:
    """Let jobu run an imported job instead of its old system, or back. Each request does one step:
    off on the one side first, then on on the other one. The caller must also be allowed to see it.
    """
    caller, wanted = caller_of(request), given or SwitchIn()
    caller.require(Action.VIEW_JOBS)
    control = control_of(caller)
    switching = Switching(control=SwitchControl(actor=control.actor, clock=control.clock))
    direction = SwitchDirection(wanted.direction)
    switch = switching.control.begin_switch(cron_id, direction, OldSide(wanted.old_side))
    switch = switching.step(switch, is_done_there=wanted.is_done_there)
    job = CronJob.objects.get(pk=cron_id)
    return {
        **{name: getattr(switch, name) for name in _SWITCH},
        "wait_seconds": switching.seconds_to_wait(switch),
        "instruction": instruction(job, on=direction == SwitchDirection.BACK),
    }


@router.get("/{int:cron_id}/missed", response=answers(MissedOut, 404), auth=needs(Action.VIEW_JOBS))
def missed_slots(request: HttpRequest, cron_id: CronId) -> Any:
    """Returns the slots that the job missed while it was off; `enable` can run them."""
    refuse_unknown(request)
    return control_of(caller_of(request)).missed(cron_id)


@router.post(
    "/{int:cron_id}/clone",
    response=answers(CronAnswer, 404, 409, status=201),
    auth=needs(Action.ADD_JOB),
)
def clone_cron(request: HttpRequest, cron_id: CronId, given: CloneIn) -> Status[Any]:
    """Make a disabled copy of a job under a new name. The caller must also be allowed to see it."""
    caller = caller_of(request)
    caller.require(Action.VIEW_JOBS)
    job = unless_name_is_taken(
        lambda: control_of(caller).clone_job(cron_id, name=given.name), {"name": given.name}, None
    )
    return Status(201, answered(job, caller))


@router.post(
    "/{int:cron_id}/run",
    response=answers(ExecutionAnswer, 404, 409, status=201),
    auth=needs(Action.RUN_JOB),
)
def run_cron(
    request: HttpRequest, cron_id: CronId, given: RunNow | None = None
) -> Status[dict[str, Any]]:
    """Run a job now. Its schedule does not change. In a freeze: 409, see `despite_freeze`."""
    caller, wanted = caller_of(request), given or RunNow()
    execution = _run(caller, cron_id, wanted.params, despite_freeze=wanted.despite_freeze)
    return Status(201, execution_answered(execution, caller))


# --- several jobs at once ------------------------------------------------------------------------


@router.post("/bulk/enable", response=answers(Outcomes), auth=needs(Action.PAUSE_JOB))
def enable_crons(request: HttpRequest, given: Ids) -> Outcomes:
    """Enable several jobs. The answer has one outcome for each job."""
    return _each(request, given, lambda control, each: control.enable(each))


@router.post("/bulk/disable", response=answers(Outcomes), auth=needs(Action.PAUSE_JOB))
def disable_crons(request: HttpRequest, given: Ids) -> Outcomes:
    """Disable several jobs. The answer has one outcome for each job."""
    return _each(request, given, lambda control, each: control.disable(each))


@router.post("/bulk/pause", response=answers(Outcomes), auth=needs(Action.PAUSE_JOB))
def pause_crons(request: HttpRequest, given: PauseMany) -> Outcomes:
    """Pause several jobs. The answer has one outcome for each job."""
    return _each(
        request,
        given,
        lambda control, each: control.pause(each, reason=given.reason, until=given.until),
    )


@router.post("/bulk/run", response=answers(Outcomes), auth=needs(Action.RUN_JOB))
def run_crons(request: HttpRequest, given: Ids) -> Outcomes:
    """Run several jobs now. The answer has one outcome for each job."""
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        execution = _run(caller, each, None)
        return Outcome(id=each, ok=True, execution_id=execution.pk, status=execution.status)

    return act_on_many(given.ids, one)


# --- helpers -------------------------------------------------------------------------------------


def _each(request: HttpRequest, given: Ids, work: Callable[[Control, int], CronJob]) -> Outcomes:
    control = control_of(caller_of(request))

    def one(each: int) -> Outcome:
        work(control, each)
        return Outcome(id=each, ok=True)

    return act_on_many(given.ids, one)


def _run(
    caller: Caller, cron_id: int, params: dict[str, Any] | None, *, despite_freeze: bool = False
) -> JobExecution:
    params = replacement_params(
        caller, params, lambda: CronJob.objects.get(pk=cron_id).handler_params
    )
    return control_of(caller, despite_freeze=despite_freeze).run_now(cron_id, params)
