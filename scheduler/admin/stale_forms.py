"""A form knows which version of its row it has shown. So of two people nobody overwrites the other.

The form of a job knows it, too, and more exactly (jobs/form.py): beat moves a job to its next slot.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

STALE = _(
    "Somebody else has changed it since you opened this page, so nothing was saved. Open the page "
    "again to see it as it is now."
)
# No row has been changed then. What a form without its field says is older than every change.
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


class SeenAtField(forms.Field):
    """A hidden field: `updated_at` of the row as the page has shown it. Exact, unlike a date field.

    Its value is an instant, also if somebody has sent anything else.
    """

    widget = forms.HiddenInput

    def __init__(self) -> None:
        super().__init__(required=False)

    def prepare_value(self, value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else value

    def to_python(self, value: Any) -> datetime:
        try:
            found = datetime.fromisoformat(value or "")
        except ValueError:
            return _NEVER
        return found if found.tzinfo is not None else _NEVER
