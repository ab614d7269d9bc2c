"""How two runs differ: in their values, place by place, and in their log lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.operations.definition import differences
from scheduler.operations.json_equal import json_equal
from scheduler.operations.masking import MASK, mask

#: Further places are not listed.
MOST: Final = 200
_LONGEST: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One thing of both runs. A secret is masked on both sides, also where the two differ."""

    name: str
    one: str
    other: str
    differs: bool


@dataclass(frozen=True, kw_only=True)
class LinePair:
    """A line of each log, side by side; empty where the other log has one more."""

    one: str
    other: str
    differs: bool


def pair(name: str, one: object, other: object) -> Pair:
    texts = [str(value) for value in (one, other)]
    return Pair(name=name, one=texts[0], other=texts[1], differs=texts[0] != texts[1])


def differing_places(one: Any, other: Any) -> list[Pair]:
    """Returns the places at which two JSON values differ, at most MOST of them."""
    found: list[Pair] = []
    for path, old, new, is_secret in differences(one, other):
        if len(found) == MOST:
            break
        texts = [MASK, MASK] if is_secret else [_text(mask(value)) for value in (old, new)]
        if not is_secret and json_equal(mask(old), mask(new)):
            texts = [_("a secret"), _("another secret")]
        found.append(Pair(name=path or "-", one=texts[0], other=texts[1], differs=True))
    return found


def beside(one: Sequence[str], other: Sequence[str]) -> list[LinePair]:
    """Returns two logs side by side, with equal lines in one row."""
    found: list[LinePair] = []
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    for tag, first, last, start, end in matcher.get_opcodes():
        for place in range(max(last - first, end - start)):
            left = one[first + place] if first + place < last else ""
            right = other[start + place] if start + place < end else ""
            found.append(LinePair(one=left, other=right, differs=tag != "equal"))
    return found


def _text(value: object) -> str:
    if value is None:
        return "-"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
