"""The tables. jobs: schedules and what became of them. access: who may come in, and how they like
it.

Columns have database defaults, so that a plain INSERT from any SQL client makes a working job. What
each column of an execution means and who writes it: docs/architecture.md. All writes on executions
go through scheduler/store.
"""

from scheduler.models.access import ApiToken, Preference
from scheduler.models.jobs import (
    EDITABLE,
    INSTANTS,
    LIMITS,
    Backfill,
    CronJob,
    JobAttempt,
    JobExecution,
    JobLog,
    SchedulerProcess,
    UtcNow,
)

__all__ = [
    "EDITABLE",
    "INSTANTS",
    "LIMITS",
    "ApiToken",
    "Backfill",
    "CronJob",
    "JobAttempt",
    "JobExecution",
    "JobLog",
    "Preference",
    "SchedulerProcess",
    "UtcNow",
]
