"""The kinds of schedule that `cron_expression` may hold, one per line.

- a cron expression, or an alias such as @daily (expression.py);
- `every 36h`, `every 10 days at 09:00` (intervals.py);
- `at 2026-12-24T18:00` (instants.py);
- `@after` alone: the slots of the job's upstream jobs (after.py);
- `RRULE:FREQ=...`, after a line `DTSTART:...` or without one (rules.py).

docs/schedules.md describes them to users.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.schedule.after import is_after
from scheduler.schedule.cron_schedule import parse
from scheduler.schedule.errors import CronNeverFiresError, CronParseError, ScheduleError, quote
from scheduler.schedule.expression import check_characters
from scheduler.schedule.instants import Written, instant_schedule, read_at
from scheduler.schedule.intervals import Interval, interval_schedule, read_every
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.rules import WrittenRule, read_rule, rule_schedule
from scheduler.schedule.several import SeveralSchedules
from scheduler.schedule.zones import load_zone

MAX_LENGTH: Final = 1000
MAX_LINES: Final = 30

_SUN: Final = re.compile(r"\W*(solar|sunrise|sunset|dawn|dusk|solar_noon)\b")
_FIRST_WORD: Final = re.compile(r"\s*([a-z]+)(?:[:;\s]|(?=\d)|$)")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line. `means`: what it says; the text itself if it is a cron expression."""

    text: str
    means: str | Interval | tuple[Written, ...] | WrittenRule

    @property
    def needs_start(self) -> bool:
        """Whether it is counted from an instant that it does not say."""
        return isinstance(self.means, Interval | WrittenRule) and self.means.start is None


def read_schedule(text: str, timezone: str) -> JobSchedule:
    """Returns the schedule of `text` in the IANA zone `timezone`, cached by the two texts.

    An interval or a rule must say where it begins: see full_text. Raises ScheduleError.
    """
    if not isinstance(text, str) or not isinstance(timezone, str):
        return parse(text, timezone)  # says what is wrong
    return _read(text, timezone)


@lru_cache(maxsize=8192)
def _read(text: str, timezone: str) -> JobSchedule:
    found = lines(text)
    if len(found) == 1 and isinstance(found[0].means, str):
        return parse(text, timezone)
    zone = load_zone(timezone)
    members = [_numbered(line, n, len(found), timezone, zone) for n, line in enumerate(found, 1)]
    distinct = tuple(dict.fromkeys(members))
    return distinct[0] if len(distinct) == 1 else SeveralSchedules(zone=zone, members=distinct)


def _numbered(line: Line, number: int, count: int, timezone: str, zone: ZoneInfo) -> JobSchedule:
    try:
        return _schedule(line, timezone, zone)
    except ScheduleError as error:
        raise _in_line(error, number, count) from error


def _in_line(error: ScheduleError, number: int, count: int) -> ScheduleError:
    """Returns the error with the number of its line, if there are several."""
    if count == 1 or error.field != "cron_expression":
        return error
    text = _("line %(number)s: %(reason)s") % {"number": number, "reason": error.reason}
    kind = CronNeverFiresError if isinstance(error, CronNeverFiresError) else CronParseError
    return kind(text)


def _schedule(line: Line, timezone: str, zone: ZoneInfo) -> JobSchedule:
    if line.needs_start:
        raise CronParseError(_("says no beginning; write “from 2026-11-28T09:00”, or DTSTART"))
    match line.means:
        case str():
            return parse(line.means, timezone)
        case Interval():
            return interval_schedule(line.means, line.text, zone)
        case WrittenRule():
            return rule_schedule(line.means, zone)
        case written:
            return instant_schedule(written, zone)


@lru_cache(maxsize=8192)
def lines(text: str) -> tuple[Line, ...]:
    """Returns what each line says. Reads cron expressions only to tell them from other kinds.

    Raises CronParseError.
    """
    if len(text) > MAX_LENGTH:
        raise CronParseError(
            _("is %(length)s characters long, at most %(most)s allowed")
            % {"length": len(text), "most": MAX_LENGTH}
        )
    texts = list(_line_texts(text))
    if not texts:
        return (Line(text=text, means=text),)
    if len(texts) > MAX_LINES:
        facts = {"count": len(texts), "most": MAX_LINES}
        raise CronParseError(_("has %(count)s lines, at most %(most)s are allowed") % facts)
    if len(texts) > 1 and any(is_after(line) for _start, line in texts):
        raise CronParseError(_("@after stands alone: remove it or the other lines"))
    found = []
    for number, (start, line) in enumerate(texts, 1):
        try:
            found.append(_line(line, start))
        except ScheduleError as error:
            raise _in_line(error, number, len(texts)) from error
    return tuple(found)


def _line_texts(text: str) -> Iterator[tuple[str, str]]:
    """Yields pairs: a line DTSTART, or "", and the line that it belongs to."""
    start = ""
    for line in re.split(r"\r\n|\n|\r", text):
        stripped = line.strip(" ")
        if not stripped:
            continue
        if stripped.upper().startswith("DTSTART") and not start:
            start = stripped
        else:
            yield start, stripped
            start = ""
    if start:
        yield start, ""


def _line(text: str, start: str) -> Line:
    check_characters(start + text)
    lowered = text.lower()
    word = (shape := _FIRST_WORD.match(lowered)) and shape[1]
    if start and word != "rrule":
        raise CronParseError(_("DTSTART belongs before a line “RRULE:FREQ=...”"))
    whole = f"{start}\n{text}" if start else text
    if word == "every":
        return Line(text=whole, means=read_every(lowered.removeprefix("every")))
    if word == "at":
        return Line(text=whole, means=read_at(lowered.removeprefix("at")))
    if word == "rrule":
        return Line(text=whole, means=read_rule(text, start))
    if lowered.startswith("freq="):
        raise CronParseError(
            _("a rule begins with RRULE: write %(text)s") % {"text": f"RRULE:{text}"}
        )
    if _SUN.match(lowered):
        raise CronParseError(
            _(
                "%(text)s: times of the sun are not supported, because they depend on a place and "
                "move each day; write a fixed time, or let a program start the job"
            )
            % {"text": quote(text)}
        )
    return Line(text=whole, means=text)


def passed_instants(text: str, zone: ZoneInfo, now: datetime) -> list[datetime]:
    """Returns the instants of lines `at ...` that are not after `now`, ascending.

    Raises ScheduleError.
    """
    written = [each for line in lines(text) if isinstance(line.means, tuple) for each in line.means]
    return sorted(at for each in written if (at := each.in_utc(zone)) <= now)
