"""The page that retries the failed executions of a time range."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.text import format_lazy
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from scheduler.admin import formatting
from scheduler.admin.actor import control_of
from scheduler.admin.job_name_field import JobNameField
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import (
    CheckboxSelectMultiple,
    SplitDateTimeWidget,
    name_date_and_time,
)
from scheduler.models import CronJob
from scheduler.operations.control import RETRY_LIMIT, Control, FailedRange, NotPossible
from scheduler.operations.validation import instant_problem
from scheduler.states import RETRYABLE, OverlapPolicy, RunStatus

if TYPE_CHECKING:
    from scheduler.admin.unfold_compat import ModelAdmin

_SENT = ("job", "statuses", "since_0", "since_1", "until_0", "until_1")
_ZONE = format_lazy(_("In {zone}."), zone=formatting.SCREEN_ZONE)


class RangeForm(forms.Form):
    job = JobNameField(required=False, help_text=_("Name of one job. Empty: all jobs."))
    statuses = forms.MultipleChoiceField(
        label=_("Statuses"),
        choices=[
            (status.value, pgettext_lazy("RunStatus", status.value))
            for status in RunStatus
            if status in RETRYABLE
        ],
        widget=CheckboxSelectMultiple(),
    )
    since = forms.SplitDateTimeField(label=_("From"), widget=SplitDateTimeWidget(), help_text=_ZONE)
    until = forms.SplitDateTimeField(
        label=_("To"),
        widget=SplitDateTimeWidget(),
        help_text=_("By the time that the executions were planned for; both ends belong to it."),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        name_date_and_time(self)

    def clean(self) -> dict[str, Any]:
        for name in ("since", "until"):
            if problem := instant_problem(self.cleaned_data.get(name)):
                self.add_error(name, problem)
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since and until and since > until:
            self.add_error("until", _("must not be before the start"))
        return self.cleaned_data

    def failed(self) -> FailedRange:
        found = self.cleaned_data
        return FailedRange(
            since=found["since"],
            # The form takes full seconds, but manual runs have slots with microseconds.
            until=found["until"] + timedelta(microseconds=999_999),
            statuses=frozenset(map(RunStatus, found["statuses"])),
            job_id=found["job"].pk if found["job"] else None,
        )


def page(model_admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """GET asks for a range, GET with a range counts its executions, POST retries them."""
    control = control_of(request)
    is_asked = request.method == "POST" or "since_0" in request.GET
    given = request.POST if request.method == "POST" else request.GET
    form = (
        RangeForm(given) if is_asked else RangeForm(initial=_last_day(control.clock.now(), given))
    )
    counted: dict[str, Any] = {}
    if is_asked and form.is_valid():
        failed = form.failed()
        if request.method == "POST":
            return _retry(request, control, failed)
        counted = _count(control, failed, form.cleaned_data["job"])
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _now("Retry what failed in a range of time"),
        "opts": model_admin.opts,
        "form": form,
        "media": model_admin.media + form.media,
        "asked": [(name, value) for name in _SENT for value in request.GET.getlist(name)],
        "back_url": reverse("admin:scheduler_jobexecution_changelist"),
        **counted,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "scheduler/executions/retry_range.html", context)


def _last_day(now: datetime, given: Any) -> dict[str, Any]:
    return {
        "job": given.get("job", ""),
        "statuses": [RunStatus.FAILED.value, RunStatus.TIMEOUT.value],
        "since": now - timedelta(days=1),
        "until": now,
    }


def _count(control: Control, failed: FailedRange, job: CronJob | None) -> dict[str, Any]:
    count = control.count_failed(failed)
    shown = _now("more than %s") % RETRY_LIMIT if count > RETRY_LIMIT else str(count)
    return {
        "count": count,
        "shown_count": shown,
        "is_capped": count > RETRY_LIMIT,
        "limit": RETRY_LIMIT,
        "overlap_skips": job is not None and job.overlap_policy == OverlapPolicy.SKIP,
    }


def _retry(request: HttpRequest, control: Control, failed: FailedRange) -> HttpResponse:
    back = HttpResponseRedirect(reverse("admin:scheduler_jobexecution_changelist"))
    try:
        retried, more = control.retry_range(failed)
    except NotPossible as error:
        messages.error(request, str(error))
        return back
    messages.success(
        request,
        ngettext(
            "%(count)s execution waits for a worker again.",
            "%(count)s executions wait for a worker again.",
            retried,
        )
        % {"count": retried},
    )
    if more:
        messages.warning(request, _now("There are more of them; retry the range once more."))
    return back
