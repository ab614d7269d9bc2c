"""The forms that start a backfill: first the job, then the range and how to run it."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.job_name_field import JobNameField
from scheduler.admin.params_field import ParamsField
from scheduler.admin.unfold_compat import (
    IntegerWidget,
    SelectWidget,
    SplitDateTimeWidget,
    SwitchWidget,
    name_date_and_time,
)
from scheduler.admin.wording import add_problems
from scheduler.models import CronJob
from scheduler.operations.backfills import LARGEST_PARALLELISM, LARGEST_RATE, InvalidJob
from scheduler.states import BackfillOrder

ORDERS: Final = {
    BackfillOrder.OLDEST_FIRST.value: _("oldest first"),
    BackfillOrder.NEWEST_FIRST.value: _("newest first"),
}
_IN_ZONE: Final = format_lazy(_("in {zone}"), zone=formatting.SCREEN_ZONE)


class JobChoice(forms.Form):
    """Asks for the job when the address does not name one."""

    use_required_attribute = False  # for the same reason as in the form below

    name = JobNameField(
        help_text=_("Its name. The page of a job has a button that leads here, too.")
    )


class BackfillForm(forms.Form):
    # The server reports missing values. A browser would mark empty fields before the person types.
    use_required_attribute = False

    since = forms.SplitDateTimeField(
        label=_("First slot"), widget=SplitDateTimeWidget(), help_text=_IN_ZONE
    )
    until = forms.SplitDateTimeField(
        label=_("Last slot"),
        widget=SplitDateTimeWidget(),
        help_text=format_lazy(_("{zone}; it belongs to the range"), zone=_IN_ZONE),
    )
    order = forms.ChoiceField(label=_("Order"), choices=list(ORDERS.items()), widget=SelectWidget())
    parallelism = forms.IntegerField(
        label=_("At once"),
        min_value=1,
        max_value=LARGEST_PARALLELISM,
        initial=1,
        widget=IntegerWidget(),
        help_text=_("how many of its runs may be unfinished at a time"),
    )
    per_minute = forms.IntegerField(
        label=_("Runs per minute"),
        required=False,
        min_value=1,
        max_value=LARGEST_RATE,
        widget=IntegerWidget(),
        help_text=_("empty: as many as there is room for"),
    )
    only_missing = forms.BooleanField(
        label=_("Only missing slots"),
        required=False,
        widget=SwitchWidget(),
        help_text=_("leave out slots that have succeeded, wait or run"),
    )
    ignores_overlap = forms.BooleanField(
        label=_("Beside other runs"),
        required=False,
        widget=SwitchWidget(),
        help_text=_("the job's overlap policy does not hold for its runs"),
    )
    with_downstream = forms.BooleanField(
        label=_("With the jobs that wait for it"),
        required=False,
        widget=SwitchWidget(),
        help_text=_("the run of a slot waits for that of its upstream job"),
    )
    params = ParamsField(
        label=_("Parameters"),
        required=False,
        help_text=_(
            "For these runs only. In texts, {slot} becomes the slot in ISO 8601, and "
            "{slot:%Y-%m-%d} its date in the job's zone. ******** stands for a stored secret."
        ),
    )

    def __init__(self, *args: Any, job: CronJob, sees_params: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        name_date_and_time(self)
        params = self.fields["params"]
        assert isinstance(params, ParamsField)
        params.stored = params.initial = job.handler_params
        if not sees_params:
            del self.fields["params"]

    def add_problems(self, error: InvalidJob) -> None:
        add_problems(self, error.problems)
