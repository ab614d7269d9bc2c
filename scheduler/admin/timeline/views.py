"""The views of the timeline: the page, the JSON answer that its script draws, and the table.

The page itself holds the filters and asks for the answer. `view=table` shows the same as a table,
which needs no script.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.http import urlencode
from django.utils.timezone import get_current_timezone_name, localtime
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.site import job_url, reverse
from scheduler.admin.timeline.chosen import JOBS, Chosen, chosen_jobs, filters
from scheduler.admin.timeline.found import Bar, Found, busiest, find, reasons
from scheduler.admin.timeline.window import ZOOMS, Window, window_of
from scheduler.labels import label, label_of
from scheduler.models.job_state import state_of
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may
from scheduler.states import RunStatus

_ROWS: Final = 200
#: So many jobs are in one answer: the first rows appear early, and no answer takes long.
_PART: Final = 125
#: The numbers of states in the answer. The script has a shape and a colour for each.
_STATUSES: Final = tuple(RunStatus)


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of the timeline on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    return [
        path("timeline/", site.admin_view(page), name="timeline"),
        path("timeline/data/", site.admin_view(_data), name="timeline-data"),
    ]


def _page(request: HttpRequest, site: Any) -> HttpResponse:
    _check(request)
    now = Control().clock.now()
    is_table = request.GET.get("view") == "table"
    window, chosen = window_of(request, now), chosen_jobs(request, _PART if is_table else JOBS)
    query = {**chosen.query, **window.query(), **({"view": "table"} if is_table else {})}
    sees_runs = may(request.user, Action.VIEW_EXECUTIONS)
    begin = localtime(window.since).strftime("%Y-%m-%dT%H:%M") if window.is_chosen else ""
    context = {
        **site.each_context(request),
        "title": _("Timeline"),
        "filters": filters(chosen.query, begin),
        "query": chosen.query,
        "hidden": {name: query[name] for name in ("zoom", "view") if name in query},
        "problem": window.problem,
        "window": _span(window),
        "zone": get_current_timezone_name(),
        "zooms": [
            {
                "title": zoom.title,
                "url": _url(query, **_without_at(window.query(zoom=zoom))),
                "is_chosen": zoom == window.zoom,
            }
            for zoom in ZOOMS
        ],
        "earlier": _url(query, **window.query(by=-0.5)),
        "later": _url(query, **window.query(by=0.5)),
        "around_now": _url({k: v for k, v in query.items() if k != "at"}),
        "other_view": _url({**query, "page": "", "view": "" if is_table else "table"}),
        "heat_url": reverse("admin:timeline-heat"),
        "is_table": is_table,
        "pages": _pages(chosen, query),
        "sees_runs": sees_runs,
    }
    if is_table:
        found = find(window, chosen.jobs, now, sees_runs=sees_runs)
        context |= _table(request, found, query)
    else:
        # Its parts are of one window, whatever the time is when they are asked for.
        at = window.since.strftime("%Y-%m-%dT%H:%MZ")
        context["data_url"] = reverse("admin:timeline-data", query={**query, "at": at})
        context["texts"] = _texts()
        context["legend"] = _legend()
    return TemplateResponse(request, "scheduler/timeline/page.html", context)


def _check(request: HttpRequest) -> None:
    if not may(request.user, Action.VIEW_JOBS):
        raise PermissionDenied


def _url(query: dict[str, str], **other: str) -> str:
    whole = {name: value for name, value in {**query, **other}.items() if value}
    return f"?{urlencode(whole)}" if whole else "?"


def _without_at(query: dict[str, str]) -> dict[str, str]:
    return {"zoom": "", "at": "", **query}


def _span(window: Window) -> str:
    last = localtime(window.until - timedelta(microseconds=1))
    first = localtime(window.since)
    pattern = "%H:%M" if first.date() == last.date() else "%Y-%m-%d %H:%M"
    return f"{first:%Y-%m-%d %H:%M} - {localtime(window.until).strftime(pattern)}"


def _pages(chosen: Chosen, query: dict[str, str]) -> dict[str, Any]:
    page = chosen.page
    return {
        "first": page.start_index(),
        "last": page.end_index(),
        "count": page.paginator.count,
        "before": _url(query, page=str(page.number - 1)) if page.has_previous() else "",
        "after": _url(query, page=str(page.number + 1)) if page.has_next() else "",
    }


# --- the answer that the script draws -------------------------------------------------------------


def _data(request: HttpRequest) -> HttpResponse:
    _check(request)
    now = Control().clock.now()
    jobs, window = chosen_jobs(request).jobs, window_of(request, now)
    first = _first_row(request)
    part = jobs[first : first + _PART]
    sees_runs = may(request.user, Action.VIEW_EXECUTIONS)
    answer = _answer(find(window, part, now, sees_runs=sees_runs))
    is_last = first + _PART >= len(jobs)
    response = JsonResponse({**answer, "next": None if is_last else first + _PART})
    response["Cache-Control"] = "no-store"
    return response


def _first_row(request: HttpRequest) -> int:
    text = request.GET.get("first", "")
    return min(int(text), JOBS) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _answer(found: Found) -> dict[str, Any]:
    """Rows are numbers of jobs here, instants are seconds from the window's start; null: not yet.

    runs: [row, number of the state, due, started, finished, id]; planned: [row, slots]; frozen:
    [row, name of the freeze, slots]; reasons: why runs wait or were not run, by id.
    """
    rows = {job.pk: number for number, job in enumerate(found.jobs)}
    numbers = {status.value: number for number, status in enumerate(_STATUSES)}
    origin = found.window.since.timestamp()
    return {
        "since": origin,
        "span": found.window.zoom.span.total_seconds(),
        "now": round(found.now_seconds, 3),
        "jobs": [
            [job.pk, job.name, label(state_of(job)), found.usual_seconds.get(job.pk)]
            for job in found.jobs
        ],
        "runs": [
            [
                rows[run.job_id],
                numbers[run.status],
                round(run.due, 3),
                None if run.started is None else round(run.started, 3),
                None if run.finished is None else round(run.finished, 3),
                run.id,
            ]
            for run in found.runs.runs
        ],
        "planned": [
            [rows[job_id], [round(slot - origin, 3) for slot in slots]]
            for job_id, slots in found.planned.slots.items()
        ],
        "frozen": [
            [rows[job_id], freeze, [round(slot - origin, 3) for slot in slots]]
            for job_id, freezes in found.frozen.items()
            for freeze, slots in freezes.items()
        ],
        "reasons": reasons(found.runs.runs, found.now),
        "notes": found.notes(),
        "is_partial": found.is_partial,
    }


def _urls_of_rows() -> dict[str, str]:
    """The addresses of the job and of the run with the id 0, which another id replaces."""
    return {
        "job_url": job_url(0),
        "run_url": reverse("admin:scheduler_jobexecution_change", args=[0]),
    }


def _texts() -> dict[str, Any]:
    return {
        **_urls_of_rows(),
        "zone": get_current_timezone_name(),
        "statuses": [label(status) for status in _STATUSES],
        "planned": _("planned"),
        "frozen": _("planned, but frozen"),
        "at_once": _("runs at once"),
        "most": _("most: %s"),
        "now": _("now"),
        "due": _("slot"),
        "took": _("took"),
        "since": _("since"),
        "usual": _("95 % within"),
        "units": [_("%s s"), _("%s min"), _("%s h"), _("%s d")],
        "none": _("Nothing lies in this time."),
        "empty_row": _("no run in this time"),
        "failed": _("The server does not answer. What you see is not up to date."),
        "open_run": _("Open the run"),
        "open_job": _("Open the job"),
    }


def _legend() -> list[tuple[str, str]]:
    return [
        *((str(number), label(status)) for number, status in enumerate(_STATUSES)),
        ("planned", _("planned")),
        ("frozen", _("planned, but frozen")),
    ]


# --- the same as a table --------------------------------------------------------------------------


def _table(request: HttpRequest, found: Found, query: dict[str, str]) -> dict[str, Any]:
    bars, urls = found.bars(), _urls_of_rows()
    page = Paginator(bars, _ROWS).get_page(request.GET.get("rows"))
    most = busiest(bars)
    why = reasons((bar.run for bar in page.object_list if bar.run), found.now)
    return {
        "notes": found.notes(),
        "rows": [
            {**_row(bar, found, urls), "why": why.get(bar.run.id, "") if bar.run else ""}
            for bar in page.object_list
        ],
        "rows_first": page.start_index(),
        "rows_last": page.end_index(),
        "rows_count": len(bars),
        "rows_before": _url(query, rows=str(page.number - 1)) if page.has_previous() else "",
        "rows_after": _url(query, rows=str(page.number + 1)) if page.has_next() else "",
        "busiest": most and {"count": most[0], "at": _instant(most[1], found)},
    }


def _row(bar: Bar, found: Found, urls: dict[str, str]) -> dict[str, Any]:
    run = bar.run
    row = {
        "job": bar.job.name,
        "job_url": urls["job_url"].replace("/0/", f"/{bar.job.pk}/"),
        "start": _instant(bar.start, found),
        "took": formatting.span(bar.end - bar.start) if bar.end > bar.start else "",
        "state": formatting.badge(_("planned")),
    }
    if run is None and bar.freeze:
        text = _("frozen by “%(freeze)s”") % {"freeze": bar.freeze}
        return {**row, "state": formatting.badge(text, "warn")}
    if run is None:
        return row
    has_begun = run.started is not None
    return {
        **row,
        "run": run.id,
        "run_url": urls["run_url"].replace("/0/", f"/{run.id}/"),
        "state": formatting.status(run.status),
        "state_text": label_of(RunStatus, run.status),
        "took": formatting.span(bar.end - bar.start) if has_begun else "",
    }


def _instant(seconds: float, found: Found) -> str:
    # To milliseconds: SQLite's fractions of days are some microseconds off.
    at = found.window.since + timedelta(seconds=round(seconds, 3))
    return localtime(at).strftime("%Y-%m-%d %H:%M:%S")
