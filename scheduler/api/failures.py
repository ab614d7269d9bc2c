"""/failures: what failed, by kind; marking a kind as seen, and retrying its runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from ninja import Path, Query, Router
from pydantic import Field

from scheduler.api.audit import failures_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.paging import Order, Paging, page_of, refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.base import Text
from scheduler.api.schemas.failures import (
    FailureDetail,
    FailurePage,
    FailureRetried,
    FailureSeen,
)
from scheduler.models import LARGEST_ID, NO_JOB, CronJob, FailureGroup
from scheduler.operations.permissions import Action
from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT
from scheduler.store import failures

router = Router(tags=["failures"])

FailureId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]
_DAYS: Final = 30
_JOBS: Final = 20
_RUNS: Final = 100


class FailureFilters(Paging):
    is_open: bool | None = Field(default=None, description="true: those that nobody has seen")
    days: int | None = Field(default=None, ge=1, le=_DAYS, description="that happened since then")
    handler: Text | None = Field(default=None, max_length=255)
    cron_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    q: Text | None = Field(default=None, max_length=255, description="words of the error")


@router.get("/failures", response=answers(FailurePage), auth=needs(Action.VIEW_EXECUTIONS))
def list_failures(request: HttpRequest, filters: Query[FailureFilters]) -> dict[str, Any]:
    """Returns the kinds of failures, the one that happened last first."""
    refuse_unknown(request, FailureFilters)
    now = failures_of(caller_of(request)).clock.now()
    wanted = failures.Wanted(
        since=failures.last_days(now, filters.days)[0] if filters.days else None,
        is_open=filters.is_open,
        handler=filters.handler or "",
        text=filters.q or "",
        jobs=None if filters.cron_id is None else CronJob.objects.filter(pk=filters.cron_id),
    )
    found, counts = page_of(failures.groups(wanted), filters, _NEWEST_FIRST)
    return {**counts, "items": [failures.facts_of(group) for group in found]}


@router.get(
    "/failures/{int:failure_id}",
    response=answers(FailureDetail, 404),
    auth=needs(Action.VIEW_EXECUTIONS),
)
def get_failure(request: HttpRequest, failure_id: FailureId) -> dict[str, Any]:
    """Returns one kind: when it happened, to which jobs, and its runs that were not retried."""
    refuse_unknown(request)
    group = FailureGroup.objects.get(pk=failure_id)
    days = failures.last_days(failures_of(caller_of(request)).clock.now(), _DAYS)
    spread = failures.spreads([group.pk], days[0])[group.pk]
    jobs = failures.jobs_of(group.pk, days[0], _JOBS)
    return {
        **failures.facts_of(group),
        "days": [{"day": day, "runs": runs} for day, runs in sorted(spread.by_day.items())],
        "jobs": [
            {"job_id": None if job_id == NO_JOB else job_id, "runs": runs} for job_id, runs in jobs
        ],
        "execution_ids": failures.ids_of(group.pk, _RUNS),
    }


@router.post(
    "/failures/{int:failure_id}/seen",
    response=answers(FailureSeen, 404, 409),
    auth=needs(Action.RETRY_EXECUTION),
)
def see_failure(request: HttpRequest, failure_id: FailureId) -> dict[str, Any]:
    """Mark a kind as seen, until it happens again."""
    group = failures_of(caller_of(request)).see(failure_id)
    return {"id": group.pk, "is_open": False}


@router.post(
    "/failures/{int:failure_id}/retry",
    response=answers(FailureRetried, 404, 409),
    auth=needs(Action.RETRY_EXECUTION),
)
def retry_failure(request: HttpRequest, failure_id: FailureId) -> dict[str, Any]:
    """Retry the runs that failed so and were not retried, the oldest first, up to 10,000."""
    retried, more = failures_of(caller_of(request)).retry_group(failure_id)
    return {"retried": retried, "more": more}


def _cursor_of(group: FailureGroup) -> str:
    return f"{group.last_at.isoformat()}_{group.pk}"


def _after(rows: QuerySet[Any], cursor: str) -> QuerySet[Any]:
    at, _, number = cursor.rpartition("_")
    last_at = datetime.fromisoformat(at)
    if last_at.tzinfo is None or not FIRST_INSTANT <= last_at <= LAST_INSTANT:
        raise ValueError(cursor)
    if not (number.isascii() and number.isdigit() and int(number) <= LARGEST_ID):
        raise ValueError(cursor)
    return rows.filter(Q(last_at__lt=last_at) | Q(last_at=last_at, id__lt=int(number)))


_NEWEST_FIRST: Final = Order(by=("-last_at", "-id"), cursor_of=_cursor_of, after=_after)
