"""Labels of codes on a page, in the current language. Rows, logs and the API use the codes.

The codes are msgids in the catalogue. The context is the name of the enum. tests/translations.py
puts them there. The label of a code without a translation is the code itself.
"""

from __future__ import annotations

from enum import StrEnum

from django.utils.translation import pgettext


def label(code: StrEnum) -> str:
    return pgettext(type(code).__name__, code.value)


def label_of(codes: type[StrEnum], text: str) -> str:
    """Returns the label of a code from a row. The label of an unknown code is the code itself."""
    return label(codes(text)) if text in list(codes) else text


def task_id(execution_id: int, attempt: int) -> str:
    """The name of an attempt among Celery's tasks, as Flower shows it."""
    return f"jobu-{execution_id}-{attempt}"
