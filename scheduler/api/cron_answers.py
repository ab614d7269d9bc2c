"""A job as a caller may see it, and the conflict of two names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from ninja import Path

from scheduler.api.auth import Caller
from scheduler.api.errors import ApiError
from scheduler.api.schemas.jobs import CronOut
from scheduler.models import LARGEST_ID, CronJob
from scheduler.models.job_state import state_of
from scheduler.operations.control import Control, InvalidJob
from scheduler.operations.masking import mask
from scheduler.operations.permissions import Action

CronId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]


def shown(job: CronJob, caller: Caller) -> dict[str, Any]:
    """A job as this caller may see it."""
    values = {
        name: getattr(job, name)
        for name in CronOut.model_fields
        if name not in ("state", "handler_params")
    }
    params = mask(job.handler_params) if caller.may(Action.VIEW_PARAMS) else None
    return {**values, "state": state_of(job), "handler_params": params}


def saved(job: CronJob, caller: Caller) -> dict[str, Any]:
    return {**shown(job, caller), "warnings": Control().warnings(job)}


def unless_name_is_taken(
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
