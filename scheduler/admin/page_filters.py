"""Filters of pages that are no list of Django's: what the address says, and the form that asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from scheduler.models import CronJob, JobTag

#: So many names are offered in a filter.
OFFERED: Final = 200
DEFAULT_QUEUE: Final = "-"
_LONGEST: Final = 255
_COLUMNS: Final = {"tag": "tag_rows__tag", "queue": "queue", "handler": "handler_name"}


@dataclass(frozen=True, kw_only=True)
class Filter:
    name: str
    title: str
    chosen: str
    options: Sequence[tuple[str, str]] = ()
    has_all: bool = True
    """It may be left empty, which means all."""
    typed: str = ""
    """The type of the input, such as `search`. Empty: one of the options is chosen."""


def given(request: HttpRequest, names: Iterable[str]) -> dict[str, str]:
    """Returns what the address says about these names, without the empty ones."""
    # PostgreSQL refuses the sign NUL in a text.
    texts = {name: request.GET.get(name, "")[:_LONGEST].replace("\0", "") for name in names}
    return {name: text for name, text in texts.items() if text.strip()}


def narrowed(jobs: QuerySet[CronJob], query: dict[str, str]) -> QuerySet[CronJob]:
    """Returns those of `jobs` that have the chosen tag, queue and handler."""
    for name, column in _COLUMNS.items():
        if value := query.get(name):
            is_default = name == "queue" and value == DEFAULT_QUEUE
            jobs = jobs.filter(**{column: "" if is_default else value})
    return jobs


def job_filters(query: dict[str, str]) -> list[Filter]:
    """Returns the filters by tag, queue and handler, with what there is to choose."""
    tags = JobTag.objects.order_by("tag").values_list("tag", flat=True).distinct()[:OFFERED]
    queues = [(name or DEFAULT_QUEUE, name or _("default queue")) for name in _names("queue")]
    handlers = [(name, name) for name in _names("handler_name")]
    return [
        filter_of("tag", _("tag"), [(tag, tag) for tag in tags], query),
        filter_of("queue", _("queue"), queues, query),
        filter_of("handler", _("handler"), handlers, query),
    ]


def filter_of(
    name: str,
    title: str,
    options: Sequence[tuple[str, str]],
    query: dict[str, str],
    *,
    has_all: bool = True,
) -> Filter:
    chosen = query.get(name, "")
    if chosen and chosen not in dict(options):
        options = [*options, (chosen, chosen)]
    return Filter(name=name, title=title, chosen=chosen, options=options, has_all=has_all)


def typed(name: str, title: str, query: dict[str, str], kind: str = "search") -> Filter:
    """Returns a filter that takes what is typed. `kind`: the type of its input."""
    return Filter(name=name, title=title, chosen=query.get(name, ""), typed=kind)


def _names(column: str) -> list[str]:
    names: Any = CronJob.objects.order_by(column).values_list(column, flat=True).distinct()
    return list(names[:OFFERED])
