"""Writes the times of a Rule as an expression of jobu, exactly, where there is one.

jobu's rule for the two day fields is Debian cron's: both must match if one of them begins with `*`,
else one is enough. So a set gets a text that begins with `*`, or one that does not, as needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from scheduler.moving.rules import (
    EVERY_DOM,
    EVERY_DOW,
    EVERY_HOUR,
    EVERY_MINUTE,
    Rule,
)

MAX_LENGTH: Final = 100
_RANGES: Final = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "dom": (1, 31),
    "month": (1, 12),
    "dow": (0, 6),
}


def expression_of(rule: Rule) -> str | None:
    """Returns the expression with exactly these times. None: there is none (two day fields)."""
    days = _days(rule)
    if days is None:
        return None
    dom, dow = days
    minute, hour = _text(rule.minutes, "minute"), _text(rule.hours, "hour")
    if rule.minutes == EVERY_MINUTE:
        minute = "*"
    if rule.hours == EVERY_HOUR:
        hour = "*"
    fields = [minute, hour, dom, _text(rule.months, "month"), dow]
    if rule.seconds != frozenset({0}):
        fields.insert(0, _text(rule.seconds, "second"))
    return " ".join(fields)


def _days(rule: Rule) -> tuple[str, str] | None:
    """Returns the texts of day of month and weekday."""
    every_dom, every_dow = rule.doms == EVERY_DOM, rule.dows == EVERY_DOW
    if rule.nths or rule.last_dom:
        return _days_with_nths(rule, every_dom=every_dom, every_dow=every_dow)
    if every_dom or every_dow:
        if not rule.both or (every_dom and every_dow):
            return "*", "*"
        return ("*", _text(rule.dows, "dow")) if every_dom else (_text(rule.doms, "dom"), "*")
    if not rule.both:
        return _plain(rule.doms, "dom"), _plain(rule.dows, "dow")
    if weeks := _weeks_of_month(rule):
        return weeks
    for dom, dow in (
        (_starred(rule.doms, "dom"), _plain(rule.dows, "dow")),
        (_plain(rule.doms, "dom"), _starred(rule.dows, "dow")),
    ):
        if dom and dow:
            return dom, dow
    return None


def _days_with_nths(rule: Rule, *, every_dom: bool, every_dow: bool) -> tuple[str, str] | None:
    doms = ",".join([_plain(rule.doms, "dom")] * bool(rule.doms) + ["L"] * rule.last_dom)
    nths = [f"{day}#{count}" if count else f"{day}L" for day, count in sorted(rule.nths)]
    dows = ",".join([_plain(rule.dows, "dow")] * bool(rule.dows) + nths)
    if (every_dom and not rule.both) or (every_dow and not rule.both):
        return "*", "*"
    if every_dom or (not doms and not rule.both):
        return "*", dows
    if every_dow:
        return doms, "*"
    return None if rule.both else (doms, dows)


def _weeks_of_month(rule: Rule) -> tuple[str, str] | None:
    """`1-7` and Monday is the first Monday, which has an expression of its own."""
    weeks = [n for n in range(1, 6) if set(range(7 * n - 6, min(7 * n, 31) + 1)) <= rule.doms]
    covered = {day for n in weeks for day in range(7 * n - 6, min(7 * n, 31) + 1)}
    if covered != rule.doms:
        return None
    return "*", ",".join(f"{dow}#{week}" for dow in sorted(rule.dows) for week in weeks)


def _starred(values: frozenset[int], kind: str) -> str:
    """Returns a text of the set that begins with `*`. "": there is none."""
    low, high = _RANGES[kind]
    stepped = _stepped(values, low, high)
    if stepped:
        return stepped
    if low not in values:
        return ""
    # `*/31` is the first day of the month alone, and `*/7` is Sunday alone.
    rest = values - {low}
    first = f"*/{high - low + 1}"
    return f"{first},{_plain(rest, kind)}" if rest else first


def _text(values: frozenset[int], kind: str) -> str:
    low, high = _RANGES[kind]
    if values == frozenset(range(low, high + 1)):
        return "*"
    return _stepped(values, low, high) or _plain(values, kind)


def _stepped(values: frozenset[int], low: int, high: int) -> str:
    """`*/n`, if these are its values and there are at least three."""
    return next(
        (
            f"*/{step}"
            for step in range(2, (high - low) // 2 + 1)
            if values == frozenset(range(low, high + 1, step))
        ),
        "",
    )


def _plain(values: Iterable[int], kind: str) -> str:
    """Returns the values as numbers and ranges, without `*`."""
    numbers = sorted(values)
    low, high = _RANGES[kind]
    if numbers == list(range(low, high + 1)):
        return f"{low}-{high}"
    if len(numbers) > 3 and len(steps := {b - a for a, b in pairwise(numbers)}) == 1:
        (step,) = steps
        if step > 1:
            return f"{numbers[0]}-{numbers[-1]}/{step}"
    return ",".join(_runs(numbers))


def _runs(numbers: Sequence[int]) -> Iterable[str]:
    start = previous = None
    for number in [*numbers, None]:
        if start is not None and previous is not None and number != previous + 1:
            if previous - start > 1:
                yield f"{start}-{previous}"
            else:
                yield from (str(each) for each in range(start, previous + 1))
            start = None
        start, previous = (number if start is None else start), number
