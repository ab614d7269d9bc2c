"""What a job's watermark was computed from, as a short text that is compared for equality.

The first half stands for the job's own columns, the second half for all that comes from elsewhere:
the default zone, the rules of the zone, and the content of the calendar.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Final, cast
from zoneinfo import ZoneInfo

from scheduler.schedule.after import is_after
from scheduler.schedule.calendars import CalendarSpec, holidays_release, holidays_within, spec_of
from scheduler.schedule.from_job import (
    ScheduleColumns,
    ScheduledJob,
    ScheduleSettings,
    calendar_specs,
    schedule_of,
)
from scheduler.schedule.full_text import spread_text
from scheduler.schedule.zones import load_zone

# Raise it when the same columns begin to mean other slots: each watermark is then computed anew.
_VERSION: Final = "1"
_HALF: Final = 16
# Fixed years, not years around now: a fingerprint must not change by itself. Rules of zones repeat
# each year. Of holidays the release of the library speaks for all other years.
_ZONE_YEARS: Final = (2020, 2070)
_HOLIDAY_YEARS: Final = (2024, 2036)
_WEEK: Final = timedelta(days=7)
_SECOND: Final = timedelta(seconds=1)


def fingerprint_of(job: ScheduleColumns, settings: ScheduleSettings) -> str:
    """Returns the fingerprint of the job's schedule, 32 characters, cached.

    Raises ScheduleError, as `schedule_of` does.
    """
    if is_after(job.cron_expression):
        schedule_of(
            cast("ScheduledJob", job), settings
        )  # says what is wrong, also with those that it follows
        return _digest(spread_text(job)) + _digest(*_surroundings(job, settings))
    zone = job.timezone or settings.default_timezone
    columns = (spread_text(job), job.timezone, job.calendar)
    spec = spec_of(job.calendar, calendar_specs(settings.calendars)) if job.calendar else None
    return _fingerprint(columns, zone, spec)


def _surroundings(job: ScheduleColumns, settings: ScheduleSettings) -> list[str]:
    """Returns what comes from elsewhere for the jobs that a job `@after` follows."""
    if not is_after(job.cron_expression):
        return [fingerprint_of(job, settings)[_HALF:]]
    followed = getattr(job, "followed", ())
    return sorted({each for one in followed for each in _surroundings(one, settings)})


def has_same_columns(fingerprint: str, other: str) -> bool:
    """Returns whether only the surroundings differ: default zone, zone rules or calendar."""
    return fingerprint[:_HALF] == other[:_HALF]


@lru_cache(maxsize=20_000)
def _fingerprint(columns: tuple[str, str, str], zone: str, spec: CalendarSpec | None) -> str:
    surroundings = (zone, zone_rules(load_zone(zone)), _content(spec) if spec else "")
    return _digest(*columns) + _digest(*surroundings)


def _digest(*texts: str) -> str:
    joined = "\0".join((_VERSION, *texts))
    return blake2b(joined.encode("utf-8", "backslashreplace"), digest_size=_HALF // 2).hexdigest()


@lru_cache(maxsize=1024)
def zone_rules(zone: ZoneInfo) -> str:
    """Returns the offset of the zone and each change of it in fixed years, as one text.

    Not the bytes of its file: hosts with the same rules may have them in different formats.
    """
    first, last = (datetime(year, 1, 1, tzinfo=UTC) for year in _ZONE_YEARS)
    before, offset = first, _offset(zone, first)
    rules = [f"{offset}"]
    while before < last:
        after = before + _WEEK
        # Each week asks for one offset, as its first instant is the last one of the week before.
        later = _offset(zone, after)
        if offset != later:
            change = _change_between(zone, before, after)
            rules.append(f"{change:%Y%m%d%H%M%S}{_offset(zone, change)}")
        before, offset = after, later
    return " ".join(rules)


def _change_between(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Returns the first second with another offset than `before`."""
    offset = _offset(zone, before)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if middle <= before:
            break
        if _offset(zone, middle) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


@lru_cache(maxsize=1024)
def _content(spec: CalendarSpec) -> str:
    parts = [_days(spec.dates), _days(spec.working_dates), str(spec.weekends)]
    if spec.country:
        known = holidays_within(spec, *_HOLIDAY_YEARS)
        parts += [spec.country, spec.subdivision or "", holidays_release(), _days(known)]
    return "|".join(parts)


def _days(days: frozenset[date]) -> str:
    return ",".join(day.isoformat() for day in sorted(days))
