"""A job as the API returns it, and the error for a name that another job has."""

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
    """Returns a job as a body. Params are masked, or None if the caller may not see them."""
    values = {
        name: getattr(job, name)
        for name in CronOut.model_fields
        if name not in ("state", "handler_params", "alert_rules")
    }
    params = mask(job.handler_params) if caller.may(Action.VIEW_PARAMS) else None
    return {
        **values,
        "state": state_of(job),
        "handler_params": params,
        "alert_rules": mask(job.alert_rules),
    }


def answered(job: CronJob, caller: Caller) -> dict[str, Any]:
    """Returns the body of the answer to a verb: only what the caller needs to know of its own act,
    unless it may see jobs.
    """
    if caller.may(Action.VIEW_JOBS):
        return shown(job, caller)
    return {"id": job.pk, "is_enabled": job.is_enabled, "state": state_of(job)}


def saved(job: CronJob, caller: Caller) -> dict[str, Any]:
    return {**answered(job, caller), "warnings": Control().warnings(job)}


def unless_name_is_taken(
    work: Callable[[], CronJob], values: dict[str, Any], own_id: int | None
) -> CronJob:
    """Returns the job from `work`. Raises ApiError (409) if another job has the name."""
    try:
        return work()
    except InvalidJob as error:
        namesakes = CronJob.objects.exclude(pk=own_id or 0).filter(name=values.get("name", ""))
        if set(error.problems) == {"name"} and values.get("name") and namesakes.exists():
            raise ApiError(
                409, "DUPLICATE_NAME", str(error), fields=dict(error.problems)
            ) from error
        raise
