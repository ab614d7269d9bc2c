"""`H`, as in Jenkins: a number that the job's name decides, so that jobs do not start together.

The number comes from a hash of the name and of the field. It is the same on every host and in every
release: to change it would move the slots of all jobs that have an `H`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from django.utils.translation import gettext as _

from scheduler.schedule.errors import CronParseError
from scheduler.schedule.fields import DOM, FIELDS, Field, number, wrong

_SHAPE: Final = re.compile(r"h(?:\(([a-z0-9]+)-([a-z0-9]+)\))?(?:/([0-9]+))?", re.ASCII)
_BEGINS: Final = re.compile(r"h(?![a-z])", re.ASCII)
# Each month has these days.
_LAST_DAY: Final = 28


@dataclass(frozen=True, kw_only=True)
class _Hashed:
    """`low` and `high`: the numbers that it may become. `step`: None for one number."""

    low: int
    high: int
    step: int | None


def is_hashed(item: str) -> bool:
    """Returns whether an item of a field, in lower case, is an `H`, or should be one."""
    return _BEGINS.match(item) is not None


def has_hashed(expression: str) -> bool:
    """Returns whether an expression has an `H`."""
    items = (item for text in expression.lower().split() for item in text.split(","))
    return any(is_hashed(item) for item in items)


def with_numbers(expression: str, name: str) -> str:
    """Returns the expression with the numbers of the job `name` in place of each `H`.

    Raises CronParseError.
    """
    texts = expression.lower().split()
    if len(texts) not in (len(FIELDS) - 1, len(FIELDS)):
        return expression  # read_expression says so
    kinds = FIELDS[-len(texts) :]
    return " ".join(_field(kind, text, name) for kind, text in zip(kinds, texts, strict=True))


def needs_name(kind: Field, item: str) -> CronParseError:
    """Returns the error of an `H` that has no name yet. Raises CronParseError for a wrong one."""
    _read(kind, item)
    text = _("%(item)s becomes a number by the job's name; write the name, too")
    return wrong(kind, item.upper(), text)


def _field(kind: Field, text: str, name: str) -> str:
    items = (_item(kind, item, name) if is_hashed(item) else item for item in text.split(","))
    return ",".join(dict.fromkeys(items))


def _item(kind: Field, item: str, name: str) -> str:
    hashed = _read(kind, item)
    key = f"{kind.name}\0{name}".encode("utf-8", "backslashreplace")
    value = int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
    if hashed.step is None:
        return str(hashed.low + value % (hashed.high - hashed.low + 1))
    return f"{hashed.low + value % hashed.step}-{hashed.high}/{hashed.step}"


# Thousands of names have one expression.
@lru_cache(maxsize=1024)
def _read(kind: Field, item: str) -> _Hashed:
    shape = _SHAPE.fullmatch(item)
    if shape is None:
        text = _("%(item)s cannot be read; write 'H', 'H/15', 'H(0-29)' or 'H(0-29)/10'")
        raise wrong(kind, item, text)
    low, high = kind.low, _LAST_DAY if kind is DOM else kind.top
    if shape[1]:
        low, high = (number(kind, text, item) for text in (shape[1], shape[2]))
    if high < low:
        text = _("%(item)s runs backwards; write 'H(%(low)s-%(high)s)'")
        raise wrong(kind, item, text, low=high, high=low)
    if shape[3] is None:
        return _Hashed(low=low, high=high, step=None)
    step, largest = int(shape[3]), high - low + 1
    if not 2 <= step <= largest:
        # Jenkins reads H/1 as H, people read it as each: neither is guessed.
        text = _(
            "the step of %(item)s is outside 2-%(largest)s; write 'H' for one number, '*' for each"
        )
        raise wrong(kind, item, text, largest=largest)
    return _Hashed(low=low, high=high, step=step)
