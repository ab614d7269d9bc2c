"""The jobs that the page shows: filtered, by name, a page of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.core.paginator import Page, Paginator
from django.http import HttpRequest
from django.utils.translation import gettext as _

from scheduler.labels import label
from scheduler.models import CronJob, JobTag
from scheduler.models.job_state import IN_STATE
from scheduler.operations.search import search_of
from scheduler.states import JobState

#: So many jobs are on one page.
JOBS: Final = 500
#: So many names are offered in a filter.
OFFERED: Final = 200
_LONGEST: Final = 255


@dataclass(frozen=True, kw_only=True)
class Filter:
    name: str
    title: str
    chosen: str
    options: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """`query`: what the reader has chosen, for addresses."""

    page: Page[CronJob]
    jobs: Sequence[CronJob]
    query: dict[str, str]


_COLUMNS: Final = {"tag": "tag_rows__tag", "queue": "queue", "handler": "handler_name"}
_DEFAULT_QUEUE: Final = "-"


def chosen_jobs(request: HttpRequest, at_once: int = JOBS) -> Chosen:
    names = (*_COLUMNS, "state", "q")
    # PostgreSQL refuses the sign NUL in a text.
    given = {name: request.GET.get(name, "")[:_LONGEST].replace("\0", "") for name in names}
    query = {name: value for name, value in given.items() if value}
    jobs = CronJob.objects.order_by("name")
    for name, column in _COLUMNS.items():
        if value := given[name]:
            is_default = name == "queue" and value == _DEFAULT_QUEUE
            jobs = jobs.filter(**{column: "" if is_default else value})
    if given["state"] in list(JobState):
        jobs = jobs.filter(IN_STATE[JobState(given["state"])])
    if given["q"]:
        jobs = jobs.filter(search_of(given["q"])).distinct()
    page = Paginator(jobs.only(*_READ), at_once).get_page(request.GET.get("page"))
    if page.number > 1:
        query["page"] = str(page.number)
    return Chosen(page=page, jobs=list(page.object_list), query=query)


_READ: Final = (
    "name", "handler_name", "cron_expression", "timezone", "calendar", "start_at", "end_at",
    "created_at", "is_enabled", "schedule_error", "pause_reason", "paused_until", "next_run_at",
    "timeout_seconds", "queue",
)  # fmt: skip


def filters(query: dict[str, str]) -> list[Filter]:
    """The filters with their options, for a form."""
    tags = JobTag.objects.order_by("tag").values_list("tag", flat=True).distinct()[:OFFERED]
    states = [(state.value, label(state)) for state in JobState]
    queues = [(name or _DEFAULT_QUEUE, name or _("default queue")) for name in _names("queue")]
    handlers = [(name, name) for name in _names("handler_name")]
    return [
        _filter("tag", _("tag"), [(tag, tag) for tag in tags], query),
        _filter("queue", _("queue"), queues, query),
        _filter("handler", _("handler"), handlers, query),
        _filter("state", _("state"), states, query),
    ]


def _names(column: str) -> list[str]:
    names: Any = CronJob.objects.order_by(column).values_list(column, flat=True).distinct()
    return list(names[:OFFERED])


def _filter(
    name: str, title: str, options: Sequence[tuple[str, str]], query: dict[str, str]
) -> Filter:
    chosen = query.get(name, "")
    if chosen and chosen not in dict(options):
        options = [*options, (chosen, chosen)]
    return Filter(name=name, title=title, chosen=chosen, options=options)
