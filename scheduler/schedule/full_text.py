"""The text of a job's schedule, with what it takes from other columns of the job written out.

`every 36h` is counted from the job's `start_at`, or else from the instant at which the job was
created. Both are stored: nothing here depends on when a process starts. `H` becomes a number by the
job's name.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from scheduler.schedule.after import AFTER, is_after
from scheduler.schedule.errors import ScheduleError
from scheduler.schedule.hashed import has_hashed, with_numbers
from scheduler.schedule.intervals import Interval
from scheduler.schedule.kinds import Line, lines

# Most expressions need nothing: a tick reads thousands of them.
_NEEDS: Final = re.compile(r"(?:^|\n)\s*(?:every|rrule)", re.IGNORECASE)
_MAY_BE_HASHED: Final = re.compile(r"(?:^|[\s,])h(?=[\s,(/]|$)", re.IGNORECASE)


def full_text(job: Any) -> str:
    """Returns the job's `cron_expression` with the beginning of each interval and rule, and with
    numbers for each `H`.

    `job` has the columns of from_job.ScheduledJob. A text that cannot be read stays as it is.
    """
    text = spread_text(job)
    if not isinstance(text, str) or not _NEEDS.search(text):
        return text
    return _with_start(text, start_of_counting(job))


def spread_text(job: Any) -> str:
    """Returns the job's `cron_expression` with the numbers of its name in place of each `H`.

    The same text if it has none, if it cannot be read, or if the job has no name yet. Of a job
    `@after` others it also has what says when those run, so that it differs when their slots do.
    """
    if is_after(job.cron_expression):
        return _with_upstreams(job, ())
    return spread_by(job.cron_expression, job.name)


def _with_upstreams(job: Any, path: tuple[str, ...]) -> str:
    if not is_after(job.cron_expression):
        return f"{full_text(job)}|{job.timezone}|{job.calendar}"
    if job.name in path:
        return AFTER  # a cycle: schedule_of says so
    path = (*path, job.name)
    followed = getattr(job, "followed", ())
    return "\n".join([AFTER, *sorted(_with_upstreams(each, path) for each in followed)])


def spread_by(text: Any, name: str) -> str:
    """Returns the same of a text and a name."""
    if not isinstance(text, str) or not is_spread(text) or not name:
        return text  # type: ignore[no-any-return]
    return _with_numbers(text, name)


def is_spread(text: str) -> bool:
    """Returns whether the text has an `H`, so that the job's name decides its slots."""
    return _MAY_BE_HASHED.search(text) is not None and _is_spread(text)


@lru_cache(maxsize=8192)
def _is_spread(text: str) -> bool:
    try:
        return any(isinstance(line.means, str) and has_hashed(line.means) for line in lines(text))
    except ScheduleError:
        return False


# Each name has a text of its own.
@lru_cache(maxsize=20_000)
def _with_numbers(text: str, name: str) -> str:
    try:
        return "\n".join(
            with_numbers(line.means, name)
            if isinstance(line.means, str) and has_hashed(line.means)
            else line.text
            for line in lines(text)
        )
    except ScheduleError:
        return text


@lru_cache(maxsize=8192)
def is_complete(text: Any) -> bool:
    """Returns whether a job's `cron_expression` says by itself what it means.

    With the same zone and calendar it then means the same slots for each job.
    """
    if not isinstance(text, str):
        return False
    return not (is_after(text) or _NEEDS.search(text) or is_spread(text))


def start_of_counting(job: Any) -> datetime | None:
    """Returns where an interval that says no beginning is counted from. None: not known yet."""
    # A job that is not saved yet has an expression of the database as `created_at`.
    known = (at for at in (job.start_at, job.created_at) if isinstance(at, datetime))
    return next(known, None)


@lru_cache(maxsize=8192)
def _with_start(text: str, start: datetime | None) -> str:
    try:
        found = lines(text)
    except ScheduleError:
        return text
    if start is None or not any(line.needs_start for line in found):
        return text
    return "\n".join(_line_with_start(line, start.astimezone(UTC)) for line in found)


def _line_with_start(line: Line, start: datetime) -> str:
    if not line.needs_start:
        return line.text
    # Whole minutes are what a person would have written.
    if isinstance(line.means, Interval):
        is_exact = line.means.unit == "second"
        return f"{line.text} from {start:{'%Y-%m-%dT%H:%M:%SZ' if is_exact else '%Y-%m-%dT%H:%MZ'}}"
    return f"DTSTART:{start:%Y%m%dT%H%M00Z}\n{line.text}"
