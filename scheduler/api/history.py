"""/history, and the history of one job, execution or backfill: who did what."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from ninja import Query, Router
from pydantic import Field

from scheduler.api.auth import Caller, caller_of, needs
from scheduler.api.backfills import BackfillId
from scheduler.api.cron_answers import CronId
from scheduler.api.execution_answers import ExecutionId
from scheduler.api.paging import Paging, by_id, page_of, refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.base import Text, utc_text
from scheduler.api.schemas.history import ActivityPage
from scheduler.models import Activity, Backfill, CronJob, JobExecution
from scheduler.operations.history import describe, facts_of
from scheduler.operations.permissions import SEES_HISTORY_OF, Action
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity

router = Router(tags=["history"])


class HistoryFilters(Paging):
    actor: Text | None = Field(default=None, max_length=150)
    verb: ActivityVerb | None = None


@router.get("/history", response=answers(ActivityPage), auth=needs(Action.VIEW_JOBS))
def list_history(request: HttpRequest, filters: Query[HistoryFilters]) -> dict[str, Any]:
    """Returns the history of all that the caller may see, newest first."""
    refuse_unknown(request, HistoryFilters)
    caller = caller_of(request)
    seen = [kind.value for kind, action in SEES_HISTORY_OF.items() if caller.may(action)]
    rows = Activity.objects.filter(target_kind__in=seen)
    if filters.actor is not None:
        rows = rows.filter(actor=filters.actor)
    if filters.verb is not None:
        rows = rows.filter(verb=filters.verb.value)
    return _page(rows, filters, caller)


@router.get(
    "/crons/{int:cron_id}/history",
    response=answers(ActivityPage, 404),
    auth=needs(Action.VIEW_JOBS),
)
def list_history_of_cron(
    request: HttpRequest, cron_id: CronId, filters: Query[Paging]
) -> dict[str, Any]:
    """Returns the history of a job, newest first, also after the job has been deleted."""
    return _of_row(request, TargetKind.JOB, CronJob, cron_id, filters)


@router.get(
    "/jobs/{int:execution_id}/history",
    response=answers(ActivityPage, 404),
    auth=needs(Action.VIEW_EXECUTIONS),
)
def list_history_of_execution(
    request: HttpRequest, execution_id: ExecutionId, filters: Query[Paging]
) -> dict[str, Any]:
    """Returns the history of an execution, newest first, also after it has been deleted."""
    return _of_row(request, TargetKind.EXECUTION, JobExecution, execution_id, filters)


@router.get(
    "/backfills/{int:backfill_id}/history",
    response=answers(ActivityPage, 404),
    auth=needs(Action.VIEW_JOBS),
)
def list_history_of_backfill(
    request: HttpRequest, backfill_id: BackfillId, filters: Query[Paging]
) -> dict[str, Any]:
    """Returns the history of a backfill, newest first, also after it has been deleted."""
    return _of_row(request, TargetKind.BACKFILL, Backfill, backfill_id, filters)


def _of_row(
    request: HttpRequest, kind: TargetKind, model: type[Model], row_id: int, filters: Paging
) -> dict[str, Any]:
    refuse_unknown(request, Paging)
    rows = activity.of_target(kind, row_id)
    if not rows.exists():
        model._default_manager.only("pk").get(pk=row_id)  # 404 unless the row exists
    return _page(rows, filters, caller_of(request))


def _page(rows: QuerySet[Activity], filters: Paging, caller: Caller) -> dict[str, Any]:
    found, counts = page_of(rows, filters, by_id(newest_first=True))
    sees_params = caller.may(Action.VIEW_PARAMS)
    return {**counts, "items": [_shown(entry, sees_params=sees_params) for entry in found]}


def _shown(entry: Activity, *, sees_params: bool) -> dict[str, Any]:
    names = ("id", "at", "actor", "user_id", "door", "verb", "target_kind", "target_id",
             "target_name")  # fmt: skip
    return {
        **{name: getattr(entry, name) for name in names},
        "text": describe(entry, utc_text),
        "facts": facts_of(entry, sees_params=sees_params),
    }
