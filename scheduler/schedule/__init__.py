"""When a job runs: expressions, clock changes, calendars, and the plan of what is due.

Pure: takes the time, reads no clock, no database and no settings. The names below are the public
face; `plan`, `backfill_plan`, `words` and `calendars` are modules of their own.
"""

from scheduler.schedule.expression import (
    FIRST_INSTANT,
    LAST_INSTANT,
    CronIntervalTooShortError,
    CronNeverFiresError,
    CronParseError,
    CronSchedule,
    Schedule,
    ScheduleError,
    UnknownTimezoneError,
    check_interval,
    parse,
    slots_between,
)
from scheduler.schedule.from_job import schedule_of

__all__ = [
    "FIRST_INSTANT",
    "LAST_INSTANT",
    "CronIntervalTooShortError",
    "CronNeverFiresError",
    "CronParseError",
    "CronSchedule",
    "Schedule",
    "ScheduleError",
    "UnknownTimezoneError",
    "check_interval",
    "parse",
    "schedule_of",
    "slots_between",
]
