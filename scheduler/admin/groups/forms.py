"""The form of a group's limits."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from scheduler.admin.stale_forms import SeenAtField
from scheduler.admin.unfold_compat import (
    AnyModelForm,
    IntegerWidget,
    SwitchWidget,
    TextInputWidget,
)
from scheduler.admin.wording import add_problems
from scheduler.models import ConcurrencyGroup
from scheduler.operations.errors import InvalidJob
from scheduler.operations.groups import SETTABLE

_NUMBERS = ("max_running", "max_running_per_key", "rate_count", "rate_seconds")


class GroupForm(AnyModelForm):
    """The operation checks the values, so that each door says the same."""

    seen_at = SeenAtField()

    class Meta:
        model = ConcurrencyGroup
        fields = ["name", *SETTABLE]
        widgets = {
            "name": TextInputWidget(),
            "description": TextInputWidget(),
            **dict.fromkeys(_NUMBERS, IntegerWidget()),
            "rate_per_key": SwitchWidget(),
        }
        help_texts = {
            "name": _("Jobs name it. It cannot be changed later."),
            "max_running": _("empty: no limit"),
            "rate_count": _("in any window of so many seconds; empty: no limit"),
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.instance.pk is not None:
            del self.fields["name"]
            self.initial["seen_at"] = self.instance.updated_at

    def _post_clean(self) -> None:
        """Nothing here: the operation refuses what is wrong."""

    def values(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in SETTABLE if name in self.cleaned_data}

    def add_problems(self, error: InvalidJob) -> None:
        add_problems(self, error.problems)
