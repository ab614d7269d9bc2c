"""Checks of a job's form while a person types: its problems, and the preview of its schedule."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from handlers import InvalidParamsError
from handlers.params import checked_mapping
from scheduler.admin.jobs.params_form import described, errors_of
from scheduler.admin.jobs.preview import preview
from scheduler.admin.site import render_to_string
from scheduler.admin.unfold_compat import ModelAdmin
from scheduler.models import CronJob
from scheduler.operations.control import Control
from scheduler.operations.masking import unmask
from scheduler.operations.permissions import Action, may

MARKS = ("tick_seq", "seen")


def check(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Returns {"problems": field -> texts, "preview": HTML} for the typed form. Saves nothing."""
    job = _job_of(admin, request)
    if not may(request.user, Action.ADD_JOB if job is None else Action.CHANGE_JOB):
        raise PermissionDenied
    if request.method != "POST":
        return JsonResponse({"error": "POST"}, status=405)
    form = admin.get_form(request, job, change=job is not None)(request.POST, instance=job)
    problems = {
        name: [str(text) for text in texts]
        for name, texts in form.errors.items()
        if name not in MARKS
    }
    typed = form.instance
    # An expression that the form refused is not in the instance. Without this line the preview
    # would describe the stored expression.
    typed.cron_expression = request.POST.get("cron_expression", "").strip()
    context = preview(typed, Control().clock.now())
    if "cron_expression" in problems:
        # The field already shows the problem.
        context.pop("preview_error", None)
        context["is_wrong"] = bool(typed.cron_expression)
    if not problems:
        context["warnings"] = [*context.get("warnings", []), *Control().warnings(typed)]
    html = render_to_string("scheduler/jobs/preview.html", context, request)
    problems["__all__"] = problems.pop(NON_FIELD_ERRORS, [])
    return JsonResponse({"problems": problems, "preview": html})


def params(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """GET with `handler` returns its inputs. POST with `handler` and `params` (JSON text) returns
    the errors of the handler's model.
    """
    wanted = (Action.ADD_JOB, Action.CHANGE_JOB, Action.RUN_JOB)
    if not any(may(request.user, action) for action in wanted):
        raise PermissionDenied
    if request.method != "POST":
        return JsonResponse(described(request.GET.get("handler", "")))
    try:
        typed: Any = json.loads(request.POST.get("params") or "{}")
    except (ValueError, RecursionError):
        return JsonResponse({"errors": []})  # job_params.js already reports broken JSON
    job = _job_of(admin, request)
    if job is not None and isinstance(typed, dict) and may(request.user, Action.VIEW_PARAMS):
        # Params that cannot be stored keep their masks: errors_of refuses them before it reads any.
        with suppress(InvalidParamsError):
            typed = unmask(checked_mapping(typed), job.handler_params)
    return JsonResponse({"errors": errors_of(request.POST.get("handler", ""), typed)})


def _job_of(admin: ModelAdmin, request: HttpRequest) -> CronJob | None:
    if "job" not in request.GET:
        return None
    job: CronJob | None = admin.get_object(request, request.GET["job"])
    if job is None:
        raise Http404
    return job
