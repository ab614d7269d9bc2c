"""The question that a pause asks."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.unfold_compat import SplitDateTimeWidget, TextInputWidget, name_date_and_time
from scheduler.admin.wording import add_problems
from scheduler.operations.errors import InvalidJob


class PauseForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        widget=TextInputWidget(),
        help_text=_("Everybody who opens a run that waits sees it."),
    )
    until = forms.SplitDateTimeField(
        label=_("Until"),
        required=False,
        widget=SplitDateTimeWidget(),
        help_text=format_lazy(
            _("In {zone}. The queue comes back by itself then; empty: when somebody resumes it."),
            zone=formatting.SCREEN_ZONE,
        ),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        name_date_and_time(self)

    def add_problems(self, error: InvalidJob) -> None:
        add_problems(self, error.problems)
