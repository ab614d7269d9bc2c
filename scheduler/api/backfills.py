"""/crons/{id}/backfills and /backfills: runs for the slots of a range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Path, Query, Router, Status
from pydantic import Field

from scheduler.api.audit import backfills_of
from scheduler.api.auth import Caller, caller_of, needs
from scheduler.api.paging import Paging, by_id, page_of, refuse_unknown
from scheduler.api.params import replacement_params
from scheduler.api.responses import answers
from scheduler.api.schemas.backfills import (
    BackfillAnswer,
    BackfillDetail,
    BackfillIn,
    BackfillOut,
    BackfillPage,
    BackfillPreviewAnswer,
)
from scheduler.api.verbs import answer_to_verb
from scheduler.models import LARGEST_ID, Backfill, CronJob
from scheduler.operations.backfill_plans import PlannedRun
from scheduler.operations.backfills import SLOTS_SHOWN, BackfillControl
from scheduler.operations.masking import mask
from scheduler.operations.permissions import Action
from scheduler.states import BackfillState

router = Router(tags=["backfills"])

CronId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]
BackfillId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]


class BackfillFilters(Paging):
    cron_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    state: BackfillState | None = None


def shown(backfill: Backfill, caller: Caller) -> dict[str, Any]:
    values = {
        name: getattr(backfill, name) for name in BackfillOut.model_fields if name != "params"
    }
    return {**values, "params": _params(backfill.params, caller)}


@router.post(
    "/crons/{int:cron_id}/backfills/preview",
    response=answers(BackfillPreviewAnswer, 404),
    auth=needs(Action.RUN_JOB),
)
def preview_backfill(request: HttpRequest, cron_id: CronId, given: BackfillIn) -> dict[str, Any]:
    """Returns what a backfill would run. Changes nothing."""
    caller = caller_of(request)
    params = _replacement(caller, cron_id, given.params)
    preview = backfills_of(caller).preview(cron_id, params=params, **_asked(given))
    if not caller.may(Action.VIEW_JOBS):
        return {"total": preview.total}
    return {
        "total": preview.total,
        "slots": preview.slots,
        "params_of_first": _params(preview.params_of_first, caller),
        "runs": _runs(preview.runs, caller),
        "downstream": [
            {
                "job_id": each.job.pk,
                "name": each.job.name,
                "total": each.total,
                "runs": _runs(each.runs(SLOTS_SHOWN), caller),
            }
            for each in preview.downstream
        ],
    }


def _runs(runs: list[PlannedRun], caller: Caller) -> list[dict[str, Any]]:
    return [{"slot": run.slot, "params": _params(run.params, caller)} for run in runs]


def _asked(given: BackfillIn) -> dict[str, Any]:
    return given.model_dump(exclude={"params", "despite_freeze"})


@router.post(
    "/crons/{int:cron_id}/backfills",
    response=answers(BackfillAnswer, 404, 409, status=201),
    auth=needs(Action.RUN_JOB),
)
def start_backfill(
    request: HttpRequest, cron_id: CronId, given: BackfillIn
) -> Status[dict[str, Any]]:
    """Start a backfill: one run for each slot from `since` to `until`, `parallelism` at a time."""
    caller = caller_of(request)
    params = _replacement(caller, cron_id, given.params)
    backfills = backfills_of(caller, despite_freeze=given.despite_freeze)
    backfill = backfills.start(cron_id, params=params, **_asked(given))
    return Status(201, _answered(backfill, caller))


@router.get(
    "/crons/{int:cron_id}/backfills",
    response=answers(BackfillPage, 404),
    auth=needs(Action.VIEW_JOBS),
)
def list_backfills_of_cron(
    request: HttpRequest, cron_id: CronId, filters: Query[Paging]
) -> dict[str, Any]:
    """Returns the backfills of a job, newest first."""
    refuse_unknown(request, Paging)
    CronJob.objects.only("id").get(pk=cron_id)
    rows = Backfill.objects.filter(job_id=cron_id)
    found, counts = page_of(rows, filters, by_id(newest_first=True))
    caller = caller_of(request)
    return {**counts, "items": [shown(each, caller) for each in found]}


@router.get("/backfills", response=answers(BackfillPage), auth=needs(Action.VIEW_JOBS))
def list_backfills(request: HttpRequest, filters: Query[BackfillFilters]) -> dict[str, Any]:
    """Returns the backfills, newest first."""
    refuse_unknown(request, BackfillFilters)
    rows = Backfill.objects.all()
    if filters.cron_id is not None:
        rows = rows.filter(job_id=filters.cron_id)
    if filters.state is not None:
        rows = rows.filter(state=filters.state)
    found, counts = page_of(rows, filters, by_id(newest_first=True))
    caller = caller_of(request)
    return {**counts, "items": [shown(each, caller) for each in found]}


@router.get(
    "/backfills/{int:backfill_id}",
    response=answers(BackfillDetail, 404),
    auth=needs(Action.VIEW_JOBS),
)
def get_backfill(request: HttpRequest, backfill_id: BackfillId) -> dict[str, Any]:
    """Returns one backfill with its progress."""
    refuse_unknown(request)
    return _detail(Backfill.objects.get(pk=backfill_id), caller_of(request))


@router.post(
    "/backfills/{int:backfill_id}/pause",
    response=answers(BackfillAnswer, 404, 409),
    auth=needs(Action.RUN_JOB),
)
def pause_backfill(request: HttpRequest, backfill_id: BackfillId) -> dict[str, Any]:
    """Pause a backfill: it makes no further runs until it is resumed."""
    return _move(request, lambda control: control.pause(backfill_id))


@router.post(
    "/backfills/{int:backfill_id}/resume",
    response=answers(BackfillAnswer, 404, 409),
    auth=needs(Action.RUN_JOB),
)
def resume_backfill(request: HttpRequest, backfill_id: BackfillId) -> dict[str, Any]:
    """Resume a paused backfill."""
    return _move(request, lambda control: control.resume(backfill_id))


@router.post(
    "/backfills/{int:backfill_id}/cancel",
    response=answers(BackfillAnswer, 404, 409),
    auth=needs(Action.RUN_JOB),
)
def cancel_backfill(request: HttpRequest, backfill_id: BackfillId) -> dict[str, Any]:
    """Cancel a backfill. Its waiting runs are cancelled; its running runs continue."""
    return _move(request, lambda control: control.cancel(backfill_id))


def _move(request: HttpRequest, work: Callable[[BackfillControl], Backfill]) -> dict[str, Any]:
    caller = caller_of(request)
    return _answered(work(backfills_of(caller)), caller)


def _answered(backfill: Backfill, caller: Caller) -> dict[str, Any]:
    return answer_to_verb(
        caller, backfill, sees=Action.VIEW_JOBS, detail=lambda: _detail(backfill, caller)
    )


def _detail(backfill: Backfill, caller: Caller) -> dict[str, Any]:
    counts = backfills_of(caller).counts(backfill)
    progress = {str(status): count for status, count in counts.items()}
    return {**shown(backfill, caller), "progress": progress}


def _replacement(
    caller: Caller, cron_id: int, params: dict[str, Any] | None
) -> dict[str, Any] | None:
    return replacement_params(
        caller, params, lambda: CronJob.objects.get(pk=cron_id).handler_params
    )


def _params(params: Any, caller: Caller) -> Any:
    return mask(params) if caller.may(Action.VIEW_PARAMS) else None
