"""Two runs of a job side by side: what they were given, what came of it, how long it took."""

from __future__ import annotations

import re
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.explain_words import reason_of
from scheduler.admin.site import job_url, reverse
from scheduler.labels import label_of
from scheduler.models import JobExecution, JobLog, bounded_id
from scheduler.operations.permissions import Action, may
from scheduler.operations.run_difference import Pair, beside, differing_places, pair
from scheduler.states import ParamSource, RunStatus

LINES: Final = 200
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


def compare(admin: Any, request: HttpRequest, job_id: int) -> HttpResponse:
    """GET with two `run`: both side by side. Anything else goes back to the job and says why."""
    if not (admin.has_view_permission(request) and may(request.user, Action.VIEW_EXECUTIONS)):
        raise PermissionDenied
    job = admin.get_object(request, str(job_id))
    if job is None:
        raise Http404
    runs = _chosen(request, job_id)
    if runs is None:
        messages.warning(request, _("Choose two runs of this job to compare them."))
        return HttpResponseRedirect(job_url(job_id))
    one, other = runs
    sees_params = may(request.user, Action.VIEW_PARAMS)
    context = {
        **admin.admin_site.each_context(request),
        "title": _("Executions #%(one)s and #%(other)s") % {"one": one.pk, "other": other.pk},
        "opts": admin.opts,
        "original": job,
        "job": job,
        "back_url": job_url(job_id),
        "runs": [{"id": run.pk, "url": _url(run)} for run in runs],
        "facts": _facts(one, other),
        "sees_params": sees_params,
        **(_inner(one, other) if sees_params else {}),
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "scheduler/jobs/compare.html", context)


def _chosen(request: HttpRequest, job_id: int) -> tuple[JobExecution, JobExecution] | None:
    """Returns the two runs that were chosen, the older slot first."""
    texts = list(dict.fromkeys(request.GET.getlist("run")))
    if len(texts) != 2 or not all(_NUMBER.fullmatch(text) for text in texts):
        return None
    ids = [bounded_id(text) for text in texts]
    found = sorted(
        JobExecution.objects.filter(pk__in=ids, job_id=job_id), key=lambda run: (run.slot, run.pk)
    )
    return (found[0], found[1]) if len(found) == len(texts) else None


def _url(run: JobExecution) -> str:
    return reverse("admin:scheduler_jobexecution_change", args=[run.pk])


def _facts(one: JobExecution, other: JobExecution) -> list[Pair]:
    def both(name: str, of: Any) -> Pair:
        return pair(name, of(one), of(other))

    return [
        both(_("status"), lambda run: label_of(RunStatus, run.status)),
        both(_("slot"), lambda run: formatting.exact(run.slot)),
        both(_("source"), lambda run: label_of(ParamSource, run.param_source)),
        both(_("requested by"), lambda run: run.requested_by or formatting.NOTHING),
        both(_("handler"), lambda run: run.handler_name),
        both(_("started"), lambda run: _when(run.started_at)),
        both(_("took"), lambda run: formatting.duration_between(run.started_at, run.finished_at)),
        both(_("attempts"), lambda run: run.attempt),
        both(_("queue"), lambda run: run.queue or _("default queue")),
        both(_("error"), _error),
    ]


def _error(run: JobExecution) -> str:
    if run.status == RunStatus.SKIPPED:
        return reason_of(run)
    return run.error_message or formatting.NOTHING


def _when(instant: Any) -> str:
    return formatting.exact(instant) if instant else formatting.NOTHING


def _inner(one: JobExecution, other: JobExecution) -> dict[str, Any]:
    logs = [_log(run) for run in (one, other)]
    return {
        "values": [
            {"title": title, "places": differing_places(left, right),
             "one": _in_full(left), "other": _in_full(right)}
            for title, left, right in (
                (_("Parameters"), one.params, other.params), (_("Result"), one.result, other.result)
            )
        ],
        "log": beside(*logs),
        "log_limit": LINES if any(len(lines) == LINES for lines in logs) else 0,
    }  # fmt: skip


def _in_full(value: Any) -> str:
    return formatting.NOTHING if value is None else formatting.as_json(value)


def _log(run: JobExecution) -> list[str]:
    """Returns the last lines, oldest first, without their times: those always differ."""
    newest = JobLog.objects.filter(execution_id=run.pk).order_by("-attempt", "-seq")
    return [f"{line.level} {line.message}" for line in newest[:LINES]][::-1]
