"""A cron expression in words, in the active language.

The words describe the values of the fields, not the text: `*/15`, `0-59/15` and `0,15,30,45` read
the same. Two expressions that run at different times never read the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, npgettext, pgettext

from scheduler.schedule.cron_schedule import parse
from scheduler.schedule.errors import ScheduleError
from scheduler.schedule.month_days import MonthDay
from scheduler.schedule.pattern import LAST_OF_MONTH, CronDays, Pattern

# A longer list of times is described by its fields.
MOST_TIMES: Final = 6

_ORDINALS: Final[dict[int, Callable[[], str]]] = {
    1: lambda: _("first"),
    2: lambda: _("second"),
    3: lambda: _("third"),
    4: lambda: _("fourth"),
    5: lambda: _("fifth"),
    LAST_OF_MONTH: lambda: _("last"),
}
_NAMED_WEEKDAYS: Final[dict[tuple[int, ...], Callable[[], str]]] = {
    (0, 1, 2, 3, 4): lambda: _("Monday to Friday"),
    (5, 6): lambda: _("Saturday and Sunday"),
}


def in_words(expression: str) -> str:
    """Returns words like `Every 10 minutes from 09:00 to 17:50, on Monday to Friday`.

    Empty if the expression cannot be used.
    """
    try:
        pattern = parse(expression, "UTC").pattern
    except ScheduleError:
        return ""
    assert isinstance(pattern.days, CronDays)
    times, is_list = _times(pattern)
    days, months = _days(pattern.days), _months(pattern.days.months)
    facts = {"times": times, "days": days, "months": months}
    if days and months:
        text = _("%(times)s, %(days)s, in %(months)s") % facts
    elif days:
        text = _("%(times)s, %(days)s") % facts
    elif months:
        text = _("%(times)s, every day in %(months)s") % facts
    else:
        text = _("every day %(times)s") % facts if is_list else times
    return capfirst(text)


# --- the times of a day ---------------------------------------------------------------------------


def _times(pattern: Pattern) -> tuple[str, bool]:
    """Returns the times of a day in words, and whether they are a list of times."""
    seconds, minutes, hours = pattern.seconds, pattern.minutes, pattern.hours
    if len(seconds) * len(minutes) * len(hours) <= MOST_TIMES:
        shown = [
            clock_time(hour, minute, second, with_second=seconds != (0,))
            for hour in hours
            for minute in minutes
            for second in seconds
        ]
        return _("at %(times)s") % {"times": listed(shown)}, True
    every_second = _every(
        seconds, 60, lambda: _("every second"), lambda step: _("every %s seconds") % step
    )
    if len(seconds) == 1:
        text = _minutes_and_hours(minutes, hours, second=seconds[0])
        if text is not None:
            return text, False
    elif every_second is not None:
        if len(minutes) == 60 and len(hours) == 24:
            return every_second, False
        if len(minutes) == 60 and (run := _run(hours)):
            last = clock_time(run[1], 59, seconds[-1], with_second=True)
            return _from_to(every_second, clock_time(run[0], 0, 0, with_second=True), last), False
    return _field_by_field(seconds, minutes, hours), False


def _minutes_and_hours(minutes: Sequence[int], hours: Sequence[int], *, second: int) -> str | None:
    """Returns words for one second of the minute; None if field by field is better."""
    with_second = second != 0
    run = _run(hours)
    every_minute = _every(
        minutes, 60, lambda: _("every minute"), lambda step: _("every %s minutes") % step
    )
    text = None
    if every_minute is not None and len(hours) == 24:
        text = every_minute
    elif every_minute is not None and run:
        first = clock_time(run[0], minutes[0], second, with_second=with_second)
        last = clock_time(run[1], minutes[-1], second, with_second=with_second)
        return _from_to(every_minute, first, last)
    elif len(minutes) == 1:
        every_hour = _every(
            hours, 24, lambda: _("every hour"), lambda step: _("every %s hours") % step
        )
        if every_hour is not None and minutes == (0,):
            text = pgettext("on the hour", "every hour") if len(hours) == 24 else every_hour
        elif every_hour is not None:
            facts = {"hours": every_hour, "minute": minutes[0]}
            text = _("%(hours)s at minute %(minute)s") % facts
        elif run:
            first = clock_time(run[0], minutes[0], second, with_second=with_second)
            last = clock_time(run[1], minutes[0], second, with_second=with_second)
            return _from_to(pgettext("from to", "every hour"), first, last)
    elif len(hours) == 1 and (within := _run(minutes)):
        first = clock_time(hours[0], within[0], second, with_second=with_second)
        last = clock_time(hours[0], within[1], second, with_second=with_second)
        return _from_to(_("every minute"), first, last)
    if text is not None and with_second:
        return _("%(times)s at second %(second)s") % {"times": text, "second": second}
    return text


def _field_by_field(seconds: Sequence[int], minutes: Sequence[int], hours: Sequence[int]) -> str:
    """Returns long words that are right for all times."""
    parts: list[str] = []
    if seconds != (0,) and len(seconds) < 60:
        parts.append(_("the second is %s") % _series(seconds))
    if len(minutes) < 60:
        parts.append(_("the minute is %s") % _series(minutes))
    if len(hours) < 24:
        parts.append(_("the hour is %s") % _series(hours))
    first, last = ", ".join(parts[:-1]), parts[-1]
    both = pgettext("conditions", "%(first)s and %(last)s") % {"first": first, "last": last}
    when = {"conditions": both if first else last}
    if len(seconds) == 60:
        return _("every second when %(conditions)s") % when
    if seconds == (0,) and len(minutes) == 60:
        return _("every minute when %(conditions)s") % when
    return _("when %(conditions)s") % when


def _every(
    values: Sequence[int], size: int, one: Callable[[], str], many: Callable[[int], str]
) -> str | None:
    """Returns words for values that repeat evenly from 0 on; None for all other values."""
    if len(values) < 2 or size % len(values):
        return None
    step = size // len(values)
    if tuple(values) != tuple(range(0, size, step)):
        return None
    return one() if step == 1 else many(step)


def _from_to(what: str, first: str, last: str) -> str:
    return _("%(what)s from %(first)s to %(last)s") % {"what": what, "first": first, "last": last}


def clock_time(hour: int, minute: int, second: int, *, with_second: bool) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if with_second else "")


# --- days and months ------------------------------------------------------------------------------


def _days(days: CronDays) -> str:
    """Returns the days in words; empty for every day."""
    of_month = "" if len(days.doms) == 31 else days_of_month(days)
    of_week = "" if len(days.dows) == 7 else weekdays(days, alone=not of_month)
    if days.both:
        if of_month and of_week:
            facts = {"weekdays": of_week, "days": of_month}
            return _("on %(weekdays)s, but only on %(days)s") % facts
    elif not (of_month and of_week):
        return ""  # one match is enough, and one of the two fields matches every day
    else:
        return _("on %(days)s or on %(weekdays)s") % {"weekdays": of_week, "days": of_month}
    return _("on %(days)s") % {"days": of_month or of_week} if of_month or of_week else ""


def days_of_month(days: CronDays) -> str:
    # Other languages say "of every month" here, which is wrong after the names of some months.
    is_every = len(days.months) == 12
    parts: list[str] = []
    if days.doms:
        if is_every:
            text = ngettext(
                "day %(days)s of the month", "days %(days)s of the month", len(days.doms)
            )
        else:
            text = npgettext(
                "of some months",
                "day %(days)s of the month",
                "days %(days)s of the month",
                len(days.doms),
            )
        listed_days = _series(days.doms, lambda day: pgettext("day of month", "%s") % day)
        parts.append(text % {"days": listed_days})
    parts += [_month_day(each, is_every=is_every) for each in days.month_days]
    if days.last_dom:
        last = _("the last day of the month")
        parts.append(last if is_every else pgettext("of some months", "the last day of the month"))
    return listed(parts)


def _month_day(wanted: MonthDay, *, is_every: bool) -> str:
    facts = {"day": wanted.number}
    if not wanted.from_last:
        near = _("the weekday (Monday to Friday) nearest to day %(day)s of the month")
        if not is_every:
            near = pgettext(
                "of some months",
                "the weekday (Monday to Friday) nearest to day %(day)s of the month",
            )
        return near % facts
    if wanted.is_weekday and not wanted.number:
        if is_every:
            return _("the last weekday (Monday to Friday) of the month")
        return pgettext("of some months", "the last weekday (Monday to Friday) of the month")
    count = ngettext("%(day)s day", "%(day)s days", wanted.number) % facts
    if is_every:
        text = _("%(count)s before the last day of the month")
    else:
        text = pgettext("of some months", "%(count)s before the last day of the month")
    if wanted.is_weekday:
        return _("the weekday (Monday to Friday) nearest to %(that)s") % {
            "that": text % {"count": count}
        }
    return text % {"count": count}


def weekdays(days: CronDays, *, alone: bool = False) -> str:
    """`alone`: no other words say how often these days repeat."""
    # Counted from Monday, so that Friday, Saturday and Sunday are one range.
    plain = sorted((dow or 7) - 1 for dow in days.dows)
    parts: list[str] = []
    if tuple(plain) in _NAMED_WEEKDAYS:
        parts.append(_NAMED_WEEKDAYS[tuple(plain)]())
    elif plain:
        named = _series(plain, lambda day: str(WEEKDAYS[day]))
        text = pgettext("every week", "%(weekdays)s") if alone else "%(weekdays)s"
        parts.append(text % {"weekdays": named})
    if len(days.months) == 12:
        nth = _("the %(ordinal)s %(weekday)s of the month")
    else:
        nth = pgettext("of some months", "the %(ordinal)s %(weekday)s of the month")
    parts += [
        nth % {"ordinal": _ORDINALS[count](), "weekday": WEEKDAYS[((dow or 7) - 1)]}
        for dow, count in days.nths
    ]
    return listed(parts)


def _months(months: Sequence[int]) -> str:
    return "" if len(months) == 12 else _series(months, lambda month: str(MONTHS[month]))


# --- lists ----------------------------------------------------------------------------------------


def _series(values: Sequence[int], name: Callable[[int], str] = str) -> str:
    """Returns words like `1 to 5, 10 and 12` or `0 to 56 in steps of 7`."""
    distances = {b - a for a, b in pairwise(values)}
    if len(values) > 3 and len(distances) == 1 and (step := distances.pop()) > 1:
        facts = {"first": name(values[0]), "last": name(values[-1]), "step": step}
        return _("%(first)s to %(last)s in steps of %(step)s") % facts
    items: list[str] = []
    at = 0
    while at < len(values):
        end = at
        while end + 1 < len(values) and values[end + 1] == values[end] + 1:
            end += 1
        if end - at >= 2:
            facts = {"first": name(values[at]), "last": name(values[end])}
            items.append(pgettext("range", "%(first)s to %(last)s") % facts)
        else:
            items += [name(value) for value in values[at : end + 1]]
        at = end + 1
    return listed(items)


def _run(values: Sequence[int]) -> tuple[int, int] | None:
    """Returns the first and last of two or more values without a gap; else None."""
    if len(values) > 1 and values[-1] - values[0] == len(values) - 1:
        return values[0], values[-1]
    return None


def listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else _both(", ".join(items[:-1]), items[-1])


def _both(first: str, last: str) -> str:
    return pgettext("list", "%(first)s and %(last)s") % {"first": first, "last": last}
