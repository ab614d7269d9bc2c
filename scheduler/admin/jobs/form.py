"""The form of a job: it shows Control's problems at the fields, and refuses concurrent edits."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.forms.models import construct_instance
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from handlers.registry import handler_names
from scheduler.admin import formatting
from scheduler.admin.params_field import ParamsField
from scheduler.admin.suggesting_input import SuggestingInput
from scheduler.admin.unfold_compat import (
    AnyModelForm,
    TextareaWidget,
    TextInputWidget,
    name_date_and_time,
)
from scheduler.admin.wording import add_problems
from scheduler.conf import current
from scheduler.models import EDITABLE, LISTS, CronJob
from scheduler.operations.control import Control, InvalidJob
from scheduler.operations.definition import values_of
from scheduler.operations.groups import names as group_names

# The pause has a separate page.
IN_FORM = tuple(name for name in EDITABLE if name not in {"pause_reason", "paused_until"})

_SCREEN_ZONE = format_lazy(_("in {zone}"), zone=formatting.SCREEN_ZONE)

STALE = _(
    "This job was changed by somebody else after you opened this page, so nothing was saved. "
    "Open the page again to see it as it is now."
)


class TextListField(forms.CharField):
    """Texts with commas between them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "widget": TextInputWidget(), **options})

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        return sorted({part.strip() for part in (value or "").split(",") if part.strip()})

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(data) != (initial or [])


class JobNamesField(TextListField):
    """Names of jobs, one a line: a name may hold commas."""

    def __init__(self, **options: Any) -> None:
        attrs = {"rows": 3, "spellcheck": "false"}
        super().__init__(widget=TextareaWidget(attrs=attrs), **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        return sorted({line.strip() for line in (value or "").splitlines() if line.strip()})


class MarkField(forms.CharField):
    """A hidden field that records what the page showed. It never counts as a change."""

    widget = forms.HiddenInput

    def __init__(self) -> None:
        super().__init__(required=False)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class CronJobForm(AnyModelForm):
    # Field -> problems, if Control refused to save a form without problems (a race).
    refusal: dict[str, list[str]] = {}

    handler_params = ParamsField(
        label=_("Parameters"),
        required=False,
        help_text=_(
            "A JSON object for the handler. ******** stands for a stored secret and keeps it."
        ),
    )
    alert_rules = ParamsField(
        label=_("Alert rules"),
        required=False,
        help_text=_(
            "Who is told of what, as a JSON object. Empty: as its tags and the settings say."
        ),
    )
    tags = TextListField(label=_("Tags"), help_text=_("with commas between them"))
    upstreams = JobNamesField(
        label=_("Upstream jobs"),
        help_text=_(
            "Names of jobs, one a line. A run waits until each has succeeded for the same slot."
        ),
    )
    tick_seq = MarkField()
    seen = MarkField()

    class Media:
        css = {"all": ("scheduler/job_form.css",)}
        js = ("scheduler/job_form.js", "scheduler/live.js")

    class Meta:
        model = CronJob
        fields = [name for name in IN_FORM if name not in LISTS]
        widgets = {
            "cron_expression": TextareaWidget(attrs={"rows": 2, "spellcheck": "false"}),
            "handler_name": SuggestingInput(handler_names),
            "timezone": SuggestingInput(lambda: sorted(available_timezones())),
            "calendar": SuggestingInput(lambda: _calendars()),
            "concurrency_group": SuggestingInput(lambda: list(group_names())),
        }
        help_texts = {
            "start_at": _SCREEN_ZONE,
            "end_at": _SCREEN_ZONE,
            "timeout_seconds": _("seconds"),
            "upstream_seconds": _("seconds in which they must succeed; then the slot is skipped"),
            "retry_backoff_seconds": _("seconds; doubles with every failed try"),
            "retry_backoff_max_seconds": _("seconds"),
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        name_date_and_time(self)
        job = self.instance
        if "name" in self.fields:
            # As it is: an older name may end with a blank, and an edit must not rename the job.
            self.fields["name"].strip = False  # type: ignore[attr-defined]
        self.tick_seq_now = job.tick_seq
        self._seen_now = fingerprint(job)
        if "handler_params" in self.fields:
            params = self.fields["handler_params"]
            assert isinstance(params, ParamsField)
            params.stored = job.handler_params
            params.describe(handler_input="handler_name", job_id=job.pk)
        if "alert_rules" in self.fields:
            rules = self.fields["alert_rules"]
            assert isinstance(rules, ParamsField)
            rules.stored = job.alert_rules
        if job.pk is not None:
            self.initial["tick_seq"] = str(job.tick_seq)
            self.initial["seen"] = self._seen_now
            self.initial.update({name: getattr(job, name) for name in LISTS})

    def clean_cron_expression(self) -> str:
        """Browsers end the lines of a text area with CR LF."""
        return "\n".join(str(self.cleaned_data["cron_expression"]).splitlines())

    def values(self) -> dict[str, Any]:
        """Returns the values for Control to save."""
        return {name: self.cleaned_data[name] for name in IN_FORM if name in self.cleaned_data}

    def clean(self) -> dict[str, Any]:
        super().clean()
        if self.instance.pk is not None and not self._is_as_seen():
            self.add_error(None, str(STALE))
        return self.cleaned_data

    def _post_clean(self) -> None:
        """Validates with Control instead of the model: same limits, with messages at the fields."""
        self.instance = construct_instance(self, self.instance, self._meta.fields)
        for name in LISTS:
            if name in self.cleaned_data:
                setattr(self.instance, name, self.cleaned_data[name])
        # As Control: what is only switched off may stay as it is.
        if self.instance.is_enabled or set(self.changed_data) - {"is_enabled"}:
            is_named = self.instance.pk is None or "name" in self.changed_data
            problems = Control().problems(
                self.instance,
                is_named=is_named,
                is_rescheduled="cron_expression" in self.changed_data,
            )
            self._add_problems(problems)
            if is_taken(self.instance):
                self._add_problems({"name": [str(_("is taken by another job"))]})
        self._add_problems(self.refusal)

    def _add_problems(self, problems: dict[str, list[str]]) -> None:
        named = {
            "handler_params" if name == "params" else name: problems[name] for name in problems
        }
        # A field that has a problem already keeps that one alone.
        seen = set(self.errors) - {NON_FIELD_ERRORS}
        add_problems(self, {name: texts for name, texts in named.items() if name not in seen})

    def _is_as_seen(self) -> bool:
        """Returns True if nobody edited the job since the page was shown.

        A move to the next slot by beat is not an edit.
        """
        if self.cleaned_data.get("tick_seq") == str(self.tick_seq_now):
            return True
        return constant_time_compare(self.cleaned_data.get("seen") or "", self._seen_now)


def is_taken(job: CronJob) -> bool:
    """Returns True if another job has the name."""
    return CronJob.objects.filter(name=job.name).exclude(pk=job.pk).exists()


def fingerprint(job: CronJob) -> str:
    """Moves with everything a person may edit. Keyed, because params may hold secrets."""
    values = json.dumps(values_of(job), sort_keys=True, default=str)
    return salted_hmac("scheduler.admin.fingerprint", values, algorithm="sha256").hexdigest()


def refusal_of(error: Exception) -> dict[str, list[str]]:
    return error.problems if isinstance(error, InvalidJob) else {NON_FIELD_ERRORS: [str(STALE)]}


def _calendars() -> list[str]:
    return [
        name + shift
        for name in sorted(current().calendars)
        for shift in ("", ":skip", ":next", ":previous")
    ]
