"""Reads the text of a cron expression, by Debian cron's rules, into a Pattern.

What jobu does not run is refused with the reason. docs/schedules.md describes the dialect.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from django.utils.translation import gettext as _

from scheduler.schedule.errors import CronNeverFiresError, CronParseError, quote
from scheduler.schedule.fields import (
    DOM,
    DOW,
    FIELDS,
    HOURS,
    MINUTES,
    MONTHS,
    SECONDS,
    Field,
    fold_sunday,
    number,
    step_of,
    unreadable,
    wrong,
)
from scheduler.schedule.hashed import is_hashed, needs_name
from scheduler.schedule.month_days import MOST_BEFORE_LAST, MonthDay
from scheduler.schedule.pattern import LAST_OF_MONTH, CronDays, Pattern

MAX_EXPRESSION_LENGTH: Final = 100


_ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_RANGE: Final = re.compile(r"(\*|\?|[a-z0-9]+)(?:-([a-z0-9]+))?(?:/([0-9]+))?", re.ASCII)
_NTH: Final = re.compile(r"([a-z]+|[0-9]+)#([0-9]+)", re.ASCII)
_MONTH_DAY: Final = re.compile(r"([0-9]+)w|l(?:-([0-9]+))?(w?)", re.ASCII)
_LAST_WEEKDAY: Final = re.compile(r"l(sun|mon|tue|wed|thu|fri|sat|[0-9]+)|([a-z0-9]+?)l", re.ASCII)


def read_expression(text: str) -> Pattern:
    """Returns the expression's times. Raises CronParseError or CronNeverFiresError."""
    written = _split(text)
    texts = dict(zip(FIELDS[-len(written) :], written, strict=True))
    seconds = _numbers(SECONDS, texts.get(SECONDS, "0"))
    minutes, hours = _numbers(MINUTES, texts[MINUTES]), _numbers(HOURS, texts[HOURS])
    days = _read_days(texts[DOM], texts[MONTHS], texts[DOW])
    if not days.exist():
        raise CronNeverFiresError(
            _("never fires: no month that is chosen has such a day (%(text)s)")
            % {"text": quote(text.strip())}
        )
    return Pattern(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        days=days,
        # Debian cron (entry.c, MIN_STAR and HR_STAR) decides by the first character of these two
        # fields. The seconds do not count, so that "0 " before five fields changes nothing.
        is_fixed_time=not (texts[MINUTES].startswith("*") or texts[HOURS].startswith("*")),
    )


def _split(text: str) -> list[str]:
    """Returns the five or six fields in lower case, with aliases replaced."""
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise CronParseError(
            _("is %(length)s characters long, at most %(most)s allowed")
            % {"length": len(text), "most": MAX_EXPRESSION_LENGTH}
        )
    check_characters(text)
    text = text.strip(" ").lower()
    if text.startswith("@"):
        if text == "@reboot":
            raise CronParseError(_("@reboot names no time; jobs here run at times only"))
        if text not in _ALIASES:
            facts = {"text": quote(text), "known": ", ".join(_ALIASES)}
            raise CronParseError(_("%(text)s is unknown; there are %(known)s") % facts)
        text = _ALIASES[text]
    fields = text.split()
    if len(fields) not in (5, 6):
        raise CronParseError(
            _(
                "has %(count)s fields; write 5 (minute hour day month weekday), or 6 with the "
                "seconds first"
            )
            % {"count": len(fields)}
        )
    return fields


def check_characters(text: str) -> None:
    """Raises CronParseError for a character that no expression has."""
    for place, character in enumerate(text, start=1):
        if not " " <= character <= "~":
            raise CronParseError(
                _(
                    "character %(place)s is %(character)s; only printable ASCII, with spaces "
                    "between the fields, is allowed"
                )
                % {"place": place, "character": f"U+{ord(character):04X}"}
            )


def _numbers(kind: Field, text: str) -> tuple[int, ...]:
    """Returns the values, ascending, of a field of numbers, names, ranges and steps."""
    if "?" in text and (text != "?" or kind not in (DOM, DOW)):
        raise wrong(kind, "?", _("'?' stands alone, in one of the two day fields"))
    found: set[int] = set()
    for item in text.split(","):
        found.update(_item(kind, item))
    return tuple(sorted(found))


def _item(kind: Field, item: str) -> list[int]:
    if is_hashed(item):
        raise needs_name(kind, item)
    shape = _RANGE.fullmatch(item)
    if shape is None:
        raise unreadable(kind, item)
    start, end, step_text = shape.groups()
    if start in ("*", "?"):
        if end:
            raise unreadable(kind, item)
        low, high = kind.low, kind.top
    else:
        low = number(kind, start, item)
        high = number(kind, end, item) if end else low
        if high < low:
            text = _("range %(item)s runs backwards; write two ranges with a comma")
            raise wrong(kind, item, text)
        if step_text and not end:
            # "5/15" means from 5 on. A Sunday written as 7 is the first day of the week here.
            low, high = fold_sunday(kind, low), kind.top
    step = step_of(kind, step_text, item)
    return [fold_sunday(kind, value) for value in range(low, high + 1, step)]


# Thousands of expressions have the same days, most of them every day, and to read them costs more
# than all else.
@lru_cache(maxsize=1024)
def _read_days(dom_text: str, month_text: str, dow_text: str) -> CronDays:
    dom_items = dom_text.split(",")
    plain_dom = [item for item in dom_items if not _MONTH_DAY.fullmatch(item)]
    month_days = {_month_day(item) for item in dom_items if item not in ("l", *plain_dom)}
    plain_dow: list[str] = []
    nths: set[tuple[int, int]] = set()
    for item in dow_text.split(","):
        if nth := _NTH.fullmatch(item):
            count = int(nth[2])
            if not 1 <= count <= 5:
                raise wrong(DOW, item, _("%(item)s: a month has weekdays #1 to #5"))
            nths.add((fold_sunday(DOW, number(DOW, nth[1], item)), count))
        elif last := _LAST_WEEKDAY.fullmatch(item):
            nths.add((fold_sunday(DOW, number(DOW, last[1] or last[2], item)), LAST_OF_MONTH))
        else:
            plain_dow.append(item)
    return CronDays(
        months=_numbers(MONTHS, month_text),
        doms=_numbers(DOM, ",".join(plain_dom)) if plain_dom else (),
        last_dom="l" in dom_items,
        month_days=tuple(sorted(month_days)),
        dows=_numbers(DOW, ",".join(plain_dow)) if plain_dow else (),
        nths=tuple(sorted(nths)),
        # Debian cron (cron.c, DOM_STAR and DOW_STAR): the first character decides.
        both=dom_text[0] in "*?" or dow_text[0] in "*?",
    )


def _month_day(item: str) -> MonthDay:
    """Returns what `15W`, `LW`, `L-3` or `L-3W` says."""
    shape = _MONTH_DAY.fullmatch(item)
    assert shape is not None
    numbered, before_last, weekday = shape.groups()
    if numbered:
        if not 1 <= int(numbered) <= DOM.high:
            near = 1 if int(numbered) < 1 else DOM.high
            text = _("%(item)s: the day is outside 1-%(high)s; write '%(near)sW' or 'LW'")
            raise wrong(DOM, item, text, high=DOM.high, near=near)
        return MonthDay(from_last=False, number=int(numbered), is_weekday=True)
    number = int(before_last or 0)
    if before_last and not 1 <= number <= MOST_BEFORE_LAST:
        right = ("L" if number < 1 else f"L-{MOST_BEFORE_LAST}") + weekday.upper()
        text = _("%(item)s: a day before the last one is L-1 to L-%(most)s; write '%(near)s'")
        raise wrong(DOM, item, text, most=MOST_BEFORE_LAST, near=right)
    return MonthDay(from_last=True, number=number, is_weekday=bool(weekday))
