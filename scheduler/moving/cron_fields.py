"""Reads five cron fields, by the dialect of the system that wrote them, into a Rule.

cron: Debian's cron.c (a day field that begins with `*` makes both day fields necessary).
kubernetes: robfig/cron v3 (only `*`, `?` and `*/1` do; 7 is no weekday; the rest as in cron).
airflow: croniter (only a field that holds every value does).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from scheduler.moving.entries import Finding, Reason, impossible
from scheduler.moving.rules import EVERY_DOM, EVERY_DOW, Rule

ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@quarterly": "0 0 1 */3 *",
}
_OF_AIRFLOW: Final = "@quarterly"
_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ITEM: Final = re.compile(r"(\*|\?|[0-9]+|[a-z]{3})(?:-([0-9]+|[a-z]{3}))?(?:/([0-9]+))?", re.ASCII)
_NTH: Final = re.compile(r"([0-7]|[a-z]{3})#([1-5])|l([0-7]|[a-z]{3})", re.ASCII)
# What cron refuses, and Kubernetes, Airflow and jobu read: `5/15` without an end, and `?`.
_NOT_IN_CRON: Final = re.compile(r"\?(?:/[0-9]+)?|(?:[0-9]+|[a-z]{3})/[0-9]+", re.ASCII)
# H, H/15, H(0-29) and H(0-29)/10; 15W, LW, L-3 and L-3W.
_READ_HERE_ALONE: Final = re.compile(r"h(?:\(.*\))?(?:/[0-9]+)?|[0-9]+w|l-[0-9]+w?|lw", re.ASCII)


class Dialect(Enum):
    """Whose fields they are."""

    CRON = "cron"
    KUBERNETES = "kubernetes"
    AIRFLOW = "airflow"


@dataclass(frozen=True)
class _Field:
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def every(self) -> range:
        return range(self.low, self.high + 1)


_FIELDS: Final = (_Field(0, 59), _Field(0, 23), _Field(1, 31), _Field(1, 12, _MONTHS))
_DOW: Final = _Field(0, 6, _WEEKDAYS)


class UnreadableField(ValueError):
    """The text that cannot be read."""


def unreadable(error: UnreadableField, dialect: Dialect) -> Finding:
    """Returns what is said of an entry with such a field. `H` and `W` are read here alone."""
    item = str(error)
    # Newer releases of croniter read `15W`, so Airflow may.
    may_be_there = dialect is Dialect.AIRFLOW and item[:1].isdigit()
    is_not_in_cron = dialect is Dialect.CRON and _NOT_IN_CRON.fullmatch(item)
    if is_not_in_cron or (not may_be_there and _READ_HERE_ALONE.fullmatch(item)):
        return impossible(Reason.NOT_THERE, system=dialect.value, item=item.upper())
    return impossible(Reason.EXPRESSION, problem=repr(item))


def read_rule(text: str, zone: str, dialect: Dialect) -> Rule:
    """Returns the times of five fields or an alias. UnreadableField names the part at fault."""
    airflow = dialect is Dialect.AIRFLOW
    alias = text.strip().lower()
    written = ALIASES.get(alias, text).lower().split()
    if len(written) != 5 or (alias == _OF_AIRFLOW and not airflow):
        raise UnreadableField(text.strip())
    dom_text, dow_text = written[2], written[4]
    dom_items = [each for each in dom_text.split(",") if not (airflow and each == "l")]
    last_dom = len(dom_items) < len(dom_text.split(","))
    dow_items, nths = _split_nths(dow_text) if airflow else (dow_text.split(","), set())
    minutes, hours, _dom, months = (
        _numbers(kind, text.split(",") if number != 2 else ["*"], dialect)
        for number, (kind, text) in enumerate(zip(_FIELDS, written, strict=False))
    )
    doms = _numbers(_FIELDS[2], dom_items, dialect) if dom_items else frozenset()
    dows = _weekdays(dow_items, dialect) if dow_items else frozenset()
    return Rule(
        zone=zone,
        minutes=minutes,
        hours=hours,
        doms=doms,
        months=months,
        dows=dows,
        nths=frozenset(nths),
        last_dom=last_dom,
        both=_is_star(dom_text, doms == EVERY_DOM, dialect)
        or _is_star(dow_text, dows == EVERY_DOW, dialect),
    )


def _is_star(text: str, is_every: bool, dialect: Dialect) -> bool:
    match dialect:
        case Dialect.CRON:
            return text.startswith("*")
        case Dialect.KUBERNETES:
            return any(item in ("*", "?", "*/1", "?/1") for item in text.split(","))
        case Dialect.AIRFLOW:
            return is_every


def _split_nths(text: str) -> tuple[list[str], set[tuple[int, int]]]:
    plain, nths = [], set()
    for item in text.split(","):
        if found := _NTH.fullmatch(item):
            weekday = _value(_DOW, found[1] or found[3], item) % 7
            nths.add((weekday, int(found[2] or 0)))
        else:
            plain.append(item)
    return plain, nths


def _weekdays(items: list[str], dialect: Dialect) -> frozenset[int]:
    high = 6 if dialect is Dialect.KUBERNETES else 7
    kind = _Field(0, high, _WEEKDAYS)
    found: set[int] = set()
    for item in items:
        # `*` is 0 to 6 everywhere, and "5/2" ends on Saturday.
        starred = item[:1] in ("*", "?") or ("/" in item and "-" not in item)
        found.update(value % 7 for value in _item(_DOW if starred else kind, item, dialect))
    return frozenset(found)


def _numbers(kind: _Field, items: list[str], dialect: Dialect) -> frozenset[int]:
    return frozenset(value for item in items for value in _item(kind, item, dialect))


def _item(kind: _Field, item: str, dialect: Dialect) -> range:
    shape = _ITEM.fullmatch(item)
    if shape is None:
        raise UnreadableField(item)
    start, end, step = shape.groups()
    if dialect is Dialect.CRON and (start == "?" or (step and not end and start != "*")):
        raise UnreadableField(item)
    if start in ("*", "?"):
        if end:
            raise UnreadableField(item)
        low, high = kind.low, kind.high
    else:
        low = _value(kind, start, item)
        high = _value(kind, end, item) if end else (kind.high if step else low)
        if dialect is Dialect.CRON and kind.high == 7 and end and high == 0:
            high = 7  # cronie's `mon-sun` and `5-0`; other crons refuse the file
    if high < low or (step is not None and int(step) < 1):
        raise UnreadableField(item)
    return range(low, high + 1, int(step or 1))


def _value(kind: _Field, text: str, item: str) -> int:
    if text in kind.names:
        return kind.names.index(text) + kind.low
    if not text.isdigit() or not kind.low <= int(text) <= max(kind.high, 7 if kind is _DOW else 0):
        raise UnreadableField(item)
    return int(text)
