"""The views of the groups of jobs with limits: the list, and changing one by a POST."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from scheduler.admin import formatting
from scheduler.admin.actor import groups_of
from scheduler.admin.groups.forms import GroupForm
from scheduler.admin.site import reverse
from scheduler.admin.stale_forms import STALE
from scheduler.models import ConcurrencyGroup
from scheduler.operations.errors import InvalidJob, NotPossible, StaleEdit
from scheduler.operations.groups import Group
from scheduler.operations.permissions import Action, may


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of the limits on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    def form(request: HttpRequest) -> HttpResponse:
        return _form(request, site)

    return [
        path("limits/", site.admin_view(page), name="groups"),
        path("limits/change/", site.admin_view(form), name="group-change"),
        path("limits/delete/", site.admin_view(require_POST(_delete)), name="group-delete"),
    ]


def _page(request: HttpRequest, site: Any) -> HttpResponse:
    if not may(request.user, Action.VIEW_JOBS):
        raise PermissionDenied
    control = groups_of(request)
    sees_keys = may(request.user, Action.VIEW_PARAMS)
    context = {
        **site.each_context(request),
        "title": _("Limits"),
        "rows": [_row(group, sees_keys=sees_keys) for group in control.all()],
        "may_change": may(request.user, Action.CHANGE_LIMITS),
        "seen_at": formatting.exact(control.clock.now()),
    }
    return TemplateResponse(request, "scheduler/groups/page.html", context)


def _row(group: Group, *, sees_keys: bool) -> dict[str, Any]:
    row, waiting = group.row, group.waiting
    jobs = reverse("admin:scheduler_cronjob_changelist", query={"group": row.name})
    return {
        "name": row.name,
        "description": row.description,
        "limits": _limits(row),
        "jobs": number_format(group.jobs, force_grouping=True),
        "jobs_url": jobs,
        "running": number_format(waiting.running, force_grouping=True),
        "waiting": number_format(waiting.waiting, force_grouping=True),
        "keys": [
            {"text": each.key or _("(no key)"), "running": each.running, "waiting": each.waiting}
            for each in waiting.keys
            if each.key or len(waiting.keys) > 1
        ]
        if sees_keys
        else [],
        "is_of_settings": row.is_of_settings,
    }


def _limits(row: ConcurrencyGroup) -> list[str]:
    """Returns the limits in words."""
    found = []
    if row.max_running is not None:
        text = ngettext("at most %(count)s run at once", "at most %(count)s runs at once",
                        row.max_running)  # fmt: skip
        found.append(text % {"count": row.max_running})
    if row.max_running_per_key is not None:
        text = ngettext("at most %(count)s run at once per key",
                        "at most %(count)s runs at once per key",
                        row.max_running_per_key)  # fmt: skip
        found.append(text % {"count": row.max_running_per_key})
    if row.rate_count is not None and row.rate_seconds is not None:
        facts = {"count": row.rate_count, "span": formatting.span(row.rate_seconds)}
        per_key = _("at most %(count)s starts in %(span)s per key")
        found.append(
            (per_key if row.rate_per_key else _("at most %(count)s starts in %(span)s")) % facts
        )
    return found or [_("no limit")]


def _form(request: HttpRequest, site: Any) -> HttpResponse:
    _check(request)
    given = request.POST if request.method == "POST" else request.GET
    control = groups_of(request)
    wanted = given.get("group", "")
    found = control.get(wanted) if wanted else ConcurrencyGroup()
    if found is None:
        raise Http404
    is_new = found.pk is None
    form = GroupForm(request.POST if request.method == "POST" else None, instance=found)
    if form.is_valid():
        name = wanted or form.cleaned_data["name"]
        seen_at = None if is_new else form.cleaned_data["seen_at"]
        try:
            control.set_limits(name, is_new=is_new, seen_at=seen_at, **form.values())
        except InvalidJob as error:
            form.add_problems(error)
        except NotPossible as error:
            form.add_error(None, str(error))
        except StaleEdit:
            form.add_error(None, str(STALE))
        else:
            messages.success(request, _("The limits of group %(name)s are set") % {"name": name})
            return HttpResponseRedirect(reverse("admin:groups"))
    context = {
        **site.each_context(request),
        "title": _("Limits of %(name)s") % {"name": wanted} if wanted else _("New group"),
        "form": form,
        "group": wanted,
        "media": form.media,
        "back_url": reverse("admin:groups"),
    }
    return TemplateResponse(request, "scheduler/groups/form.html", context)


def _delete(request: HttpRequest) -> HttpResponse:
    _check(request)
    name = request.POST.get("group", "")
    try:
        groups_of(request).delete(name)
    except NotPossible as error:
        messages.warning(request, str(error))
    else:
        messages.success(request, _("Group %(name)s is deleted") % {"name": name})
    return HttpResponseRedirect(reverse("admin:groups"))


def _check(request: HttpRequest) -> None:
    if not may(request.user, Action.CHANGE_LIMITS):
        raise PermissionDenied
