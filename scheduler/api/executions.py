"""/jobs: reads and deletes executions. The other actions are in execution_actions.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Query, Router, Status
from pydantic import Field

from handlers.fan_out import MAX_SHARDS
from scheduler.api.audit import control_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.errors import invalid
from scheduler.api.execution_answers import LISTED, ExecutionId, detail, listed
from scheduler.api.paging import Order, Paging, page_of, refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.base import Text
from scheduler.api.schemas.executions import (
    AttemptList,
    ExecutionDetail,
    ExecutionPage,
    LogPage,
    ShardPage,
)
from scheduler.models import LARGEST_ID, JobAttempt, JobExecution, JobLog, SlotOfRun, in_slots
from scheduler.operations.permissions import Action
from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT
from scheduler.states import FINAL, ParamSource, RunStatus, WaitsFor
from scheduler.store.deliveries import DELIVERY_HANDLER, of_handler
from scheduler.store.listing import in_status
from scheduler.store.shards import counts_of
from scheduler.store.waiting import waits_for

router = Router(tags=["jobs"])

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# A plus sign in a query that was not written as %2B arrives as a space.
_LOST_PLUS: Final = re.compile(r" (\d\d:?\d\d)$")


class ExecutionFilters(Paging):
    cron_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    status: list[RunStatus] | None = Field(default=None, description="may be given several times")
    handler: Text | None = Field(
        default=None,
        max_length=255,
        description=f"without it, all but {DELIVERY_HANDLER}, which delivers messages about alerts",
    )
    source: ParamSource | None = None
    waits_for: WaitsFor | None = Field(default=None, description="only those that wait, for this")
    from_date: Text | None = Field(
        default=None,
        max_length=40,
        description="slots, or times of asking, from then on: an instant with its zone, or a day",
    )
    to_date: Text | None = Field(
        default=None,
        max_length=40,
        description="slots, or times of asking, until then: an instant with its zone, or a day",
    )


# --- the list, and one ---------------------------------------------------------------------------


@router.get("", response=answers(ExecutionPage), auth=needs(Action.VIEW_EXECUTIONS))
def list_executions(request: HttpRequest, filters: Query[ExecutionFilters]) -> dict[str, Any]:
    """Returns the executions: what was planned or asked for last comes first; with `from_date` or
    `to_date` the newest slots. Shards are not among them: ask for those of one execution.
    """
    refuse_unknown(request, ExecutionFilters)
    rows = JobExecution.objects.filter(parent_id__isnull=True)
    if filters.cron_id is not None:
        rows = rows.filter(job_id=filters.cron_id)
    if filters.status:
        rows = in_status(rows, filters.status)
    if filters.waits_for is not None:
        now = control_of(caller_of(request)).clock.now()
        rows = rows.filter(waits_for(filters.waits_for, now))
    rows = of_handler(rows, filters.handler)
    if filters.source is not None:
        rows = rows.filter(param_source=filters.source)
    order = _NEWEST_FIRST
    if filters.from_date is not None or filters.to_date is not None:
        first = _moment("from_date", filters.from_date)
        last = _moment("to_date", filters.to_date, is_end=True)
        rows, order = in_slots(rows, first, last), _NEWEST_SLOT_FIRST
    found, counts = page_of(rows.only(*LISTED), filters, order)
    return {**counts, "items": [listed(execution) for execution in found]}


@router.get(
    "/{int:execution_id}",
    response=answers(ExecutionDetail, 404),
    auth=needs(Action.VIEW_EXECUTIONS),
)
def get_execution(request: HttpRequest, execution_id: ExecutionId) -> dict[str, Any]:
    """Returns one execution with all its details."""
    refuse_unknown(request)
    return detail(JobExecution.objects.get(pk=execution_id), caller_of(request))


@router.delete(
    "/{int:execution_id}",
    response=answers(None, 404, 409, status=204),
    auth=needs(Action.DELETE_EXECUTION),
)
def delete_execution(request: HttpRequest, execution_id: ExecutionId) -> Status[None]:
    """Delete an execution that has ended. Its slot does not run again."""
    control_of(caller_of(request)).delete_execution(execution_id)
    return Status(204, None)


@router.get(
    "/{int:execution_id}/attempts",
    response=answers(AttemptList, 404),
    auth=needs(Action.VIEW_EXECUTIONS),
)
def list_attempts(request: HttpRequest, execution_id: ExecutionId) -> dict[str, Any]:
    """Returns the ended attempts of an execution, oldest first."""
    refuse_unknown(request)
    JobExecution.objects.only("id").get(pk=execution_id)
    may_see = caller_of(request).may(Action.VIEW_PARAMS)
    attempts = JobAttempt.objects.filter(execution_id=execution_id).order_by("attempt")
    return {
        "items": [
            {
                "attempt": each.attempt,
                "outcome": each.outcome,
                "worker": each.worker,
                "started_at": each.started_at,
                "ended_at": each.ended_at,
                "duration_seconds": max(0.0, (each.ended_at - each.started_at).total_seconds()),
                "error": each.error,
                "exception_class": each.exception_class,
                "traceback": each.traceback if may_see else None,
            }
            for each in attempts[:1000]
        ]
    }


@router.get(
    "/{int:execution_id}/shards",
    response=answers(ShardPage, 404),
    auth=needs(Action.VIEW_EXECUTIONS),
)
def list_shards(
    request: HttpRequest,
    execution_id: ExecutionId,
    first: Annotated[int, Query(alias="from", ge=0, le=MAX_SHARDS)] = 0,
    size: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """Returns the shards of a divided execution, the first one first. Others have none."""
    refuse_unknown(request, ["from", "size"])
    JobExecution.objects.only("id").get(pk=execution_id)
    rows = JobExecution.objects.filter(parent_id=execution_id, shard__gte=first)
    found = list(rows.only(*LISTED).order_by("shard")[: size + 1])
    return {
        "items": [listed(execution) for execution in found[:size]],
        "counts": counts_of(execution_id),
        "next_from": found[size].shard if len(found) > size else None,
    }


@router.get(
    "/{int:execution_id}/logs",
    response=answers(LogPage, 404),
    auth=needs(Action.VIEW_EXECUTIONS),
)
def list_logs(
    request: HttpRequest,
    execution_id: ExecutionId,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
    size: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """Returns the log lines of an execution, oldest first, to callers who may see parameters.

    While the execution runs, ask again with `next_cursor` for new lines.
    """
    refuse_unknown(request, ["cursor", "size"])
    caller_of(request).require(Action.VIEW_PARAMS)  # a line may contain parameters
    execution = JobExecution.objects.only("id", "status").get(pk=execution_id)
    lines = JobLog.objects.filter(execution_id=execution_id).order_by("attempt", "seq")
    if cursor is not None:
        found = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", cursor, re.ASCII)
        if found is None:
            raise invalid({"cursor": [_("is not one that this list gave")]})
        attempt, seq = int(found[1]), int(found[2])
        lines = lines.filter(Q(attempt__gt=attempt) | Q(attempt=attempt, seq__gt=seq))
    rows = list(lines[: size + 1])
    more, rows = len(rows) > size, rows[:size]
    is_final = execution.status in FINAL
    last = f"{rows[-1].attempt}.{rows[-1].seq}" if rows else cursor
    return {
        "items": [
            {name: getattr(row, name) for name in ("attempt", "seq", "at", "level", "message")}
            for row in rows
        ],
        "next_cursor": last,
        "is_complete": is_final and not more,
    }


# --- helpers -------------------------------------------------------------------------------------


def _moment(field: str, text: str | None, *, is_end: bool = False) -> datetime | None:
    """Parses an instant, or a day in the configured zone. `is_end`: the end of the day."""
    if text is None:
        return None
    text = _LOST_PLUS.sub(r"+\1", text.strip())
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            day = date.fromisoformat(text)
            zone = ZoneInfo(settings.TIME_ZONE)
            found = datetime(day.year, day.month, day.day, tzinfo=zone)
            if is_end:
                after = day + timedelta(days=1)
                found = datetime(after.year, after.month, after.day, tzinfo=zone)
                found -= timedelta(microseconds=1)
        else:
            found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise invalid({field: [_("must say its time zone, as in 2026-01-31T18:00:00Z")]})
        found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        text = _("is no instant; right is 2026-01-31T18:00:00Z, or the day 2026-01-31")
        raise invalid({field: [text]}) from None
    return min(max(found, FIRST_INSTANT), LAST_INSTANT)


def _newest_first(by: Any, column: str, at: Callable[[JobExecution], datetime]) -> Order:
    """Returns the order by an instant, `column` in conditions, and by id where it is the same."""

    def cursor_of(execution: JobExecution) -> str:
        micros = (at(execution) - _EPOCH) // timedelta(microseconds=1)
        return f"{micros}.{execution.pk}"

    def after(rows: QuerySet[Any], cursor: str) -> QuerySet[Any]:
        found = re.fullmatch(r"(-?\d{1,18})\.(\d{1,18})", cursor, re.ASCII)
        if found is None:
            raise ValueError(cursor)
        instant, last = _EPOCH + timedelta(microseconds=int(found[1])), int(found[2])
        earlier = Q(**{f"{column}__lt": instant}) | Q(id__lt=last)
        # The database finds the rows of the first condition by an index.
        return rows.filter(**{f"{column}__lte": instant}).filter(earlier)

    return Order(by=(by, "-id"), cursor_of=cursor_of, after=after)


# The same orders as the indexes on scheduled_time, (job, scheduled_time) and the slot, so that no
# query sorts. Of one job the slot has no index: only a range of slots is read by it.
_NEWEST_FIRST: Final = _newest_first(
    "-scheduled_time", "scheduled_time", lambda execution: execution.scheduled_time
)
_NEWEST_SLOT_FIRST: Final = _newest_first(
    SlotOfRun().desc(), "of_slot", lambda execution: execution.slot
)
