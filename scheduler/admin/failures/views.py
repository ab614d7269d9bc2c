"""The views of failures: the list of their kinds, one of them, and what people do with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.formats import number_format
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from scheduler.admin import csv_export, formatting, saved_filters
from scheduler.admin.actor import failures_of
from scheduler.admin.failures.chosen import Chosen, chosen, filters
from scheduler.admin.failures.trend import trend
from scheduler.admin.site import reverse
from scheduler.failure_kinds import first_line
from scheduler.models import NO_JOB, CronJob, FailureGroup
from scheduler.operations.control import RETRY_LIMIT
from scheduler.operations.errors import NotPossible
from scheduler.operations.failures import FailureControl
from scheduler.operations.permissions import Action, may
from scheduler.store import failures
from scheduler.store.failures import FailedGroup, Spread

_ROWS: Final = 25
_JOBS: Final = 20
_RUNS: Final = 20


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of the failures on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    def group(request: HttpRequest, group_id: int) -> HttpResponse:
        return _group_page(request, site, group_id)

    def retry(request: HttpRequest, group_id: int) -> HttpResponse:
        return _retry(request, site, group_id)

    seen = site.admin_view(require_POST(_see))
    return [
        path("failures/", site.admin_view(page), name="failures"),
        path("failures/csv/", site.admin_view(_csv), name="failures-csv"),
        path("failures/<int:group_id>/", site.admin_view(group), name="failure"),
        path("failures/<int:group_id>/seen/", seen, name="failure-seen"),
        path("failures/<int:group_id>/retry/", site.admin_view(retry), name="failure-retry"),
    ]


# --- the list -------------------------------------------------------------------------------------


def _page(request: HttpRequest, site: Any) -> HttpResponse:
    _check(request, Action.VIEW_EXECUTIONS)
    control = failures_of(request)
    now = control.clock.now()
    shown = chosen(request, now)
    page = Paginator(failures.groups(shown.wanted), _ROWS).get_page(request.GET.get("page"))
    context = {
        **site.each_context(request),
        **saved_filters.bar(request, "failures"),
        "title": _("Failures"),
        "filters": filters(shown.query),
        "query": shown.query,
        "rows": _rows(page, shown, now),
        "may_act": may(request.user, Action.RETRY_EXECUTION),
        "count": page.paginator.count,
        "first": page.start_index(),
        "last": page.end_index(),
        "before": _url(shown.query, page.number - 1) if page.has_previous() else "",
        "after": _url(shown.query, page.number + 1) if page.has_next() else "",
        "csv_url": reverse("admin:failures-csv", query=shown.query),
        "seen_at": formatting.exact(now),
    }
    return TemplateResponse(request, "scheduler/failures/page.html", context)


def _url(query: dict[str, str], page: int) -> str:
    return f"?{urlencode({**query, 'page': str(page)})}"


def _rows(page: Page[FailureGroup], shown: Chosen, now: datetime) -> list[dict[str, Any]]:
    groups = list(page.object_list)
    spreads = failures.spreads([group.pk for group in groups], shown.days[0])
    names = _names_of(spreads[group.pk].job_id for group in groups)
    return [{**_facts(group, now), **_spread(spreads[group.pk], shown, names)} for group in groups]


def _names_of(ids: Any) -> dict[int, str]:
    wanted = {id_ for id_ in ids if id_ != NO_JOB}
    return dict(CronJob.objects.filter(id__in=wanted).values_list("id", "name"))


def _facts(group: FailureGroup, now: datetime) -> dict[str, Any]:
    return {
        "id": group.pk,
        "url": reverse("admin:failure", args=[group.pk]),
        "text": str(group) if group.text else f"{group.exception_name} {_('(no text)')}",
        "handler": group.handler_name,
        "total": number_format(group.runs, force_grouping=True),
        "first_at": formatting.instant(group.first_at, now),
        "last_at": formatting.instant(group.last_at, now),
        "run": group.last_execution_id,
        "run_url": reverse("admin:scheduler_jobexecution_change", args=[group.last_execution_id]),
        "is_open": group.is_open,
        "seen": _seen(group),
    }


def _seen(group: FailureGroup) -> str:
    if group.seen_at is None:
        return ""
    facts = {"who": group.seen_by or "?", "when": formatting.exact(group.seen_at)}
    if group.is_open:
        return _("again since %(who)s saw it, %(when)s") % facts
    return _("seen by %(who)s, %(when)s") % facts


def _spread(spread: Spread, shown: Chosen, names: dict[int, str]) -> dict[str, Any]:
    name = names.get(spread.job_id, "") if spread.jobs == 1 else ""
    counted = ngettext("%(count)s job", "%(count)s jobs", spread.jobs) % {"count": spread.jobs}
    return {
        "runs": number_format(spread.runs, force_grouping=True),
        "trend": trend(spread.by_day, shown.days),
        "jobs": counted if spread.jobs else "",
        "job": name,
        "job_url": reverse("admin:scheduler_cronjob_change", args=[spread.job_id]) if name else "",
    }


# --- the same as a file ---------------------------------------------------------------------------


def _csv(request: HttpRequest) -> StreamingHttpResponse:
    _check(request, Action.VIEW_EXECUTIONS)
    shown = chosen(request, failures_of(request).clock.now())
    ids = list(failures.groups(shown.wanted).values_list("id", flat=True)[: csv_export.LIMIT + 1])
    head = [
        _("failure"), _("error"), _("handler"), _("runs"), _("happened first"), _("happened last"),
        _("last run"), _("state"),
    ]  # fmt: skip
    batches = csv_export.in_batches(ids, _groups_of, _cells)
    return csv_export.response("failures", head, batches)


def _groups_of(ids: Sequence[int]) -> Iterable[FailureGroup]:
    return FailureGroup.objects.filter(pk__in=ids)


def _cells(group: FailureGroup) -> csv_export.Row:
    return [
        group.exception_class,
        group.text,
        group.handler_name,
        group.runs,
        formatting.exact(group.first_at),
        formatting.exact(group.last_at),
        group.last_execution_id,
        _seen(group) or _("open"),
    ]


# --- one kind -------------------------------------------------------------------------------------


def _group_page(request: HttpRequest, site: Any, group_id: int) -> HttpResponse:
    _check(request, Action.VIEW_EXECUTIONS)
    control = failures_of(request)
    group = _group(group_id)
    now = control.clock.now()
    shown = chosen(request, now)
    spread = failures.spreads([group.pk], shown.days[0])[group.pk]
    found = failures.jobs_of(group.pk, shown.days[0], _JOBS)
    names = _names_of(job_id for job_id, _count in found)
    context = {
        **site.each_context(request),
        "title": str(group),
        "group": group,
        "row": {**_facts(group, now), **_spread(spread, shown, names)},
        "example": group.example,
        "jobs": [_job(job_id, runs, names) for job_id, runs in found],
        "more_jobs": max(0, spread.jobs - len(found)),
        "runs": _runs(group.pk),
        "runs_url": _runs_url(group.pk),
        "days": len(shown.days),
        "may_act": may(request.user, Action.RETRY_EXECUTION),
        "back_url": reverse("admin:failures"),
    }
    return TemplateResponse(request, "scheduler/failures/group.html", context)


def _group(group_id: int) -> FailureGroup:
    try:
        return FailureGroup.objects.get(pk=group_id)
    except (FailureGroup.DoesNotExist, OverflowError):
        raise Http404(
            _("There is no such kind of failures; it was deleted with its runs")
        ) from None


def _runs_url(group_id: int) -> str:
    return reverse("admin:scheduler_jobexecution_changelist", query={"failure": group_id})


def _job(job_id: int, runs: int, names: dict[int, str]) -> dict[str, Any]:
    is_there = job_id in names
    gone = _("without a job") if job_id == NO_JOB else _("deleted job #%s") % job_id
    return {
        "name": names.get(job_id, gone),
        "url": reverse("admin:scheduler_cronjob_change", args=[job_id]) if is_there else "",
        "runs": number_format(runs, force_grouping=True),
    }


def _runs(group_id: int) -> list[dict[str, Any]]:
    rows = failures.runs_of(group_id).only(
        "id", "job_name", "handler_name", "status", "finished_at", "error_message"
    )
    return [
        {
            "number": f"#{run.pk}",
            "url": reverse("admin:scheduler_jobexecution_change", args=[run.pk]),
            "name": run.job_name or run.handler_name,
            "status": formatting.status(run.status),
            "ended": formatting.instant(run.finished_at),
            "error": first_line(run.error_message or ""),
        }
        for run in rows[:_RUNS]
    ]


# --- what people do -------------------------------------------------------------------------------


def _see(request: HttpRequest, group_id: int) -> HttpResponse:
    _check(request, Action.RETRY_EXECUTION)
    group = _group(group_id)
    try:
        failures_of(request).see(group_id)
    except NotPossible as error:
        messages.warning(request, str(error))
    else:
        text = _("%(failure)s is marked as seen. It comes back when it happens again.")
        messages.success(request, text % {"failure": group})
    listed = request.GET.urlencode()  # the filters of the list from which somebody came
    back = reverse("admin:failures")
    return HttpResponseRedirect(f"{back}?{listed}" if listed else back)


def _retry(request: HttpRequest, site: Any, group_id: int) -> HttpResponse:
    """GET asks, POST retries."""
    _check(request, Action.RETRY_EXECUTION)
    group = _group(group_id)
    control = failures_of(request)
    if request.method == "POST":
        _act(request, control, group_id)
        return HttpResponseRedirect(reverse("admin:failures"))
    count = control.count_failed(FailedGroup(group_id=group_id))
    context = {
        **site.each_context(request),
        "title": _("Retry all runs of a kind of failure"),
        "group": group,
        "count": count,
        "shown_count": _("more than %s") % RETRY_LIMIT if count > RETRY_LIMIT else str(count),
        "is_capped": count > RETRY_LIMIT,
        "limit": RETRY_LIMIT,
        "back_url": reverse("admin:failure", args=[group_id]),
    }
    return TemplateResponse(request, "scheduler/failures/retry.html", context)


def _act(request: HttpRequest, control: FailureControl, group_id: int) -> None:
    try:
        retried, more = control.retry_group(group_id)
    except NotPossible as error:
        messages.warning(request, str(error))
        return
    text = ngettext(
        "%(count)s execution waits for a worker again.",
        "%(count)s executions wait for a worker again.",
        retried,
    )
    messages.success(request, text % {"count": retried})
    if more:
        messages.warning(request, _("There are more of them; retry them once more."))


def _check(request: HttpRequest, action: Action) -> None:
    if not may(request.user, action):
        raise PermissionDenied
