"""Counts for the dashboard: jobs, runs and processes as they are now. Writes nothing.

Each statement is bounded: counts stop at a limit and say so, and ranges lie on an index. The past:
hours.py and job_trends.py. The future: forecast.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Q

from scheduler.models import CronJob, JobExecution, SchedulerProcess
from scheduler.models.job_state import IN_STATE
from scheduler.states import GOING_ON, JobState, RunStatus, WaitsFor
from scheduler.store import heads
from scheduler.store.connection import fetch_all
from scheduler.store.deliveries import COUNTED, COUNTED_SQL
from scheduler.store.waiting import count_later, waits_for

COUNT_LIMIT: Final = 10_000
#: How many ended runs one statement reads, the newest first. It takes some 20 ms.
ENDED_LIMIT: Final = 100_000
TROUBLE: Final = (RunStatus.FAILED.value, RunStatus.TIMEOUT.value)

#: Enabled jobs whose last run failed.
FAILING: Final = Q(is_enabled=True, last_status__in=TROUBLE)


@dataclass(frozen=True, kw_only=True)
class Capped:
    """A count that stops at a limit."""

    value: int
    is_capped: bool = False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """PENDING runs by what they wait for. `oldest_at`: since when a worker could claim one."""

    by: Mapping[WaitsFor, Capped]
    oldest_at: datetime | None

    @property
    def all(self) -> Capped:
        counts = self.by.values()
        is_capped = any(count.is_capped for count in counts)
        return Capped(value=sum(count.value for count in counts), is_capped=is_capped)


@dataclass(frozen=True, kw_only=True)
class JobCounts:
    enabled: int
    paused: int
    disabled: int
    broken: int
    """Jobs whose schedule cannot be used."""
    overdue: int
    """Enabled jobs with a slot that no beat has recorded for too long."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How many runs ended, by status. `is_capped`: only the newest ENDED_LIMIT were counted."""

    counts: Mapping[str, int]
    is_capped: bool

    def of(self, *statuses: str) -> int:
        return sum(self.counts.get(status, 0) for status in statuses)


def newest_end() -> datetime | None:
    """The instant at which the newest run ended. One index probe on each database.

    SQLite uses its index of ended runs only for a question that says so, and MySQL reads all of it
    for the MAX of such a question.
    """
    ended = JobExecution.objects.filter(finished_at__isnull=False).order_by("-finished_at")
    return ended.values_list("finished_at", flat=True).first()


def running_count() -> Capped:
    return capped(JobExecution.objects.filter(COUNTED, status__in=sorted(GOING_ON)))


def waiting(now: datetime) -> Waiting:
    """Only what somebody waits for is in `by`."""
    due = JobExecution.objects.filter(COUNTED, waits_for(WaitsFor.WORKER, now))
    by = {WaitsFor.WORKER: capped(due)}
    later = count_later(now, COUNT_LIMIT + 1)
    is_capped = sum(later.values()) > COUNT_LIMIT
    by |= {
        what: Capped(value=min(count, COUNT_LIMIT), is_capped=is_capped)
        for what, count in later.items()
    }
    return Waiting(
        by={what: by[what] for what in WaitsFor if what in by and by[what].value},
        oldest_at=oldest_waiting_at(now),
    )


def oldest_waiting_at(now: datetime) -> datetime | None:
    """Since when the run waits that a worker could have begun first. None: no run waits."""
    firsts = [head.first_at for head in heads.heads(now)]
    return min((at for at in firsts if at is not None and at <= now), default=None)


def job_counts(*, overdue_before: datetime) -> JobCounts:
    """Counts the jobs by state in one statement. Overdue: the watermark is before that instant."""
    is_late = Q(next_run_at__lt=overdue_before)
    return JobCounts(
        **CronJob.objects.aggregate(
            enabled=Count("id", filter=IN_STATE[JobState.ENABLED]),
            paused=Count("id", filter=IN_STATE[JobState.PAUSED]),
            disabled=Count("id", filter=IN_STATE[JobState.DISABLED]),
            broken=Count("id", filter=IN_STATE[JobState.ERROR]),
            overdue=Count("id", filter=IN_STATE[JobState.ENABLED] & is_late),
        )
    )


# Without deliveries, as two parts: the index answers for the runs of jobs by itself.
_ENDED: Final = f"""
SELECT status, COUNT(*)
  FROM (SELECT status FROM (SELECT status
          FROM job_executions
         WHERE finished_at >= %s AND job_id IS NOT NULL
         ORDER BY finished_at DESC
         LIMIT %s) of_jobs
         UNION ALL
        SELECT status FROM (SELECT status
          FROM job_executions
         WHERE finished_at >= %s AND job_id IS NULL AND {COUNTED_SQL}
         ORDER BY finished_at DESC
         LIMIT %s) of_others) newest
 GROUP BY status
"""  # noqa: S608 - from above


def ended_since(since: datetime) -> Ended:
    values = [since, ENDED_LIMIT + 1] * 2
    counts = {str(status): int(n) for status, n in fetch_all(_ENDED, values)}
    return Ended(counts=counts, is_capped=sum(counts.values()) > ENDED_LIMIT)


def longest_running(limit: int) -> list[JobExecution]:
    """The running executions, longest first."""
    rows = JobExecution.objects.filter(COUNTED, status__in=sorted(GOING_ON))
    return list(
        rows.order_by("started_at", "id").only(
            "id", "job_id", "job_name", "handler_name", "status", "started_at", "timeout_seconds",
            "progress", "progress_message", "lease_owner", "cancel_requested_at",
        )[:limit]
    )  # fmt: skip


def processes(limit: int) -> list[SchedulerProcess]:
    """Beats first, the freshest heartbeat of each kind first."""
    return list(SchedulerProcess.objects.order_by("kind", "-heartbeat_at", "name")[:limit])


def capped(rows: Any) -> Capped:
    return _cap(rows.order_by().values("id")[: COUNT_LIMIT + 1].count())


def _cap(count: int) -> Capped:
    return Capped(value=min(count, COUNT_LIMIT), is_capped=count > COUNT_LIMIT)
