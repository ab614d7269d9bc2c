"""The page that searches the logs of a job's runs, by time, level and text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.http import urlencode
from django.utils.timezone import localtime
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.executions.log import LEVELS, levels_from
from scheduler.admin.job_name_field import JobNameField
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import ModelAdmin, SelectWidget, TextInputWidget
from scheduler.models import CronJob, JobLog
from scheduler.operations.permissions import Action, may
from scheduler.operations.validation import instant_problem
from scheduler.store import log_search

_AT_FORMAT = "%Y-%m-%dT%H:%M"


def _moment(label: Any) -> forms.DateTimeField:
    widget = TextInputWidget(attrs={"type": "datetime-local"})
    return forms.DateTimeField(label=label, required=False, widget=widget, help_text=_ZONE)


_ZONE = formatting.SCREEN_ZONE


class SearchForm(forms.Form):
    job = JobNameField(help_text=_("Name of the job."))
    q = forms.CharField(
        label=_("text"), required=False, max_length=255, strip=False, widget=TextInputWidget()
    )
    level = forms.ChoiceField(label=_("level"), required=False, widget=SelectWidget())
    since = _moment(_("From"))
    until = _moment(_("To"))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["level"]
        assert isinstance(field, forms.ChoiceField)
        worse = [(level, _now("%s and worse") % level) for level in LEVELS[1:]]
        field.choices = [("", _now("all levels")), *worse]

    def clean(self) -> dict[str, Any]:
        for name in ("since", "until"):
            if problem := instant_problem(self.cleaned_data.get(name)):
                self.add_error(name, problem)
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since and until and since > until:
            self.add_error("until", _("must not be before the start"))
        return self.cleaned_data


def page(model_admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    # A line of the log may contain parameters.
    if not (may(request.user, Action.VIEW_EXECUTIONS) and may(request.user, Action.VIEW_PARAMS)):
        raise PermissionDenied
    form = SearchForm(request.GET if "job" in request.GET else None)
    found: dict[str, Any] = {}
    if form.is_bound and form.is_valid():
        found = _found(request, form.cleaned_data)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _now("Search in logs"),
        "opts": model_admin.opts,
        "form": form,
        "media": model_admin.media + form.media,
        "back_url": reverse("admin:scheduler_jobexecution_changelist"),
        **found,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "scheduler/executions/log_search.html", context)


def _found(request: HttpRequest, asked: dict[str, Any]) -> dict[str, Any]:
    job: CronJob = asked["job"]
    lines = log_search.search(
        job.pk,
        since=asked["since"],
        until=asked["until"],
        levels=levels_from(asked["level"]) if asked["level"] else (),
        text=asked["q"],
    )
    older = ""
    if lines.older_than is not None:
        query = {**request.GET.dict(), "until": _typed(lines.older_than)}
        older = f"?{urlencode(query)}"
    return {
        "searched": True,
        "runs": lines.runs,
        "rows": [_row(line, lines.shards.get(line.execution_id)) for line in lines.lines],
        "older": older,
    }


def _typed(at: datetime) -> str:
    """Returns an instant as the form reads it. Not rounded: the next part begins exactly there."""
    return localtime(at).strftime(f"{_AT_FORMAT}:%S.%f")


def _row(line: JobLog, shard: int | None) -> dict[str, Any]:
    url = reverse("admin:scheduler_jobexecution_change", args=[line.execution_id])
    return {
        "run": f"#{line.execution_id}",
        "shard": "" if shard is None else _now("shard %s") % shard,
        "url": f"{url}#log",
        "at": formatting.instant(line.at),
        "level": line.level,
        "message": line.message,
    }
