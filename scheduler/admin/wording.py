"""Words that several pages share: what an operation refused, and what runs wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import NON_FIELD_ERRORS
from django.forms import BaseForm
from django.utils.translation import gettext_lazy as _

from scheduler.operations.errors import words_of
from scheduler.states import WaitsFor

#: After a number, and in a list of choices.
WAITS_FOR: Final[Mapping[WaitsFor, Any]] = {
    WaitsFor.WORKER: _("for a worker"),
    WaitsFor.LIMIT: _("under a limit"),
    WaitsFor.OVERLAP: _("for the end of another run"),
    WaitsFor.APPROVAL: _("for an approval"),
    WaitsFor.UPSTREAM: _("for upstream jobs"),
    WaitsFor.FREEZE: _("for the end of a freeze"),
    WaitsFor.TIME: _("for their time"),
}

_SAME: Mapping[str, str] = {}


def add_problems(
    form: BaseForm, problems: Mapping[str, Sequence[str]], asked_as: Mapping[str, str] = _SAME
) -> None:
    """Adds each problem to its field, or above the form with the label of the column.

    `asked_as`: the names of columns -> the names of the form's fields, where they differ.
    """
    for column, texts in problems.items():
        field = asked_as.get(column, column)
        if column == NON_FIELD_ERRORS:
            form.add_error(None, list(texts))
        elif field in form.fields:
            form.add_error(field, list(texts))
        else:
            form.add_error(None, [f"{words_of(column)}: {text}" for text in texts])
