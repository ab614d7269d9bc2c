"""Jobs that fail, jobs that are slow, and jobs that have become slower."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models.functions import Substr

from scheduler.models import CronJob, JobExecution
from scheduler.store.connection import TOOK, fetch_all, instant
from scheduler.store.statistics import ENDED_LIMIT, FAILING, TROUBLE, Capped, capped


@dataclass(frozen=True, kw_only=True)
class FailingJob:
    job: CronJob
    since: datetime
    """When the first of its failures in a row ended."""
    failures: int
    is_longer: bool
    """There are more failures in a row than were read."""
    last_execution_id: int | None
    error: str = ""
    """The beginning of the last error."""


_LOOKED_BACK: Final = 30

_RECENT_OF_JOB: Final = """
SELECT * FROM (SELECT job_id, id, status, finished_at
                 FROM job_executions
                WHERE job_id = %s AND started_at IS NOT NULL AND finished_at IS NOT NULL
                ORDER BY scheduled_time DESC
                LIMIT %s) job{number}
"""


def failing_jobs(limit: int) -> tuple[list[FailingJob], Capped]:
    """Up to `limit` enabled jobs whose last run failed, latest first, and how many there are."""
    failing = CronJob.objects.filter(FAILING)
    jobs = list(failing.order_by("-last_run_at")[:limit])
    if not jobs:
        return [], Capped(value=0)
    parameters: list[Any] = []
    for job in jobs:
        parameters += [job.pk, _LOOKED_BACK]
    rows: dict[int, list[tuple[int, str, datetime | None]]] = {}
    for job_id, execution_id, status, finished_at in fetch_all(
        _union(_RECENT_OF_JOB, len(jobs)), parameters
    ):
        rows.setdefault(job_id, []).append((execution_id, status, instant(finished_at)))
    found = [_streak(job, rows.get(job.pk, [])) for job in jobs]
    return _with_errors(found), capped(failing)


_ERROR_READ: Final = 300


def _with_errors(found: Sequence[FailingJob]) -> list[FailingJob]:
    ids = [each.last_execution_id for each in found if each.last_execution_id is not None]
    start = Substr("error_message", 1, _ERROR_READ)
    errors = dict(JobExecution.objects.filter(id__in=ids).values_list("id", start))
    return [replace(each, error=errors.get(each.last_execution_id) or "") for each in found]


def _streak(job: CronJob, rows: Sequence[tuple[int, str, datetime | None]]) -> FailingJob:
    """The job's failures in a row. `rows`: id, status and end of its runs, newest first."""
    since, failures, newest = job.last_run_at, 0, None
    for execution_id, status, finished_at in rows:
        if status not in TROUBLE:
            break
        newest = newest or execution_id
        since, failures = finished_at, failures + 1
    assert since is not None
    return FailingJob(
        job=job,
        since=since,
        failures=max(1, failures),
        is_longer=failures == _LOOKED_BACK,
        last_execution_id=newest,
    )


@dataclass(frozen=True, kw_only=True)
class JobSpeed:
    """How long a job's successful runs took in the last day and in the week before it."""

    job_id: int
    name: str
    runs: int
    mean_seconds: float
    max_seconds: float
    earlier_mean_seconds: float | None = None

    @property
    def times_slower(self) -> float | None:
        if not self.earlier_mean_seconds:
            return None
        return self.mean_seconds / self.earlier_mean_seconds


@dataclass(frozen=True, kw_only=True)
class Speeds:
    slowest: Sequence[JobSpeed]
    slowing: Sequence[JobSpeed]


#: How many jobs are compared with their past: those that spent the most time.
_COMPARED: Final = 100
_EARLIER_RUNS: Final = 20
#: Less is noise.
_SLOWER_TIMES: Final = 1.5
_SLOWER_SECONDS: Final = 1.0

_LAST_DAY: Final = """
SELECT job_id, COUNT(*) AS runs, AVG(took) AS mean, MAX(took) AS longest
  FROM (SELECT job_id, status, {took} AS took
          FROM job_executions
         WHERE finished_at >= %s
         ORDER BY finished_at DESC
         LIMIT %s) ended
 WHERE status = 'SUCCESS' AND took IS NOT NULL AND job_id IS NOT NULL
 GROUP BY job_id
"""

_EARLIER_OF_JOB: Final = """
SELECT job_id, AVG(took)
  FROM (SELECT job_id, {took} AS took
          FROM job_executions
         WHERE job_id = %s AND scheduled_time < %s AND scheduled_time >= %s
           AND status = 'SUCCESS' AND started_at IS NOT NULL
         ORDER BY scheduled_time DESC
         LIMIT %s) job{number}
 GROUP BY job_id
"""


def speeds(now: datetime, limit: int) -> Speeds:
    """The slowest jobs of the last day, and the jobs that became much slower than before."""
    took = TOOK[connection.vendor]
    day_ago = now - timedelta(days=1)
    measured = [
        JobSpeed(
            job_id=job_id, name="", runs=int(runs), mean_seconds=float(mean),
            max_seconds=float(longest),
        )
        for job_id, runs, mean, longest in fetch_all(
            _LAST_DAY.format(took=took), [day_ago, ENDED_LIMIT]
        )
    ]  # fmt: skip
    slowest = sorted(measured, key=lambda speed: -speed.mean_seconds)[:limit]
    busiest = sorted(measured, key=lambda speed: -speed.mean_seconds * speed.runs)[:_COMPARED]
    slowing = sorted(
        (speed for speed in _with_past(busiest, day_ago, took) if _is_slowing(speed)),
        key=lambda speed: -(speed.times_slower or 0),
    )[:limit]
    names = dict(
        CronJob.objects.filter(id__in={speed.job_id for speed in (*slowest, *slowing)}).values_list(
            "id", "name"
        )
    )

    def named(found: Iterable[JobSpeed]) -> list[JobSpeed]:
        # A job may be deleted between the two statements.
        return [
            replace(speed, name=names[speed.job_id]) for speed in found if speed.job_id in names
        ]

    return Speeds(slowest=named(slowest), slowing=named(slowing))


def _with_past(found: Sequence[JobSpeed], until: datetime, took: str) -> Iterable[JobSpeed]:
    """The jobs that ran in the week before `until`, each with the mean of its newest runs there."""
    if not found:
        return
    parameters: list[Any] = []
    for speed in found:
        parameters += [speed.job_id, until, until - timedelta(days=7), _EARLIER_RUNS]
    statement = _union(_EARLIER_OF_JOB, len(found), took=took)
    means = {job_id: float(mean) for job_id, mean in fetch_all(statement, parameters)}
    for speed in found:
        if speed.job_id in means:
            yield replace(speed, earlier_mean_seconds=means[speed.job_id])


def _is_slowing(speed: JobSpeed) -> bool:
    earlier = speed.earlier_mean_seconds
    return (
        earlier is not None
        and speed.mean_seconds >= _SLOWER_TIMES * earlier
        and speed.mean_seconds >= earlier + _SLOWER_SECONDS
    )


def _union(part: str, count: int, **words: str) -> str:
    """One statement instead of `count`. SQLite takes up to 500 parts."""
    return "UNION ALL".join(part.format(number=number, **words) for number in range(count))
