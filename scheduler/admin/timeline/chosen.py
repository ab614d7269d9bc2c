"""The jobs that the page shows: filtered, by name, a page of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.core.paginator import Page, Paginator
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from scheduler.admin.page_filters import (
    Filter,
    filter_of,
    given,
    job_filters,
    narrowed,
    typed,
)
from scheduler.labels import label
from scheduler.models import CronJob
from scheduler.models.job_state import IN_STATE
from scheduler.operations.search import search_of
from scheduler.states import JobState

#: So many jobs are on one page.
JOBS: Final = 500


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """`query`: what the reader has chosen, for addresses."""

    page: Page[CronJob]
    jobs: Sequence[CronJob]
    query: dict[str, str]


def chosen_jobs(request: HttpRequest, at_once: int = JOBS) -> Chosen:
    query = given(request, ("tag", "queue", "handler", "state", "q"))
    jobs = narrowed(CronJob.objects.order_by("name"), query)
    if (state := query.get("state")) in list(JobState):
        jobs = jobs.filter(IN_STATE[JobState(state)])
    if text := query.get("q"):
        jobs = jobs.filter(search_of(text)).distinct()
    page = Paginator(jobs.only(*_READ), at_once).get_page(request.GET.get("page"))
    if page.number > 1:
        query["page"] = str(page.number)
    return Chosen(page=page, jobs=list(page.object_list), query=query)


_READ: Final = (
    "name", "handler_name", "cron_expression", "timezone", "calendar", "start_at", "end_at",
    "created_at", "is_enabled", "schedule_error", "pause_reason", "paused_until", "next_run_at",
    "timeout_seconds", "queue", "is_shadow",
)  # fmt: skip


def filters(query: dict[str, str], at: str) -> list[Filter]:
    """The filters with their options, for a form. `at`: the beginning that was chosen, or ""."""
    states = [(state.value, label(state)) for state in JobState]
    return [
        *job_filters(query),
        filter_of("state", _("state"), states, query),
        typed("q", _("search"), query),
        typed("at", pgettext("time", "from"), {"at": at}, "datetime-local"),
    ]
