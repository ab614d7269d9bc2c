"""When a job runs: expressions, clock changes, calendars, and the plan of what is due.

Pure: takes the time as an argument; reads no clock, no database and no settings. The names below
are the public face. `plan`, `backfill_plan`, `words`, `warnings` and `calendars` are imported as
modules.
"""

from scheduler.schedule.cron_schedule import CronSchedule, ZonedSchedule, parse
from scheduler.schedule.errors import (
    CronIntervalTooShortError,
    CronNeverFiresError,
    CronParseError,
    ScheduleError,
    UnknownTimezoneError,
)
from scheduler.schedule.from_job import part_errors, schedule_of
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.slots import (
    FIRST_INSTANT,
    LAST_INSTANT,
    Schedule,
    check_interval,
    slots_between,
)
from scheduler.schedule.zones import load_zone

__all__ = [
    "FIRST_INSTANT",
    "LAST_INSTANT",
    "CronIntervalTooShortError",
    "CronNeverFiresError",
    "CronParseError",
    "CronSchedule",
    "JobSchedule",
    "Schedule",
    "ScheduleError",
    "UnknownTimezoneError",
    "ZonedSchedule",
    "check_interval",
    "load_zone",
    "parse",
    "part_errors",
    "schedule_of",
    "slots_between",
]
