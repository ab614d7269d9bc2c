"""What the dashboard says, read in a few set-based statements. Writes nothing, reads no clock.

Every statement is bounded: counts stop at a limit, ranges lie on an index, and what needs more
than a moment is done in parts, newest first, until a deadline. What a limit or the deadline cut
off is marked, never guessed.

now: counts, running, processes. past: hours of ended runs, failing and slow jobs. What comes:
scheduler/store/forecast.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.cache import cache
from django.db import connection
from django.db.models import Count, Min, Q

from scheduler.models import CronJob, JobExecution, SchedulerProcess
from scheduler.states import RunStatus
from scheduler.store.connection import fetch_all, instant

COUNT_LIMIT: Final = 10_000
#: The newest ended runs that one statement looks at; it takes some 20 ms.
ENDED_LIMIT: Final = 100_000
HOUR_LIMIT: Final = 50_000
HOUR: Final = timedelta(hours=1)
TROUBLE: Final = (RunStatus.FAILED.value, RunStatus.TIMEOUT.value)

_IS_OFF: Final = Q(is_enabled=False)
_IS_BROKEN: Final = ~Q(schedule_error="")
_IS_PAUSED: Final = ~Q(pause_reason="") | Q(paused_until__isnull=False)
#: A job is in one of them: one that is off is broken, else paused, else disabled.
JOB_STATES: Final = {
    "enabled": Q(is_enabled=True),
    "disabled": _IS_OFF & ~_IS_BROKEN & ~_IS_PAUSED,
    "paused": _IS_OFF & ~_IS_BROKEN & _IS_PAUSED,
    "error": _IS_OFF & _IS_BROKEN,
}
#: Enabled jobs whose last run failed.
FAILING: Final = Q(is_enabled=True, last_status__in=TROUBLE)

# Hours that are over change only when somebody retries or deletes one of their runs.
_FRESH_HOUR_SECONDS: Final = 60
_OLD_HOUR_SECONDS: Final = 600


@dataclass(frozen=True, kw_only=True)
class Capped:
    """A count that stops at a limit."""

    value: int
    is_capped: bool = False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """PENDING runs that a worker could take, and since when the oldest of them waits."""

    count: Capped
    oldest_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class JobCounts:
    enabled: int
    paused: int
    disabled: int
    broken: int
    """With a schedule that cannot be used."""
    overdue: int
    """Enabled, and no beat has looked at their slot for a minute."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How many runs ended by status. `is_capped`: only the newest ENDED_LIMIT were counted."""

    counts: Mapping[str, int]
    is_capped: bool

    def of(self, *statuses: str) -> int:
        return sum(self.counts.get(status, 0) for status in statuses)


def running_count() -> Capped:
    return _capped(JobExecution.objects.filter(status=RunStatus.RUNNING.value))


def waiting(now: datetime) -> Waiting:
    """Of the PENDING runs those whose time has come; a retry that backs off does not wait."""
    due = JobExecution.objects.filter(status=RunStatus.PENDING.value, available_at__lte=now)
    # The inner order is the index's, so that the limit ends the walk.
    first = due.order_by("publish_at").values("available_at")[: COUNT_LIMIT + 1]
    found = first.aggregate(count=Count("*"), oldest_at=Min("available_at"))
    return Waiting(count=_cap(found["count"]), oldest_at=found["oldest_at"])


def job_counts(now: datetime) -> JobCounts:
    """One statement."""
    is_late = Q(next_run_at__lt=now - timedelta(seconds=60))
    return JobCounts(
        **CronJob.objects.aggregate(
            enabled=Count("id", filter=JOB_STATES["enabled"]),
            paused=Count("id", filter=JOB_STATES["paused"]),
            disabled=Count("id", filter=JOB_STATES["disabled"]),
            broken=Count("id", filter=JOB_STATES["error"]),
            overdue=Count("id", filter=JOB_STATES["enabled"] & is_late),
        )
    )


_ENDED: Final = """
SELECT status, COUNT(*)
  FROM (SELECT status
          FROM job_executions
         WHERE finished_at >= %s
         ORDER BY finished_at DESC
         LIMIT %s) newest
 GROUP BY status
"""


def ended_since(since: datetime) -> Ended:
    counts = {str(status): int(n) for status, n in fetch_all(_ENDED, [since, ENDED_LIMIT + 1])}
    return Ended(counts=counts, is_capped=sum(counts.values()) > ENDED_LIMIT)


def longest_running(limit: int) -> list[JobExecution]:
    """The running executions, longest first."""
    rows = JobExecution.objects.filter(status=RunStatus.RUNNING.value).order_by("started_at", "id")
    return list(
        rows.only(
            "id", "job_id", "job_name", "handler_name", "status", "started_at", "timeout_seconds",
            "progress", "progress_message", "lease_owner", "cancel_requested_at",
        )[:limit]
    )  # fmt: skip


def processes(limit: int) -> list[SchedulerProcess]:
    """Beats first, the freshest heartbeat of each kind first."""
    return list(SchedulerProcess.objects.order_by("kind", "-heartbeat_at", "name")[:limit])


# --- the past, by the hour ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Hour:
    """What ended in the hour from `start` on."""

    start: datetime
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Successful runs by duration, shortest first: (how many, the seconds they took together).
    durations: tuple[tuple[int, float], ...] = ()
    #: Only the first HOUR_LIMIT of its runs were counted.
    is_capped: bool = False

    def percentile(self, percent: int) -> float | None:
        """Seconds within which so many per cent of the successful runs ended (nearest rank).

        The mean of runs that differ by at most a tenth stands for each of them.
        """
        total = sum(count for count, _ in self.durations)
        rank = -(-total * percent // 100)  # rounded up
        for count, seconds in self.durations:
            rank -= count
            if rank <= 0:
                return seconds / count
        return None


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Hours, oldest first; None where the deadline came before the hour was counted."""

    hours: tuple[Hour | None, ...]
    counted: int
    """Of those that are over: how many had to be counted."""

    @property
    def missing(self) -> int:
        return self.hours.count(None)


# %(took)s: the databases spell the seconds between two instants differently.
_TOOK: Final = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM finished_at - started_at) AS double precision)",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, started_at, finished_at) / 1000000e0",
    "sqlite": "(julianday(finished_at) - julianday(started_at)) * 86400.0",
}
# The buckets are a tenth wide each, so one statement gives counts and percentiles, and sorts
# nothing.
_HOUR: Final = """
SELECT status, bucket, COUNT(*), SUM(took)
  FROM (SELECT status, took,
               CASE WHEN status <> 'SUCCESS' OR took IS NULL THEN NULL
                    WHEN took <= 0.001 THEN -70
                    ELSE FLOOR(LN(took) * 10) END AS bucket
          FROM (SELECT status, {took} AS took
                  FROM job_executions
                 WHERE finished_at >= %s AND finished_at < %s
                 ORDER BY finished_at
                 LIMIT %s) ended) measured
 GROUP BY status, bucket
"""


def hour(start: datetime) -> Hour:
    """What ended from `start` to an hour later: one range of the index on finished_at."""
    statement = _HOUR.format(took=_TOOK[connection.vendor])
    counts: dict[str, int] = {}
    durations: list[tuple[float, int, float]] = []
    for status, bucket, count, seconds in fetch_all(
        statement, [start, start + HOUR, HOUR_LIMIT + 1]
    ):
        counts[status] = counts.get(status, 0) + int(count)
        if bucket is not None:
            durations.append((float(bucket), int(count), max(0.0, float(seconds))))
    return Hour(
        start=start,
        counts=counts,
        durations=tuple((count, seconds) for _, count, seconds in sorted(durations)),
        is_capped=sum(counts.values()) > HOUR_LIMIT,
    )


def hours_until(newest: datetime, count: int, *, is_late: Callable[[], bool]) -> Hours:
    """The `count` hours up to the one that begins at `newest`, which still goes on.

    Hours that are over come from the cache where it has them. Counted newest first until `is_late`,
    but at least that one and one that is over: asked again, the rest follows.
    """
    starts = [newest - HOUR * back for back in range(count)]
    keys = {start: f"jobu.hour.{start.timestamp():.0f}" for start in starts}
    known: dict[str, Hour] = cache.get_many(list(keys.values())[1:])
    found: list[Hour | None] = []
    counted = 0
    for back, start in enumerate(starts):
        one = known.get(keys[start])
        if one is None and (back == 0 or counted == 0 or not is_late()):
            one = hour(start)
            if back > 0:
                counted += 1
                # Spread, so that they do not all have to be counted again in the same moment.
                age = _FRESH_HOUR_SECONDS if back == 1 else _OLD_HOUR_SECONDS + 7 * back
                cache.set(keys[start], one, age)
        found.append(one)
    return Hours(hours=tuple(reversed(found)), counted=counted)


# --- failing and slow jobs ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FailingJob:
    job: CronJob
    since: datetime
    """When the first of its failures in a row ended."""
    failures: int
    is_longer: bool
    """There are more failures in a row than were looked at."""
    last_execution_id: int | None


_LOOKED_BACK: Final = 30

_RECENT_OF_JOB: Final = """
SELECT * FROM (SELECT job_id, id, status, finished_at
                 FROM job_executions
                WHERE job_id = %s AND started_at IS NOT NULL AND finished_at IS NOT NULL
                ORDER BY scheduled_time DESC
                LIMIT %s) job{number}
"""


def failing_jobs(limit: int) -> tuple[list[FailingJob], Capped]:
    """Enabled jobs whose last run failed, the latest failure first, and how many there are."""
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
    return [_streak(job, rows.get(job.pk, [])) for job in jobs], _capped(failing)


def _streak(job: CronJob, rows: Sequence[tuple[int, str, datetime | None]]) -> FailingJob:
    """The failures up to the newest run. `rows`: id, status and end of its runs, newest first."""
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
    """How long a job's successful runs took in the last day, and before."""

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


#: Jobs are compared with their past if they are among so many with the most time spent.
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
    """The slowest jobs of the last day, and those much slower than in the week before it."""
    took = _TOOK[connection.vendor]
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
        # A job that is gone leaves no runs, but may go between two statements.
        return [
            replace(speed, name=names[speed.job_id]) for speed in found if speed.job_id in names
        ]

    return Speeds(slowest=named(slowest), slowing=named(slowing))


def _with_past(found: Sequence[JobSpeed], until: datetime, took: str) -> Iterable[JobSpeed]:
    """Each with the mean of its newest runs in the week before `until`: a few rows per job."""
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
    """One round trip instead of `count`. SQLite takes up to 500 parts."""
    return "UNION ALL".join(part.format(number=number, **words) for number in range(count))


def _capped(rows: Any) -> Capped:
    return _cap(rows.order_by().values("id")[: COUNT_LIMIT + 1].count())


def _cap(count: int) -> Capped:
    return Capped(value=min(count, COUNT_LIMIT), is_capped=count > COUNT_LIMIT)
