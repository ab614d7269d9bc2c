"""The page that restores an older version of a job: it shows the difference, and a POST acts."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.actor import control_of
from scheduler.admin.jobs.form import STALE, fingerprint
from scheduler.admin.site import job_url, reverse
from scheduler.operations.errors import REFUSALS, refusal
from scheduler.operations.permissions import Action, may


def restore(admin: Any, request: HttpRequest, object_id: str, entry_id: int) -> HttpResponse:
    """GET shows what would change, POST restores the version after an entry of the history."""
    if not may(request.user, Action.CHANGE_JOB):
        raise PermissionDenied
    job = admin.get_object(request, unquote(object_id))
    if job is None:
        missing: HttpResponse = admin._get_obj_does_not_exist_redirect(
            request, admin.opts, object_id
        )
        return missing
    control = control_of(request)
    history = reverse("admin:scheduler_cronjob_history", args=[job.pk])
    seen = fingerprint(job)
    try:
        version = control.version(job.pk, entry_id=entry_id)
        restoration = control.restoration(
            job, version, sees_params=may(request.user, Action.VIEW_PARAMS)
        )
        if request.method == "POST":
            if not constant_time_compare(request.POST.get("seen", ""), seen):
                messages.error(request, str(STALE))
                return HttpResponseRedirect(request.get_full_path())
            # With the version of the row that the fingerprint belongs to.
            saved = control.restore(job.pk, version, tick_seq=job.tick_seq)
            text = _("%(job)s is as it was at %(when)s.")
            when = formatting.exact(version.at)
            messages.success(request, text % {"job": saved, "when": when})
            return HttpResponseRedirect(job_url(job.pk))
    except REFUSALS as error:
        messages.error(request, refusal(error))
        return HttpResponseRedirect(history)
    context = {
        **admin.admin_site.each_context(request),
        "title": _("Restore the version of %(when)s") % {"when": formatting.exact(version.at)},
        "opts": admin.opts,
        "original": job,
        "actor": version.actor,
        "changes": restoration.changes,
        "kept_secrets": restoration.kept_secrets,
        "seen": seen,
        "back_url": history,
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "scheduler/jobs/restore.html", context)
