"""The views of freezes: the list, the form with its preview, and ending and deleting by a POST."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from scheduler.admin import formatting
from scheduler.admin.actor import freezes_of
from scheduler.admin.freezes.forms import FreezeForm, initial_of
from scheduler.admin.site import job_url, reverse
from scheduler.admin.stale_forms import STALE
from scheduler.labels import label_of
from scheduler.models import JobFreeze
from scheduler.operations.errors import REFUSALS, InvalidJob, StaleEdit, refusal
from scheduler.operations.freezes import FreezeControl, Preview, tags_of
from scheduler.operations.permissions import Action, may
from scheduler.states import BlockedSlots


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of the freezes on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    def form(request: HttpRequest, freeze_id: int | None = None) -> HttpResponse:
        return _form(request, site, freeze_id)

    return [
        path("freezes/", site.admin_view(page), name="freezes"),
        path("freezes/add/", site.admin_view(form), name="freeze-add"),
        path("freezes/<int:freeze_id>/", site.admin_view(form), name="freeze"),
        path(
            "freezes/<int:freeze_id>/end/",
            site.admin_view(require_POST(_end)),
            name="freeze-end",
        ),
        path(
            "freezes/<int:freeze_id>/delete/",
            site.admin_view(require_POST(_delete)),
            name="freeze-delete",
        ),
    ]


def _page(request: HttpRequest, site: Any) -> HttpResponse:
    if not may(request.user, Action.VIEW_JOBS):
        raise PermissionDenied
    control = freezes_of(request)
    now = control.clock.now()
    context = {
        **site.each_context(request),
        "title": _("Freezes"),
        "rows": [_row(control, row, now) for row in control.all()],
        "may_change": may(request.user, Action.CHANGE_FREEZE),
        "add_url": reverse("admin:freeze-add"),
    }
    return TemplateResponse(request, "scheduler/freezes/page.html", context)


def _row(control: FreezeControl, row: JobFreeze, now: datetime) -> dict[str, Any]:
    until, problem = control.holds_until(row, now), control.problem(row)
    return {
        "freeze": row,
        "url": reverse("admin:freeze", args=[row.pk]),
        "since": formatting.exact(row.since) if row.since else "",
        "until": formatting.exact(row.until) if row.until else "",
        "tags": ", ".join(tags_of(row)) or _("all jobs"),
        "blocked": label_of(BlockedSlots, row.blocked_slots),
        "state": _state(row, until, now, problem=problem),
        "problem": problem,
        "end_url": reverse("admin:freeze-end", args=[row.pk]) if until else "",
        "delete_url": reverse("admin:freeze-delete", args=[row.pk]),
    }


def _state(row: JobFreeze, until: datetime | None, now: datetime, *, problem: str) -> SafeString:
    if problem:
        return formatting.badge(_("cannot be read"), "bad")
    if not row.is_enabled:
        return formatting.badge(_("disabled"))
    if until is not None:
        text = _("holds until %s") % f"{formatting.exact(until)}"
        return formatting.badge(text, "warn")
    if row.until is not None and row.until <= now:
        return formatting.badge(_("over"))
    return formatting.badge(_("does not hold now"), "calm")


def _form(request: HttpRequest, site: Any, freeze_id: int | None) -> HttpResponse:
    _check(request)
    control = freezes_of(request)
    row = None if freeze_id is None else _found(freeze_id)
    given = request.POST if request.method == "POST" else None
    form = FreezeForm(given, initial=initial_of(row) if row else None)
    preview, warnings = None, []
    if given is not None and form.is_valid():
        try:
            if "save" in given:
                return _saved(request, control, row, form)
            preview = control.preview(**form.values())
            warnings = control.warnings(JobFreeze(**form.values()))
        except InvalidJob as error:
            form.add_problems(error)
        except StaleEdit:
            form.add_error(None, str(STALE))
        except JobFreeze.DoesNotExist as error:
            raise Http404 from error
    context = {
        **site.each_context(request),
        "title": _("Freeze %(name)s") % {"name": row.name} if row else _("New freeze"),
        "form": form,
        "media": form.media,
        "preview": preview and _preview(preview),
        "warnings": warnings,
        "back_url": reverse("admin:freezes"),
    }
    return TemplateResponse(request, "scheduler/freezes/form.html", context)


def _saved(
    request: HttpRequest, control: FreezeControl, row: JobFreeze | None, form: FreezeForm
) -> HttpResponse:
    if row is None:
        saved = control.create(**form.values())
    else:
        seen_at = form.cleaned_data["seen_at"]
        saved = control.update(row.pk, seen_at=seen_at, **form.values())
    for warning in control.warnings(saved):
        messages.warning(request, warning)
    messages.success(request, _("The freeze “%(name)s” is saved.") % {"name": saved.name})
    return HttpResponseRedirect(reverse("admin:freezes"))


def _preview(found: Preview) -> dict[str, Any]:
    return {
        "is_partial": found.is_partial,
        "rows": [
            {
                "name": each.job.name,
                "url": job_url(each.job.pk),
                "count": each.count,
                "first": formatting.exact(each.first),
                "last": formatting.exact(each.last),
                "runs_at": formatting.exact(each.runs_at) if each.runs_at else "",
            }
            for each in found.jobs
        ],
    }


def _end(request: HttpRequest, freeze_id: int) -> HttpResponse:
    return _act(request, freeze_id, FreezeControl.end, _("The freeze “%(name)s” has ended."))


def _delete(request: HttpRequest, freeze_id: int) -> HttpResponse:
    return _act(request, freeze_id, FreezeControl.delete, _("The freeze “%(name)s” is deleted."))


def _act(
    request: HttpRequest, freeze_id: int, act: Callable[[FreezeControl, int], object], text: str
) -> HttpResponse:
    _check(request)
    row = _found(freeze_id)
    try:
        act(freezes_of(request), row.pk)
    except REFUSALS as error:
        messages.warning(request, refusal(error))
    else:
        messages.success(request, text % {"name": row.name})
    return HttpResponseRedirect(reverse("admin:freezes"))


def _found(freeze_id: int) -> JobFreeze:
    found = JobFreeze.objects.filter(pk=freeze_id).first()
    if found is None:
        raise Http404
    return found


def _check(request: HttpRequest) -> None:
    """The form shows freezes, and the names of the jobs that one blocks."""
    if not (may(request.user, Action.CHANGE_FREEZE) and may(request.user, Action.VIEW_JOBS)):
        raise PermissionDenied
