"""What codes are called on a page, in the current language. Rows, logs and the API keep the codes.

The codes are the catalogue's msgids, in a context of their enum's name: tests/translations.py puts
them there. Without a translation a code is called by itself.
"""

from __future__ import annotations

from enum import StrEnum

from django.utils.translation import pgettext


def label(code: StrEnum) -> str:
    return pgettext(type(code).__name__, code.value)


def label_of(codes: type[StrEnum], text: str) -> str:
    """Of a code as a row has it; an unknown one, typed by SQL, by itself."""
    return label(codes(text)) if text in list(codes) else text
