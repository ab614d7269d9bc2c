"""A form field for the name of a job. Typing works without scripts and with any number of jobs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from scheduler.admin.unfold_compat import TextInputWidget
from scheduler.models import CronJob
from scheduler.operations.validation import new_name_problem


class JobNameField(forms.CharField):
    """Its cleaned value is the CronJob; None if the field is optional and empty."""

    widget = TextInputWidget

    def __init__(self, **options: Any) -> None:
        # As it was typed: an older name may end with a blank, and no new one does.
        super().__init__(label=_("Job"), max_length=255, strip=False, **options)

    def clean(self, value: Any) -> CronJob | None:
        name = super().clean(value)
        if not name:
            return None
        job = CronJob.objects.filter(name=name).first()
        if job is None and (problem := new_name_problem(name)):
            raise forms.ValidationError(problem, code="invalid")
        if job is None:
            raise forms.ValidationError(
                _("no job has the name %(name)s"), code="invalid", params={"name": name}
            )
        return job
