"""The form of a freeze."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from scheduler.admin import formatting
from scheduler.admin.stale_forms import SeenAtField
from scheduler.admin.unfold_compat import (
    SelectWidget,
    SplitDateTimeWidget,
    SwitchWidget,
    TextareaWidget,
    TextInputWidget,
    name_date_and_time,
)
from scheduler.admin.wording import add_problems
from scheduler.models import JobFreeze
from scheduler.operations.errors import InvalidJob
from scheduler.operations.freezes import FIELDS, tags_of
from scheduler.states import BlockedSlots

_IN_ZONE = format_lazy(_("In {zone}."), zone=formatting.SCREEN_ZONE)


class FreezeForm(forms.Form):
    # The server reports missing values, each with its reason.
    use_required_attribute = False

    name = forms.CharField(label=_("Name"), max_length=100, widget=TextInputWidget())
    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        widget=TextInputWidget(),
        help_text=_("Everybody who asks why a slot did not run sees it."),
    )
    since = forms.SplitDateTimeField(
        label=_("Since"), required=False, widget=SplitDateTimeWidget(), help_text=_IN_ZONE
    )
    until = forms.SplitDateTimeField(
        label=_("Until"),
        required=False,
        widget=SplitDateTimeWidget(),
        help_text=format_lazy(
            _("In {zone}. Both are needed if there are no hours of the week."),
            zone=formatting.SCREEN_ZONE,
        ),
    )
    hours = forms.CharField(
        label=_("Hours of the week"),
        required=False,
        max_length=500,
        widget=TextareaWidget(attrs={"rows": 3}),
        help_text=_(
            "Such as Fri 18:00 - Mon 06:00, or Mon-Fri 22:00 - 06:00; one span per line. Empty: it "
            "holds all the time between the two instants."
        ),
    )
    timezone = forms.CharField(
        label=_("Time zone"),
        required=False,
        max_length=64,
        widget=TextInputWidget(),
        help_text=_("Of these hours. Empty: the configured default."),
    )
    tags = forms.CharField(
        label=_("Tags"),
        required=False,
        max_length=2000,
        widget=TextInputWidget(),
        help_text=_("Separated by commas: jobs with one of them. Empty: all jobs."),
    )
    blocked_slots = forms.ChoiceField(
        label=_("Blocked slots"),
        choices=[(each.value, pgettext_lazy("BlockedSlots", each.value)) for each in BlockedSlots],
        widget=SelectWidget(),
        help_text=_("With “latest”, the last blocked slot of each job runs when the freeze ends."),
    )
    is_enabled = forms.BooleanField(
        label=_("enabled"), required=False, initial=True, widget=SwitchWidget()
    )

    seen_at = SeenAtField()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        name_date_and_time(self)

    def values(self) -> dict[str, Any]:
        """Returns the columns of the freeze."""
        return {name: value for name, value in self.cleaned_data.items() if name != "seen_at"}

    def clean_tags(self) -> list[str]:
        texts = (text.strip() for text in self.cleaned_data["tags"].split(","))
        return sorted({text for text in texts if text})

    def clean_hours(self) -> str:
        return str(self.cleaned_data["hours"]).replace("\r\n", "\n").strip()

    def add_problems(self, error: InvalidJob) -> None:
        add_problems(self, error.problems)


def initial_of(row: JobFreeze) -> dict[str, Any]:
    """Returns the values of the form for a freeze that exists."""
    values = {name: getattr(row, name) for name in FIELDS}
    return {**values, "tags": ", ".join(tags_of(row)), "seen_at": row.updated_at}
