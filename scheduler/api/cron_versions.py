"""/crons/{id}/drift and /crons/{id}/restore: a job beside its file, and as it was before."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Router

from scheduler.api.audit import control_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.cron_answers import CronId, shown, unless_name_is_taken
from scheduler.api.errors import invalid
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.versions import DriftOut, RestoreIn, RestoreOut
from scheduler.models import CronJob
from scheduler.operations.drift import drift_of
from scheduler.operations.permissions import Action

router = Router(tags=["crons"])


@router.get("/{int:cron_id}/drift", response=answers(DriftOut, 404), auth=needs(Action.VIEW_JOBS))
def drift_of_cron(request: HttpRequest, cron_id: CronId) -> Any:
    """How a job differs from the file that keeps it. `source` is empty if no file does."""
    refuse_unknown(request)
    job = CronJob.objects.get(pk=cron_id)
    drift = drift_of(job, sees_params=caller_of(request).may(Action.VIEW_PARAMS))
    return drift if drift is not None else DriftOut()


@router.post(
    "/{int:cron_id}/restore",
    response=answers(RestoreOut, 404, 409),
    auth=needs(Action.CHANGE_JOB),
)
def restore_cron(request: HttpRequest, cron_id: CronId, given: RestoreIn) -> dict[str, Any]:
    """Make a job what it was, by its history. Whether it is enabled stays as it is. The caller must
    also be allowed to see it.
    """
    caller = caller_of(request)
    caller.require(Action.VIEW_JOBS)
    control = control_of(caller)
    if (given.at is None) == (given.entry_id is None):
        raise invalid({"at": [_("give an instant or an entry, one of the two")]})
    job = CronJob.objects.get(pk=cron_id)
    version = control.version(cron_id, entry_id=given.entry_id, at=given.at)
    restoration = control.restoration(
        job, version, sees_params=caller.may(Action.VIEW_PARAMS)
    )  # fmt: skip
    if not given.dry_run:
        name = {"name": version.definition.get("name", "")}
        job = unless_name_is_taken(
            lambda: control.restore(cron_id, version, tick_seq=given.tick_seq), name, cron_id
        )
    return {
        "done": not given.dry_run,
        "entry_id": version.entry_id,
        "at": version.at,
        "changes": restoration.changes,
        "kept_secrets": restoration.kept_secrets,
        "cron": shown(job, caller),
    }
