"""What metrics show: counters of jobs and of all runs, queues, and what workers count. Bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection

from scheduler.models import ALL_JOBS, CronJob, SchedulerProcess
from scheduler.states import ProcessKind, RunStatus
from scheduler.store import heads
from scheduler.store.connection import fetch_all, from_json, instant
from scheduler.store.histograms import Histogram, read

#: Runs that wait in one queue are counted up to here.
WAITING_LIMIT: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What has ended of a job, or of all, since its first run was counted."""

    runs: Mapping[str, int] = field(default_factory=dict)
    """By status. A status that never came is missing."""
    duration: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    failures_in_a_row: int = 0
    last_end_at: datetime | None = None
    last_success_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class JobFigures:
    name: str
    created_at: datetime
    next_run_at: datetime | None
    ended: Ended


@dataclass(frozen=True, kw_only=True)
class QueueFigures:
    queue: str
    waiting: int
    """Up to WAITING_LIMIT."""
    oldest_at: datetime


@dataclass(frozen=True, kw_only=True)
class WorkerFigures:
    name: str
    running: int
    figures: Mapping[str, Any]
    """As worker/figures.py made them. Empty: that worker has written none yet."""


_OF_ALL: Final = """
SELECT ended, duration, lateness, failures_in_a_row, last_end_at, last_success_at
  FROM jobu_job_counters
 WHERE job_id = %s
"""
# Else MySQL reads all enabled jobs and sorts them.
_BY_ID: Final = {"mysql": "FORCE INDEX (PRIMARY)"}
# A job whose last success lies before its runs were counted shows what its list shows.
_OF_JOBS: Final = """
SELECT j.name, j.created_at, j.next_run_at,
       CASE WHEN j.last_status = %s THEN j.last_run_at END,
       c.ended, c.duration, c.lateness, c.failures_in_a_row, c.last_end_at, c.last_success_at
  FROM cron_jobs j {index}
  LEFT JOIN jobu_job_counters c ON c.job_id = j.id
 WHERE j.is_enabled IN (TRUE)
 ORDER BY j.id
 LIMIT %s
"""


def of_all() -> Ended:
    rows = fetch_all(_OF_ALL, [ALL_JOBS])
    return _ended(rows[0]) if rows else Ended()


def of_jobs(limit: int) -> list[JobFigures]:
    """The first `limit` enabled jobs by id, so that each call returns the same ones."""
    return [
        JobFigures(
            name=name,
            created_at=_given(created),
            next_run_at=instant(next_run),
            ended=_ended(counted, instant(shown)),
        )
        for name, created, next_run, shown, *counted in fetch_all(
            _OF_JOBS.format(index=_BY_ID.get(connection.vendor, "")), [RunStatus.SUCCESS, limit]
        )
    ]


def enabled_count() -> int:
    return CronJob.objects.filter(is_enabled__in=[True]).count()


def _ended(columns: Sequence[Any], shown_success: datetime | None = None) -> Ended:
    runs, duration, lateness, failures, last_end, last_success = columns
    return Ended(
        runs=from_json(runs) or {},
        duration=read(from_json(duration)),
        lateness=read(from_json(lateness)),
        failures_in_a_row=failures or 0,
        last_end_at=instant(last_end),
        last_success_at=instant(last_success) or shown_success,
    )


def of_queues(now: datetime) -> list[QueueFigures]:
    """The queues with runs that could start now, by name. One index range for each priority."""
    oldest: dict[str, datetime] = {}
    for head in heads.heads(now):
        if head.first_at <= now:
            oldest[head.queue] = min(head.first_at, oldest.get(head.queue, head.first_at))
    return [
        QueueFigures(
            queue=queue,
            waiting=heads.count_runnable(now, [queue], limit=WAITING_LIMIT),
            oldest_at=oldest[queue],
        )
        for queue in sorted(oldest)
    ]


def of_workers(since: datetime, limit: int) -> list[WorkerFigures]:
    """Workers with a heartbeat since then, by name."""
    rows = SchedulerProcess.objects.filter(kind=ProcessKind.WORKER, heartbeat_at__gte=since)
    return [
        WorkerFigures(
            name=name, running=running, figures=figures if isinstance(figures, Mapping) else {}
        )
        for name, running, figures in rows.order_by("name").values_list(
            "name", "running", "figures"
        )[:limit]
    ]


def _given(value: Any) -> datetime:
    found = instant(value)
    assert found is not None
    return found
