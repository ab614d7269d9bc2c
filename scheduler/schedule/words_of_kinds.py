"""The schedule of a job in words, in the active language, whatever its kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, npgettext

from scheduler.schedule.after import is_after
from scheduler.schedule.errors import ScheduleError
from scheduler.schedule.full_text import full_text, is_spread
from scheduler.schedule.instants import read_written
from scheduler.schedule.intervals import Interval
from scheduler.schedule.kinds import Line, lines
from scheduler.schedule.rules import WrittenRule
from scheduler.schedule.words import clock_time, in_words, listed

_EACH: Final[dict[str, Callable[[int], str]]] = {
    "second": lambda n: npgettext("interval", "every second", "every %(n)s seconds", n) % {"n": n},
    "minute": lambda n: npgettext("interval", "every minute", "every %(n)s minutes", n) % {"n": n},
    "hour": lambda n: npgettext("interval", "every hour", "every %(n)s hours", n) % {"n": n},
    "day": lambda n: npgettext("interval", "every day", "every %(n)s days", n) % {"n": n},
    "week": lambda n: npgettext("interval", "every week", "every %(n)s weeks", n) % {"n": n},
    "month": lambda n: npgettext("interval", "every month", "every %(n)s months", n) % {"n": n},
    "year": lambda n: npgettext("interval", "every year", "every %(n)s years", n) % {"n": n},
}
_UNITS: Final = {
    "MINUTELY": "minute",
    "HOURLY": "hour",
    "DAILY": "day",
    "WEEKLY": "week",
    "MONTHLY": "month",
    "YEARLY": "year",
}
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_SAID: Final = ("FREQ", "INTERVAL", "COUNT", "UNTIL")


def words_of(job: Any) -> str:
    """Returns words like `Every 36 hours, counted from 2026-11-28 09:00`. Empty if unusable.

    `job` has the columns of from_job.ScheduledJob.
    """
    if is_after(job.cron_expression):
        names = [upstream.name for upstream in getattr(job, "followed", ())]
        return _("After %(jobs)s, for the same slot") % {"jobs": listed(names)} if names else ""
    text = text_in_words(full_text(job))
    if text and is_spread(job.cron_expression):
        return _("%(words)s, spread by the job's name") % {"words": text}
    return text


def text_in_words(text: str) -> str:
    """Returns the words of a schedule's text. Empty if it cannot be used."""
    try:
        said = [_line(line) for line in lines(text)]
    except ScheduleError:
        return ""
    return "; ".join(said) if all(said) else ""


def _line(line: Line) -> str:
    match line.means:
        case str():
            return in_words(line.means)
        case Interval():
            return capfirst(_interval(line.means))
        case WrittenRule():
            return capfirst(_rule(line.means))
        case written:
            instants = [str(each) for each in sorted(written, key=lambda each: each.wall)]
            return _("Once, at %(instants)s") % {"instants": listed(instants)}


def _interval(interval: Interval) -> str:
    text = _EACH[interval.unit](interval.count)
    if interval.at is not None:
        at = interval.at
        facts = {
            "every": text,
            "at": _clock(at.hour, at.minute, at.second),
        }
        text = _("%(every)s at %(at)s") % facts
    if interval.start is not None:
        text = _("%(every)s, counted from %(start)s") % {"every": text, "start": interval.start}
    return text


def _rule(rule: WrittenRule) -> str:
    parts = rule.parts
    text = _EACH[_UNITS[parts["FREQ"]]](int(parts.get("INTERVAL", "1")))
    conditions = list(_conditions(parts))
    if conditions:
        text = f"{text} {', '.join(conditions)}"
    if rule.start is not None:
        text = _("%(every)s, counted from %(start)s") % {"every": text, "start": rule.start}
    if "UNTIL" in parts:
        until = read_written(parts["UNTIL"])
        text = _("%(every)s, until %(until)s") % {"every": text, "until": until}
    if "COUNT" in parts:
        count = int(parts["COUNT"])
        counted = ngettext("%(count)s time", "%(count)s times", count) % {"count": count}
        text = _("%(every)s, %(count)s in all") % {"every": text, "count": counted}
    return text


def _conditions(parts: dict[str, str]) -> Iterator[str]:
    """Yields what the rule requires besides. What has no words stays as it is written."""
    plain = all(v.isdigit() for key in ("BYHOUR", "BYMINUTE") for v in [parts.get(key, "0")])
    is_time = plain and "BYHOUR" in parts and "BYMINUTE" in parts and "BYSECOND" not in parts
    for key, value in parts.items():
        if key in _SAID:
            continue
        values = value.split(",")
        if key == "BYDAY" and all(each in _WEEKDAYS for each in values):
            days = [str(WEEKDAYS[_WEEKDAYS.index(each)]) for each in values]
            yield _("on %(days)s") % {"days": listed(days)}
        elif key == "BYMONTH" and all(re.fullmatch("[1-9]|1[0-2]", each) for each in values):
            yield _("in %(months)s") % {"months": listed([str(MONTHS[int(v)]) for v in values])}
        elif is_time and key == "BYHOUR":
            yield _("at %(times)s") % {"times": _clock(int(value), int(parts["BYMINUTE"]))}
        elif not (is_time and key == "BYMINUTE"):
            yield f"{key}={value}"


def _clock(hour: int, minute: int, second: int = 0) -> str:
    return clock_time(hour, minute, second, with_second=second > 0)
