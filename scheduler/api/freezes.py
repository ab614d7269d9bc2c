"""/freezes: times in which no slot of some jobs starts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Path, Router, Status

from scheduler.api.audit import freezes_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.freezes import (
    FreezeChange,
    FreezeIn,
    FreezeList,
    FreezeOut,
    FreezePreviewOut,
    FreezeSaved,
    FreezeTimes,
)
from scheduler.models import LARGEST_ID, JobFreeze
from scheduler.operations.freezes import FreezeControl, tags_of
from scheduler.operations.permissions import Action

router = Router(tags=["freezes"])

FreezeId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]
_NULLABLE = frozenset({"since", "until"})


@router.get("/freezes", response=answers(FreezeList), auth=needs(Action.VIEW_JOBS))
def list_freezes(request: HttpRequest) -> dict[str, Any]:
    """Returns the freezes by name."""
    refuse_unknown(request)
    control = freezes_of(caller_of(request))
    now = control.clock.now()
    return {"items": [_shown(control, row, now) for row in control.all()]}


@router.post(
    "/freezes", response=answers(FreezeSaved, 409, status=201), auth=needs(Action.CHANGE_FREEZE)
)
def create_freeze(request: HttpRequest, given: FreezeIn) -> Status[dict[str, Any]]:
    """Let no slot of the jobs with one of the tags start in a span of time, or in hours of each
    week. Runs that are recorded already go on. The caller must also be allowed to see jobs.
    """
    control = _control(request)
    return Status(201, _saved(control, control.create(**given.dict())))


@router.post("/freezes/preview", response=answers(FreezePreviewOut), auth=needs(Action.VIEW_JOBS))
def preview_freeze(request: HttpRequest, given: FreezeTimes) -> dict[str, Any]:
    """Returns the slots of the next seven days that such a freeze would block. Writes nothing."""
    control = freezes_of(caller_of(request))
    found = control.preview(**given.dict())
    return {
        "warnings": control.warnings(JobFreeze(**given.dict())),
        "is_partial": found.is_partial,
        "items": [
            {
                "cron_id": each.job.pk,
                "cron_name": each.job.name,
                "count": each.count,
                "first": each.first,
                "last": each.last,
                "runs_at": each.runs_at,
            }
            for each in found.jobs
        ],
    }


@router.get(
    "/freezes/{int:freeze_id}", response=answers(FreezeOut, 404), auth=needs(Action.VIEW_JOBS)
)
def get_freeze(request: HttpRequest, freeze_id: FreezeId) -> dict[str, Any]:
    """Returns one freeze."""
    refuse_unknown(request)
    control = freezes_of(caller_of(request))
    return _shown(control, control.get(freeze_id), control.clock.now())


@router.patch(
    "/freezes/{int:freeze_id}",
    response=answers(FreezeSaved, 404, 409),
    auth=needs(Action.CHANGE_FREEZE),
)
def change_freeze(request: HttpRequest, freeze_id: FreezeId, given: FreezeChange) -> dict[str, Any]:
    """Change a freeze, also while it holds. The runs that it holds are decided anew."""
    control = _control(request)
    values = given.dict(exclude_unset=True, exclude={"updated_at"})
    known = {n: value for n, value in values.items() if value is not None or n in _NULLABLE}
    return _saved(control, control.update(freeze_id, seen_at=given.updated_at, **known))


@router.post(
    "/freezes/{int:freeze_id}/end",
    response=answers(FreezeOut, 404, 409),
    auth=needs(Action.CHANGE_FREEZE),
)
def end_freeze(request: HttpRequest, freeze_id: FreezeId) -> dict[str, Any]:
    """End a freeze that holds, before its time. One of weekly hours is disabled."""
    control = _control(request)
    return _shown(control, control.end(freeze_id), control.clock.now())


@router.delete(
    "/freezes/{int:freeze_id}",
    response=answers(None, 404, 409, status=204),
    auth=needs(Action.CHANGE_FREEZE),
)
def delete_freeze(request: HttpRequest, freeze_id: FreezeId) -> Status[None]:
    """Delete a freeze. If it holds, it ends."""
    freezes_of(caller_of(request)).delete(freeze_id)
    return Status(204, None)


def _control(request: HttpRequest) -> FreezeControl:
    """The answers show the freeze: a caller who may not see jobs gets none."""
    caller = caller_of(request)
    caller.require(Action.VIEW_JOBS)
    return freezes_of(caller)


def _saved(control: FreezeControl, row: JobFreeze) -> dict[str, Any]:
    return {**_shown(control, row, control.clock.now()), "warnings": control.warnings(row)}


def _shown(control: FreezeControl, row: JobFreeze, now: datetime) -> dict[str, Any]:
    columns = FreezeOut.model_fields.keys() - {"holds_until", "problem"}
    return {
        **{name: getattr(row, name) for name in columns},
        "tags": tags_of(row),
        "holds_until": control.holds_until(row, now),
        "problem": control.problem(row),
    }
