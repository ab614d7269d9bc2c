"""Starting a backfill in two steps: a form, then a dry run that asks for confirmation.

The server keeps no state between the steps: the second page sends the form's values again.
"""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.translation import gettext

from scheduler.admin import formatting
from scheduler.admin.actions import RunsAdmin, offer_exception
from scheduler.admin.actor import backfills_of
from scheduler.admin.backfills.forms import ORDERS, BackfillForm, JobChoice
from scheduler.admin.site import job_url
from scheduler.models import CronJob, bounded_id
from scheduler.operations.backfill_plans import PlannedRun
from scheduler.operations.backfills import (
    SLOTS_SHOWN,
    BackfillControl,
    InvalidJob,
    NotPossible,
    Preview,
)
from scheduler.operations.masking import mask
from scheduler.operations.permissions import Action, may
from scheduler.states import TargetKind


class StartsBackfills(RunsAdmin):
    """Replaces Django's add view with the two steps."""

    target_kind = TargetKind.BACKFILL

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        job = _asked_for(request)
        if job is None:
            choice = JobChoice(request.GET if "name" in request.GET else None)
            if not choice.is_valid():
                return self._page(request, "choose_job", {"form": choice})
            return HttpResponseRedirect(f"{request.path}?job={choice.cleaned_data['name'].pk}")
        sees_params = may(request.user, Action.VIEW_PARAMS)
        given = request.POST if request.method == "POST" else None
        form = BackfillForm(given, job=job, sees_params=sees_params)
        offer_exception(request, form, job.pk)
        context: dict[str, Any] = {
            "job": job,
            "zone": formatting.zone_of(job),
            "form": form,
            "media": self.media + form.media,
            "job_url": job_url(job.pk),
        }
        if given is None or "edit" in given or not form.is_valid():
            return self._page(request, "form", context)
        try:
            if "start" in given:
                return self._start(request, job, form)
            preview = _preview(request, job, form)
        except InvalidJob as error:
            form.add_problems(error)
            return self._page(request, "form", context)
        except NotPossible as error:
            form.add_error(None, str(error))
            return self._page(request, "form", context)
        if not preview.total:
            form.add_error("until", gettext("The job has no slot in this range."))
            return self._page(request, "form", context)
        context |= self._dry_run(job, form, preview, sees_params)
        return self._page(request, "dry_run", context)

    def _start(self, request: HttpRequest, job: CronJob, form: BackfillForm) -> HttpResponse:
        despite = bool(form.cleaned_data.pop("despite_freeze", False))
        control = backfills_of(request, despite_freeze=despite)
        started = control.start(job.pk, **form.cleaned_data)
        text = gettext("Backfill #%(id)s is started: beat makes its %(total)s runs.")
        messages.success(request, text % {"id": started.pk, "total": started.total})
        return HttpResponseRedirect(self._page_of(started))

    def _dry_run(
        self, job: CronJob, form: BackfillForm, preview: Preview, sees_params: bool
    ) -> dict[str, Any]:
        asked = form.cleaned_data
        zone = ZoneInfo(formatting.zone_of(job))
        return {
            "total": preview.total,
            "unlisted": preview.total - len(preview.runs),
            "slots": _table(preview.runs, zone, sees_params),
            "downstream": [
                {
                    "name": each.job.name,
                    "total": each.total,
                    "unlisted": max(0, each.total - SLOTS_SHOWN),
                    "slots": _table(each.runs(SLOTS_SHOWN), zone, sees_params),
                }
                for each in preview.downstream
            ],
            "parallelism": asked["parallelism"],
            "order": ORDERS[asked["order"]],
            "first_params": formatting.block(formatting.as_json(preview.params_of_first))
            if sees_params
            else "",
            "warnings": BackfillControl().warnings(
                job,
                parallelism=asked["parallelism"],
                until=asked["until"],
                ignores_overlap=asked["ignores_overlap"],
            ),
        }

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> TemplateResponse:
        request.current_app = self.admin_site.name
        whole = {
            **self.admin_site.each_context(request),
            "title": gettext("Backfill"),
            "opts": self.opts,
            **context,
        }
        return TemplateResponse(request, f"scheduler/backfills/{name}.html", whole)


def _asked_for(request: HttpRequest) -> CronJob | None:
    """Returns the job whose id is in the address, or None."""
    number = request.GET.get("job", "")
    if not (number.isascii() and number.isdigit()):
        return None
    return CronJob.objects.filter(pk=bounded_id(number)).first()


def _preview(request: HttpRequest, job: CronJob, form: BackfillForm) -> Preview:
    asked = {name: value for name, value in form.cleaned_data.items() if name != "despite_freeze"}
    return backfills_of(request).preview(job.pk, **asked)


def _table(runs: list[PlannedRun], zone: ZoneInfo, sees_params: bool) -> dict[str, Any]:
    headers = [gettext("number"), gettext("in %s") % zone.key, gettext("in UTC")]
    rows = []
    for number, run in enumerate(runs, 1):
        local = run.slot.astimezone(zone)
        row: list[object] = [
            number,
            f"{WEEKDAYS_ABBR[local.weekday()]} {local:%Y-%m-%d %H:%M:%S %Z}",
            local.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        ]
        if sees_params:
            row.append(formatting.code(json.dumps(mask(run.params), ensure_ascii=False)))
        rows.append(row)
    return {"headers": [*headers, gettext("parameters")] if sees_params else headers, "rows": rows}
