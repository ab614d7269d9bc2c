"""The views of the activity: the page, and the same as a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from scheduler.admin import csv_export, formatting, saved_filters
from scheduler.admin.activity.chosen import Chosen, chosen, filters, kinds_for
from scheduler.admin.history import line_of
from scheduler.admin.site import reverse, worker_url
from scheduler.labels import label_of
from scheduler.models import (
    Activity,
    Alert,
    Backfill,
    CronJob,
    FailureGroup,
    JobExecution,
    JobFreeze,
)
from scheduler.operations import history
from scheduler.operations.permissions import Action, may
from scheduler.states import Door, TargetKind
from scheduler.store import activity

_ROWS: Final = 50
#: The page cuts longer values.
_LONGEST: Final = 300

# The rows that have a page of their own, and its address.
_PAGES: Final[dict[str, tuple[type[Model], str]]] = {
    TargetKind.JOB: (CronJob, "scheduler_cronjob_change"),
    TargetKind.EXECUTION: (JobExecution, "scheduler_jobexecution_change"),
    TargetKind.BACKFILL: (Backfill, "scheduler_backfill_change"),
    TargetKind.ALERT: (Alert, "scheduler_alert_change"),
    TargetKind.FAILURE: (FailureGroup, "failure"),
    TargetKind.FREEZE: (JobFreeze, "freeze"),
}


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of the activity on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    return [
        path("activity/", site.admin_view(page), name="activity"),
        path("activity/csv/", site.admin_view(_csv), name="activity-csv"),
    ]


def _check(request: HttpRequest) -> None:
    if not kinds_for(request.user):
        raise PermissionDenied


def _page(request: HttpRequest, site: Any) -> HttpResponse:
    _check(request)
    shown = chosen(request)
    part = _part(shown, size=_ROWS, before=shown.before)
    sees_params = may(request.user, Action.VIEW_PARAMS)
    query = shown.query
    context = {
        **site.each_context(request),
        **saved_filters.bar(request, "activity"),
        "title": _("Activity"),
        "filters": filters(query, request.user),
        "hidden": {name: query[name] for name in ("id",) if name in query},
        "query": query,
        "problems": shown.problems,
        "rows": _rows(part.entries, sees_params=sees_params),
        "is_cut": part.is_cut,
        "looked_at": activity.LOOKED_AT,
        "older": _url(query, part.next_before) if part.next_before else "",
        "newest": _url(query) if shown.before else "",
        "csv_url": reverse("admin:activity-csv", query=query),
    }
    return TemplateResponse(request, "scheduler/activity/page.html", context)


def _part(shown: Chosen, *, size: int, before: int | None) -> activity.Part:
    looks_at = None if shown.is_indexed else activity.LOOKED_AT
    return activity.part_of(shown.rows, size=size, before=before, looks_at=looks_at)


def _url(query: dict[str, str], before: int | None = None) -> str:
    whole = {**query, **({"before": str(before)} if before else {})}
    return f"?{urlencode(whole)}"


def _rows(entries: Sequence[Activity], *, sees_params: bool) -> list[dict[str, Any]]:
    there = _there(entries)
    return [
        {
            "line": line_of(entry, sees_params=sees_params),
            "kind": label_of(TargetKind, entry.target_kind),
            "name": _name(entry),
            "was": history.definition_in(entry, sees_params=sees_params, longest=_LONGEST),
            **_link(entry, there),
        }
        for entry in entries
    ]


def _name(entry: Activity) -> str:
    if entry.target_id is None:
        return entry.target_name
    return f"#{entry.target_id} {entry.target_name}".rstrip()


def _there(entries: Iterable[Activity]) -> dict[str, set[int]]:
    """Returns the ids of the rows that are still there, by kind. One query per kind."""
    ids: dict[str, set[int]] = {}
    for entry in entries:
        if entry.target_id is not None and entry.target_kind in _PAGES:
            ids.setdefault(entry.target_kind, set()).add(entry.target_id)
    return {
        kind: set(
            _PAGES[kind][0]._default_manager.filter(pk__in=found).values_list("pk", flat=True)
        )
        for kind, found in ids.items()
    }


def _link(entry: Activity, there: dict[str, set[int]]) -> dict[str, Any]:
    """Returns the page of the row, or else all that is known about it."""
    if entry.target_id is None:
        is_worker = entry.target_kind == TargetKind.WORKER and entry.target_name
        return {"url": worker_url(entry.target_name) if is_worker else "", "is_gone": False}
    if entry.target_id in there.get(entry.target_kind, ()):
        name = _PAGES[entry.target_kind][1]
        return {"url": reverse(f"admin:{name}", args=[entry.target_id]), "is_gone": False}
    return {
        "url": _url({"kind": entry.target_kind, "id": str(entry.target_id)}),
        "is_gone": entry.target_kind in _PAGES,
    }


# --- the same as a file ---------------------------------------------------------------------------


def _csv(request: HttpRequest) -> StreamingHttpResponse:
    _check(request)
    shown = chosen(request)
    head = [
        _("at"), _("who"), _("what"), _("through"), _("about"), _("number"), _("name"),
    ]  # fmt: skip
    return csv_export.response("activity", head, _batches(shown))


def _batches(shown: Chosen) -> Iterator[list[csv_export.Row]]:
    before: int | None = None
    left = csv_export.LIMIT + 1
    while left > 0:
        part = _part(shown, size=min(csv_export.BATCH, left), before=before)
        yield [_cells(entry) for entry in part.entries]
        left -= len(part.entries)
        before = part.next_before
        if before is None:
            return


def _cells(entry: Activity) -> csv_export.Row:
    return [
        formatting.exact(entry.at),
        entry.actor,
        history.describe(entry, formatting.exact),
        label_of(Door, entry.door),
        label_of(TargetKind, entry.target_kind),
        entry.target_id or "",
        entry.target_name,
    ]
