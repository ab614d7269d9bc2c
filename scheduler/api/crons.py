"""/crons: the jobs, and what a person may do with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import Path, Query, Router, Status
from pydantic import Field

from scheduler.api.acting import ADDITION, CHANGE, DELETION, act, act_on_many, by, control_of
from scheduler.api.answers import answers
from scheduler.api.auth import Caller, caller_of, needs
from scheduler.api.errors import ApiError, invalid
from scheduler.api.executions import detail as execution_detail
from scheduler.api.masked import meant, meant_by
from scheduler.api.paging import Paging, by_id, page_of, refuse_unknown
from scheduler.api.schemas import (
    LARGEST_ID,
    CloneIn,
    CronChange,
    CronNew,
    CronOut,
    CronPage,
    CronSaved,
    EnableIn,
    ExecutionDetail,
    Ids,
    In,
    JobState,
    MissedOut,
    Outcome,
    Outcomes,
    Pause,
    PauseMany,
    PreviewIn,
    PreviewOut,
    RunNow,
    SlotOut,
    Text,
)
from scheduler.conf import current
from scheduler.models import CronJob, JobExecution
from scheduler.operations import job_history
from scheduler.operations.control import Control, InvalidJob, StaleEdit
from scheduler.operations.masking import mask
from scheduler.operations.permissions import Action
from scheduler.schedule.words import in_words, warnings_of
from scheduler.store import people

router = Router(tags=["crons"])

CronId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]


class CronFilters(Paging):
    is_enabled: bool | None = None
    handler: Text | None = Field(default=None, max_length=255)
    name: Text | None = Field(default=None, max_length=100, description="a part of the name")


def shown(job: CronJob, caller: Caller) -> dict[str, Any]:
    """A job as this caller may see it."""
    values = {
        name: getattr(job, name)
        for name in CronOut.model_fields
        if name not in ("state", "handler_params")
    }
    params = mask(job.handler_params) if caller.may(Action.VIEW_PARAMS) else None
    return {**values, "state": state_of(job), "handler_params": params}


def state_of(job: CronJob) -> JobState:
    if job.is_enabled:
        return JobState.ENABLED
    if job.schedule_error:
        return JobState.ERROR
    return JobState.PAUSED if job.pause_reason or job.paused_until else JobState.DISABLED


def saved(job: CronJob, caller: Caller) -> dict[str, Any]:
    return {**shown(job, caller), "warnings": Control().warnings(job)}


# --- the list, and one ---------------------------------------------------------------------------


@router.get("", response=answers(CronPage), auth=needs(Action.VIEW_JOBS))
def list_crons(request: HttpRequest, filters: Query[CronFilters]) -> dict[str, Any]:
    """Jobs, by number."""
    refuse_unknown(request, CronFilters)
    rows = CronJob.objects.all()
    if filters.is_enabled is not None:
        rows = rows.filter(is_enabled=filters.is_enabled)
    if filters.handler is not None:
        rows = rows.filter(handler_name=filters.handler)
    if filters.name is not None:
        rows = rows.filter(name__icontains=filters.name)
    found, counts = page_of(rows, filters, by_id())
    caller = caller_of(request)
    return {**counts, "items": [shown(job, caller) for job in found]}


@router.post("", response=answers(CronSaved, 409, status=201), auth=needs(Action.ADD_JOB))
def create_cron(request: HttpRequest, given: CronNew) -> Status[Any]:
    """A new job."""
    caller = caller_of(request)
    values = _values(given, None)
    job = act(
        caller,
        lambda: _unless_taken(lambda: control_of(caller).create_job(**values), values, None),
        history=lambda job: (job, ADDITION, "Added"),
    )
    return Status(201, saved(job, caller))


@router.post("/preview", response=answers(PreviewOut), auth=needs(Action.VIEW_JOBS))
def preview_expression(request: HttpRequest, given: PreviewIn) -> dict[str, Any]:
    """What an expression says, what is odd about it, and its next slots. Changes nothing."""
    job = CronJob(
        cron_expression=given.cron_expression,
        timezone=given.timezone,
        calendar=given.calendar,
        start_at=given.start_at,
        end_at=given.end_at,
    )
    zone = job.timezone or current().default_timezone
    control = control_of(caller_of(request))
    problems = {
        field: texts
        for field, texts in control.problems(job).items()
        if field in PreviewIn.model_fields
    }
    if problems:
        raise InvalidJob(problems)
    slots = control.preview(job, given.count)
    return {
        "words": in_words(given.cron_expression),
        "warnings": warnings_of(given.cron_expression),
        "timezone": zone,
        "slots": [_slot(slot, zone) for slot in slots],
    }


@router.get("/{int:cron_id}", response=answers(CronOut, 404), auth=needs(Action.VIEW_JOBS))
def get_cron(request: HttpRequest, cron_id: CronId, response: HttpResponse) -> dict[str, Any]:
    """One job. Its ETag is what If-Match takes."""
    refuse_unknown(request)
    job = CronJob.objects.get(pk=cron_id)
    _tag(response, job)
    return shown(job, caller_of(request))


@router.api_operation(
    ["PUT", "PATCH"],
    "/{int:cron_id}",
    response=answers(CronSaved, 404, 409),
    auth=needs(Action.CHANGE_JOB),
)
def change_cron(
    request: HttpRequest, cron_id: CronId, given: CronChange, response: HttpResponse
) -> dict[str, Any]:
    """Change what is given; the rest stays. A masked secret stays what it was."""
    caller = caller_of(request)
    expected = _expected(request, given)
    before: dict[str, Any] = {}

    def work() -> CronJob:
        # Locked: the secrets that go back are those that stand there when it is saved.
        job = people.lock_job(cron_id)
        values = _values(given, job)
        if expected is not None and expected != job.tick_seq:
            raise StaleEdit
        before.update(job_history.values_of(job), updated_at=job.updated_at)
        control = control_of(caller)
        return _unless_taken(
            lambda: control.update_job(cron_id, tick_seq=expected, **values), values, cron_id
        )

    def changes(job: CronJob) -> tuple[CronJob, int, list[dict[str, Any]]]:
        told = job_history.changes_between(before, job_history.values_of(job))
        return job, CHANGE, job_history.message_by(told, before["updated_at"], by(caller))

    job = act(caller, work, history=changes, again_when_stale=expected is None)
    _tag(response, job)
    return saved(job, caller)


@router.delete(
    "/{int:cron_id}", response=answers(None, 404, status=204), auth=needs(Action.DELETE_JOB)
)
def delete_cron(request: HttpRequest, cron_id: CronId) -> Status[None]:
    """Remove a job with its executions, attempts and logs."""
    caller = caller_of(request)
    job = CronJob.objects.get(pk=cron_id)
    act(
        caller,
        lambda: control_of(caller).delete_job(cron_id),
        history=lambda _none: (job, DELETION, "Deleted"),
    )
    return Status(204, None)


# --- verbs ---------------------------------------------------------------------------------------


def _changed(
    caller: Caller, work: Callable[[Control], CronJob], words: Callable[[CronJob], str]
) -> dict[str, Any]:
    job = act(
        caller,
        lambda: work(control_of(caller)),
        history=lambda job: (job, CHANGE, words(job)),
    )
    return shown(job, caller)


@router.post(
    "/{int:cron_id}/toggle", response=answers(CronOut, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def toggle_cron(request: HttpRequest, cron_id: CronId) -> dict[str, Any]:
    """Disable an enabled job, enable one that is not."""

    def work(control: Control) -> CronJob:
        is_enabled = CronJob.objects.get(pk=cron_id).is_enabled
        return control.disable(cron_id) if is_enabled else control.enable(cron_id)

    return _changed(
        caller_of(request), work, lambda job: "Enabled" if job.is_enabled else "Disabled"
    )


@router.post(
    "/{int:cron_id}/enable", response=answers(CronOut, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def enable_cron(
    request: HttpRequest, cron_id: CronId, given: EnableIn | None = None
) -> dict[str, Any]:
    """Switch a job on. `missed`: which of the slots that passed meanwhile are run."""
    missed = given.missed if given else "none"
    return _changed(
        caller_of(request),
        lambda control: control.enable(cron_id, missed=missed),
        lambda job: "Enabled",
    )


@router.post(
    "/{int:cron_id}/resume", response=answers(CronOut, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def resume_cron(
    request: HttpRequest, cron_id: CronId, given: EnableIn | None = None
) -> dict[str, Any]:
    """The same as enable, for a job that was paused."""
    missed = given.missed if given else "none"
    return _changed(
        caller_of(request),
        lambda control: control.enable(cron_id, missed=missed),
        lambda job: "Resumed",
    )


@router.post(
    "/{int:cron_id}/disable", response=answers(CronOut, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def disable_cron(request: HttpRequest, cron_id: CronId) -> dict[str, Any]:
    """Switch a job off until somebody switches it on."""
    return _changed(
        caller_of(request), lambda control: control.disable(cron_id), lambda job: "Disabled"
    )


@router.post(
    "/{int:cron_id}/pause", response=answers(CronOut, 404, 409), auth=needs(Action.PAUSE_JOB)
)
def pause_cron(request: HttpRequest, cron_id: CronId, given: Pause | None = None) -> dict[str, Any]:
    """Switch a job off with a reason, and let it come back by itself at `until`."""
    wanted = given or Pause()
    return _changed(
        caller_of(request),
        lambda control: control.pause(cron_id, reason=wanted.reason, until=wanted.until),
        lambda job: job_history.paused(wanted.reason, wanted.until),
    )


@router.get("/{int:cron_id}/missed", response=answers(MissedOut, 404), auth=needs(Action.VIEW_JOBS))
def missed_slots(request: HttpRequest, cron_id: CronId) -> Any:
    """What `enable` could run of the slots that passed while the job was off."""
    refuse_unknown(request)
    return control_of(caller_of(request)).missed(cron_id)


@router.post(
    "/{int:cron_id}/clone",
    response=answers(CronOut, 404, 409, status=201),
    auth=needs(Action.ADD_JOB),
)
def clone_cron(request: HttpRequest, cron_id: CronId, given: CloneIn) -> Status[Any]:
    """A disabled copy under a new name, for those who may also see the job."""
    caller = caller_of(request)
    caller.require(Action.VIEW_JOBS)
    values = {"name": given.name}
    job = act(
        caller,
        lambda: _unless_taken(
            lambda: control_of(caller).clone_job(cron_id, name=given.name), values, None
        ),
        history=lambda job: (job, ADDITION, f"Cloned from #{cron_id}"),
    )
    return Status(201, shown(job, caller))


@router.post(
    "/{int:cron_id}/run",
    response=answers(ExecutionDetail, 404, status=201),
    auth=needs(Action.RUN_JOB),
)
def run_cron(
    request: HttpRequest, cron_id: CronId, given: RunNow | None = None
) -> Status[dict[str, Any]]:
    """Run a job now, out of turn. Its schedule does not notice."""
    caller = caller_of(request)
    execution = _run(caller, cron_id, given.params if given else None)
    return Status(201, execution_detail(execution, caller))


@router.get("/{int:cron_id}/next", response=answers(PreviewOut, 404), auth=needs(Action.VIEW_JOBS))
def next_slots(
    request: HttpRequest, cron_id: CronId, count: Annotated[int, Query(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """The next slots of a job, whether it is enabled or not."""
    refuse_unknown(request, ["count"])
    job = CronJob.objects.get(pk=cron_id)
    zone = job.timezone or current().default_timezone
    slots = control_of(caller_of(request)).preview(job, count)
    return {
        "words": in_words(job.cron_expression),
        "warnings": warnings_of(job.cron_expression),
        "timezone": zone,
        "slots": [_slot(slot, zone) for slot in slots],
    }


# --- several at once -----------------------------------------------------------------------------


@router.post("/bulk/enable", response=answers(Outcomes), auth=needs(Action.PAUSE_JOB))
def enable_crons(request: HttpRequest, given: Ids) -> Outcomes:
    """Switch jobs on; each has its own outcome."""
    return _each(request, given, lambda control, each: control.enable(each), "Enabled")


@router.post("/bulk/disable", response=answers(Outcomes), auth=needs(Action.PAUSE_JOB))
def disable_crons(request: HttpRequest, given: Ids) -> Outcomes:
    """Switch jobs off; each has its own outcome."""
    return _each(request, given, lambda control, each: control.disable(each), "Disabled")


@router.post("/bulk/pause", response=answers(Outcomes), auth=needs(Action.PAUSE_JOB))
def pause_crons(request: HttpRequest, given: PauseMany) -> Outcomes:
    """Pause jobs; each has its own outcome."""
    return _each(
        request,
        given,
        lambda control, each: control.pause(each, reason=given.reason, until=given.until),
        job_history.paused(given.reason, given.until),
    )


@router.post("/bulk/run", response=answers(Outcomes), auth=needs(Action.RUN_JOB))
def run_crons(request: HttpRequest, given: Ids) -> Outcomes:
    """Run jobs now; each has its own outcome."""
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        execution = _run(caller, each, None)
        return Outcome(id=each, ok=True, execution_id=execution.pk, status=execution.status)

    return act_on_many(given.ids, one)


# --- helpers -------------------------------------------------------------------------------------


def _each(
    request: HttpRequest, given: Ids, work: Callable[[Control, int], CronJob], words: str
) -> Outcomes:
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        act(
            caller,
            lambda: work(control_of(caller), each),
            history=lambda job: (job, CHANGE, words),
        )
        return Outcome(id=each, ok=True)

    return act_on_many(given.ids, one)


def _run(caller: Caller, cron_id: int, params: dict[str, Any] | None) -> JobExecution:
    params = meant_by(caller, params, lambda: CronJob.objects.get(pk=cron_id).handler_params)

    def about(execution: JobExecution) -> tuple[CronJob | None, int, str]:
        return execution.job, CHANGE, f"Run now: execution #{execution.pk}"

    return act(caller, lambda: control_of(caller).run_now(cron_id, params), history=about)


def _slot(slot: datetime, zone: str) -> SlotOut:
    local = slot.astimezone(ZoneInfo(zone))
    return SlotOut(utc=slot, local=local.isoformat())


def _values(given: In, before: CronJob | None) -> dict[str, Any]:
    """What Control takes, of what was sent."""
    values = given.model_dump(exclude_unset=True, exclude={"tick_seq"})
    if "description" in values:
        values["description"] = values["description"] or ""
    for name in ("overlap_policy", "misfire_policy"):
        if name in values:
            values[name] = values[name].value
    if "allow_overlap" in values and "overlap_policy" in values:
        if values["allow_overlap"] != (values["overlap_policy"] == "allow"):
            text = _("contradicts overlap_policy; send one of the two")
            raise invalid({"allow_overlap": [text]})
        del values["allow_overlap"]
    if "handler_params" in values:
        stored = before.handler_params if before is not None else {}
        values["handler_params"] = meant(values["handler_params"], stored, field="handler_params")
    return values


def _unless_taken(
    work: Callable[[], CronJob], values: dict[str, Any], own_id: int | None
) -> CronJob:
    """A name that another job has is a conflict, not a mistake."""
    try:
        return work()
    except InvalidJob as error:
        namesakes = CronJob.objects.exclude(pk=own_id or 0).filter(name=values.get("name", ""))
        if set(error.problems) == {"name"} and values.get("name") and namesakes.exists():
            raise ApiError(
                409, "DUPLICATE_NAME", str(error), fields=dict(error.problems)
            ) from error
        raise


def _expected(request: HttpRequest, given: CronChange) -> int | None:
    """The tick_seq that the caller has read, from the body or If-Match."""
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return given.tick_seq
    text = header.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise invalid({"If-Match": [_("is not an ETag of this job")]})
    if given.tick_seq is not None and given.tick_seq != int(text):
        raise invalid({"tick_seq": [_("contradicts If-Match")]})
    return int(text)


def _tag(response: HttpResponse, job: CronJob) -> None:
    response.headers["ETag"] = f'"{job.tick_seq}"'
