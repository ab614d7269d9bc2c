"""The fields of a cron expression: what each may hold, and what is said about a wrong item."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from scheduler.schedule.errors import CronParseError, quote


@dataclass(frozen=True)
class Field:
    """What one field may hold. Numbers end at `high`, but `*` and `5/15` end at `top`."""

    name: str
    low: int
    top: int
    high: int
    names: tuple[str, ...] = ()


SECONDS: Final = Field("second", 0, 59, 59)
MINUTES: Final = Field("minute", 0, 59, 59)
HOURS: Final = Field("hour", 0, 23, 23)
DOM: Final = Field("day of month", 1, 31, 31)
_MONTH_NAMES: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
MONTHS: Final = Field("month", 1, 12, 12, _MONTH_NAMES)
DOW: Final = Field("day of week", 0, 6, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))

FIELDS: Final = (SECONDS, MINUTES, HOURS, DOM, MONTHS, DOW)


def number(kind: Field, text: str, item: str) -> int:
    if text in kind.names:
        return kind.names.index(text) + kind.low
    if not text.isdigit():
        raise unreadable(kind, item)
    value = int(text)
    if not kind.low <= value <= kind.high:
        text = _("%(item)s is outside %(low)s-%(high)s")
        raise wrong(kind, item, text, low=kind.low, high=kind.high)
    return value


def step_of(kind: Field, text: str | None, item: str) -> int:
    if text is None:
        return 1
    step, largest = int(text), kind.top - kind.low + 1
    if not 1 <= step <= largest:
        text = _("the step of %(item)s is outside 1-%(largest)s")
        raise wrong(kind, item, text, largest=largest)
    return step


def fold_sunday(kind: Field, value: int) -> int:
    return 0 if kind is DOW and value == 7 else value


def unreadable(kind: Field, item: str) -> CronParseError:
    """Returns the most helpful reason why `item` is not allowed in this field."""
    if not item:
        return wrong(kind, item, _("a value is missing around a comma"))
    if re.fullmatch(r"r(\(.*\))?(/.*)?", item):
        text = _("%(item)s would be a random value; write 'H', which the job's name decides")
        return wrong(kind, item, text)
    if kind is DOM and "w" in item:
        text = _(
            "%(item)s: 'W' stands after one day; write '15W', 'LW' or 'L-3W', and a list with "
            "commas"
        )
        return wrong(kind, item, text)
    if re.fullmatch(r"l?(-?[0-9]+)?w", item):
        text = _("%(item)s: 'W' belongs into the day of month ('15W')")
        return wrong(kind, item, text)
    if "l" in item and kind in (DOM, DOW) and not item.isalpha():
        text = _(
            "%(item)s: 'L' and 'L-3' are days of the month; beside one weekday ('5L') it is the "
            "last one"
        )
        return wrong(kind, item, text)
    if "#" in item and kind is DOW:
        return wrong(kind, item, _("%(item)s: write one weekday, '#' and 1-5 ('mon#2')"))
    return wrong(kind, item, _("%(item)s cannot be read"))


def wrong(kind: Field, item: str, text: str, **facts: object) -> CronParseError:
    """Returns the error `text` about `item`, with the name of the field in front."""
    field_name = pgettext("field", kind.name)
    return CronParseError(f"{field_name}: {text % {'item': quote(item), **facts}}")
