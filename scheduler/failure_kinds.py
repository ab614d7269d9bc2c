"""What kind a failure is: the same handler, the same exception, and a text that says the same.

Pure. Two errors say the same when they differ only in what belongs to one run: numbers, ids,
times, quoted texts, addresses and paths.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: So much of an error is looked at. Its first line is within it, or is cut.
READ: Final = 2000
#: So much of a first line is kept and compared.
LONGEST: Final = 300

# In this order: an address holds paths, a quoted text may hold anything, an id holds numbers.
_REPLACED: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s'\"`<>)\]]+", re.IGNORECASE), "<url>"),
    # An apostrophe inside a word opens no quotation.
    (re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|\u201c[^\u201d]*\u201d"), "<text>"),
    (
        re.compile(
            r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE
        ),
        "<id>",
    ),
    (re.compile(r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+\b"), "<address>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<hex>"),
    # Letters alone are a word, digits alone a number.
    (
        re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", re.IGNORECASE),
        "<hex>",
    ),
    (re.compile(r"(?<![\w<])(?:[A-Za-z]:\\|~?/)[^\s:,;()\[\]'\"]+"), "<path>"),
    (
        re.compile(
            r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
        ),
        "<time>",
    ),
    (re.compile(r"\d+(?:[.,]\d+)*"), "<n>"),
)


@dataclass(frozen=True, kw_only=True)
class FailureKind:
    """`exception_class`: its full path; empty where none was raised."""

    handler_name: str
    exception_class: str
    text: str
    """The first line of the error without what belongs to one run."""

    @property
    def fingerprint(self) -> str:
        """32 characters: the same for the same kind, on every host and in every release."""
        parts = "\0".join((self.handler_name, self.exception_class, self.text))
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def kind_of(*, handler_name: str, exception_class: str | None, error: str | None) -> FailureKind:
    return FailureKind(
        handler_name=handler_name,
        exception_class=exception_class or "",
        text=normal_text(error or ""),
    )


def first_line(error: str) -> str:
    """The first line that says something, without white space around and inside it."""
    line = next((line for line in error[:READ].splitlines() if line.strip()), "")
    return " ".join(line.split())[:LONGEST]


def normal_text(error: str) -> str:
    """The first line with all that belongs to one run replaced, such as `<n>` for a number."""
    text = first_line(error)
    for pattern, place in _REPLACED:
        text = pattern.sub(place, text)
    return text[:LONGEST]
