"""/jobs: the executions, and what a person may do with them; /events."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Header, Path, Query, Router, Status
from pydantic import Field

from scheduler.api.acting import CHANGE, DELETION, act, act_on_many, control_of
from scheduler.api.answers import answers
from scheduler.api.auth import Caller, caller_of, needs
from scheduler.api.errors import ApiError, invalid
from scheduler.api.masked import laid_over, meant_by
from scheduler.api.paging import Order, Paging, page_of, refuse_unknown
from scheduler.api.schemas import (
    LARGEST_ID,
    AttemptList,
    CancelIn,
    CancelMany,
    EventIn,
    ExecutionDetail,
    ExecutionPage,
    Ids,
    LogPage,
    Outcome,
    Outcomes,
    RunNow,
    Text,
)
from scheduler.models import CronJob, JobAttempt, JobExecution, JobLog
from scheduler.operations.control import InvalidJob, NotPossible
from scheduler.operations.masking import mask
from scheduler.operations.permissions import Action
from scheduler.schedule.cron import FIRST_INSTANT, LAST_INSTANT
from scheduler.states import FINAL, ParamSource, RunStatus

router = Router(tags=["jobs"])
events = Router(tags=["events"])

ExecutionId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Where a plus sign was not written as %2B in an address.
_LOST_PLUS: Final = re.compile(r" (\d\d:?\d\d)$")

_LISTED: Final = (
    "id", "job_id", "job_name", "handler_name", "scheduled_time", "logical_time", "status",
    "param_source", "requested_by", "backfill_id", "attempt", "failures", "max_retry",
    "started_at", "finished_at", "progress", "progress_message", "created_at",
)  # fmt: skip


class ExecutionFilters(Paging):
    cron_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    status: list[RunStatus] | None = Field(default=None, description="may be repeated")
    handler: Text | None = Field(default=None, max_length=255)
    source: ParamSource | None = None
    from_date: Text | None = Field(
        default=None,
        max_length=40,
        description="scheduled at or after: an instant with its zone, or a day",
    )
    to_date: Text | None = Field(
        default=None,
        max_length=40,
        description="scheduled at or before: an instant with its zone, or a whole day",
    )


def listed(execution: JobExecution) -> dict[str, Any]:
    values = {name: getattr(execution, name) for name in _LISTED if name != "failures"}
    took = None
    if execution.started_at and execution.finished_at:
        took = max(0.0, (execution.finished_at - execution.started_at).total_seconds())
    return {**values, "retry_count": execution.failures, "duration_seconds": took}


def detail(execution: JobExecution, caller: Caller) -> dict[str, Any]:
    """An execution as this caller may see it."""
    may_see = caller.may(Action.VIEW_PARAMS)
    return {
        **listed(execution),
        "params": mask(execution.params) if may_see else None,
        "result": mask(execution.result) if may_see else None,
        "error_message": execution.error_message,
        "idempotency_key": execution.dedupe_key,
        "queue": execution.queue,
        "priority": execution.priority,
        "timeout_seconds": execution.timeout_seconds,
        "available_at": execution.available_at,
        "publish_at": execution.publish_at,
        "publish_count": execution.publish_count,
        "worker": execution.lease_owner,
        "lease_expires_at": execution.lease_expires_at,
        "deadline_at": execution.deadline_at,
        "cancel_requested_at": execution.cancel_requested_at,
        "overran": execution.overran,
    }


# --- the list, and one ---------------------------------------------------------------------------


@router.get("", response=answers(ExecutionPage), auth=needs(Action.VIEW_EXECUTIONS))
def list_executions(request: HttpRequest, filters: Query[ExecutionFilters]) -> dict[str, Any]:
    """Executions, the newest slot first."""
    refuse_unknown(request, ExecutionFilters)
    rows = JobExecution.objects.all()
    if filters.cron_id is not None:
        rows = rows.filter(job_id=filters.cron_id)
    if filters.status:
        rows = rows.filter(status__in=sorted(set(filters.status)))
    if filters.handler is not None:
        rows = rows.filter(handler_name=filters.handler)
    if filters.source is not None:
        rows = rows.filter(param_source=filters.source)
    if filters.from_date is not None:
        rows = rows.filter(scheduled_time__gte=_moment("from_date", filters.from_date))
    if filters.to_date is not None:
        end = _moment("to_date", filters.to_date, is_end=True)
        rows = rows.filter(scheduled_time__lte=end)
    found, counts = page_of(rows.only(*_LISTED), filters, _NEWEST_FIRST)
    return {**counts, "items": [listed(execution) for execution in found]}


@router.get(
    "/{int:execution_id}",
    response=answers(ExecutionDetail, 404),
    auth=needs(Action.VIEW_EXECUTIONS),
)
def get_execution(request: HttpRequest, execution_id: ExecutionId) -> dict[str, Any]:
    """One execution, whole."""
    refuse_unknown(request)
    return detail(JobExecution.objects.get(pk=execution_id), caller_of(request))


@router.delete(
    "/{int:execution_id}",
    response=answers(None, 404, 409, status=204),
    auth=needs(Action.DELETE_EXECUTION),
)
def delete_execution(request: HttpRequest, execution_id: ExecutionId) -> Status[None]:
    """Take an execution that has ended out of the history. Its slot does not run again."""
    caller = caller_of(request)
    execution = JobExecution.objects.get(pk=execution_id)
    act(
        caller,
        lambda: control_of(caller).delete_execution(execution_id),
        history=lambda _none: (execution, DELETION, "Deleted"),
    )
    return Status(204, None)


@router.get(
    "/{int:execution_id}/attempts",
    response=answers(AttemptList, 404),
    auth=needs(Action.VIEW_EXECUTIONS),
)
def list_attempts(request: HttpRequest, execution_id: ExecutionId) -> dict[str, Any]:
    """The ended attempts of an execution, in order."""
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
                "traceback": each.traceback if may_see else None,
            }
            for each in attempts[:1000]
        ]
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
    """What the handler logged, oldest first. Ask again with `next_cursor` while it runs."""
    refuse_unknown(request, ["cursor", "size"])
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


# --- verbs ---------------------------------------------------------------------------------------


@router.post(
    "/{int:execution_id}/retry",
    response=answers(ExecutionDetail, 404),
    auth=needs(Action.RETRY_EXECUTION),
)
def retry_execution(request: HttpRequest, execution_id: ExecutionId) -> dict[str, Any]:
    """An unsuccessful execution once more, with a fresh budget of retries."""
    caller = caller_of(request)
    return detail(_retry(caller, execution_id), caller)


@router.post(
    "/{int:execution_id}/cancel",
    response=answers(ExecutionDetail, 404, 409),
    auth=needs(Action.CANCEL_EXECUTION),
)
def cancel_execution(
    request: HttpRequest, execution_id: ExecutionId, given: CancelIn | None = None
) -> dict[str, Any]:
    """Cancel one that waits, or ask the worker of one that runs to stop it (it is then still
    RUNNING in the answer).
    """
    caller = caller_of(request)
    return detail(_cancel(caller, execution_id, given.reason if given else ""), caller)


@router.post(
    "/{int:execution_id}/replay",
    response=answers(ExecutionDetail, 404, status=201),
    auth=needs(Action.RUN_JOB),
)
def replay_execution(
    request: HttpRequest, execution_id: ExecutionId, given: RunNow | None = None
) -> Status[dict[str, Any]]:
    """A new run of the same job and handler, with the same parameters or others."""
    caller = caller_of(request)
    params = meant_by(
        caller,
        given.params if given else None,
        lambda: JobExecution.objects.only("params").get(pk=execution_id).params,
    )

    def about(made: JobExecution) -> tuple[JobExecution, int, str]:
        return made, CHANGE, f"Replayed from execution #{execution_id}"

    execution = act(caller, lambda: control_of(caller).replay(execution_id, params), history=about)
    return Status(201, detail(execution, caller))


@router.post("/bulk/cancel", response=answers(Outcomes), auth=needs(Action.CANCEL_EXECUTION))
def cancel_executions(request: HttpRequest, given: CancelMany) -> Outcomes:
    """Cancel executions; each has its own outcome."""
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        return Outcome(id=each, ok=True, status=_cancel(caller, each, given.reason).status)

    return act_on_many(given.ids, one)


@router.post("/bulk/retry", response=answers(Outcomes), auth=needs(Action.RETRY_EXECUTION))
def retry_executions(request: HttpRequest, given: Ids) -> Outcomes:
    """Retry executions; each has its own outcome."""
    caller = caller_of(request)

    def one(each: int) -> Outcome:
        return Outcome(id=each, ok=True, status=_retry(caller, each).status)

    return act_on_many(given.ids, one)


@events.post(
    "",
    response={**answers(ExecutionDetail, 404), 201: ExecutionDetail},
    auth=needs(Action.SEND_EVENT),
)
def send_event(
    request: HttpRequest,
    given: EventIn,
    idempotency_key: Annotated[
        str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)
    ] = None,
) -> Status[dict[str, Any]]:
    """A run because something happened: 201. With an idempotency key that was sent before: 200,
    and the run that it made.

    For a job that stores secrets, `params` and a handler other than the job's are for those alone
    who may see parameters.
    """
    caller = caller_of(request)
    handler = _one_of_two(given, "handler_name", "handler")
    key = given.idempotency_key
    if idempotency_key is not None and key is not None and idempotency_key != key:
        raise invalid({"idempotency_key": [_("contradicts the header Idempotency-Key")]})
    stored: Any = {}
    is_other_handler = False
    if given.job_id is not None:
        job = CronJob.objects.get(pk=given.job_id)
        is_other_handler = bool(handler) and handler != job.handler_name
        handler, stored = handler or job.handler_name, job.handler_params
    params = laid_over(caller, given.params, stored, is_other_handler=is_other_handler)
    execution, is_new = act(
        caller,
        lambda: control_of(caller).event(
            handler_name=handler,
            params=params,
            job_id=given.job_id,
            idempotency_key=key or idempotency_key,
        ),
        history=lambda made: (made[0] if made[1] else None, CHANGE, "Made by an event"),
    )
    return Status(201 if is_new else 200, detail(execution, caller))


# --- helpers -------------------------------------------------------------------------------------


def _retry(caller: Caller, execution_id: int) -> JobExecution:
    try:
        return act(
            caller,
            lambda: control_of(caller).retry(execution_id),
            history=lambda execution: (execution, CHANGE, "Retried"),
        )
    except NotPossible as error:
        raise ApiError(400, "NOT_RETRYABLE", str(error)) from error


def _cancel(caller: Caller, execution_id: int, reason: str) -> JobExecution:
    words = f"Cancelled: {reason.strip()}" if reason.strip() else "Cancelled"

    def work() -> JobExecution:
        control_of(caller).cancel(execution_id, reason=reason)
        return JobExecution.objects.get(pk=execution_id)

    return act(caller, work, history=lambda execution: (execution, CHANGE, words))


def _one_of_two(given: EventIn, name: str, short: str) -> str:
    first, second = getattr(given, name), getattr(given, short)
    if first and second and first != second:
        raise InvalidJob({short: [_("contradicts %(name)s; send one of the two") % {"name": name}]})
    return str(first or second)


def _moment(field: str, text: str, *, is_end: bool = False) -> datetime:
    """An instant, or a day in the zone of the pages: its begin, or its end."""
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


def _cursor_of(execution: JobExecution) -> str:
    micros = (execution.scheduled_time - _EPOCH) // timedelta(microseconds=1)
    return f"{micros}.{execution.pk}"


def _after(rows: QuerySet[Any], cursor: str) -> QuerySet[Any]:
    found = re.fullmatch(r"(-?\d{1,18})\.(\d{1,18})", cursor, re.ASCII)
    if found is None:
        raise ValueError(cursor)
    at, last = _EPOCH + timedelta(microseconds=int(found[1])), int(found[2])
    # The first condition is what the index serves.
    return rows.filter(scheduled_time__lte=at).filter(Q(scheduled_time__lt=at) | Q(id__lt=last))


# As the indexes on scheduled_time and (job, scheduled_time) are: no list has to be sorted.
_NEWEST_FIRST: Final = Order(by=("-scheduled_time", "-id"), cursor_of=_cursor_of, after=_after)
