"""Rescue of lost runs, retention, heartbeats, and what jobs show of their last run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet

from scheduler import failpoints
from scheduler.db_retry import in_transaction
from scheduler.models import CronJob, JobExecution, SchedulerProcess
from scheduler.schedule.plan import backoff_seconds
from scheduler.states import FINAL, AttemptOutcome, ProcessKind, RunStatus
from scheduler.store import runs
from scheduler.store.connection import execute, fetch_all, instant, lock_skipping

# For runs without a job (events), and the table's own defaults.
DEFAULT_BACKOFF_SECONDS = 30
DEFAULT_BACKOFF_MAX_SECONDS = 3600

_CHUNK = 250
# Compared with a plain value, not with a CASE: that would be text to MySQL.
_SHOWS_NO_LATER = "(id = %s AND (last_run_at IS NULL OR last_run_at <= %s))"


@dataclass(frozen=True, kw_only=True)
class Rescued:
    execution_id: int
    job_name: str
    status: RunStatus
    reason: str


_EXPIRED_FIELDS = (
    "id", "job_id", "job_name", "handler_name", "attempt", "failures", "max_retry",
    "timeout_seconds", "lease_token", "lease_owner", "started_at", "deadline_at",
    "cancel_requested_at", "running_key", "job__retry_backoff_seconds",
    "job__retry_backoff_max_seconds",
)  # fmt: skip


def rescue_expired(now: datetime, limit: int, *, random: Callable[[], float]) -> list[Rescued]:
    """End the attempts whose lease ran out: back to PENDING with back-off, or final. Oldest first.

    Each with the token that was read in its WHERE: a renewal or a verdict that came in between
    wins.
    """
    expired = JobExecution.objects.filter(status=RunStatus.RUNNING, lease_expires_at__lt=now)
    rows: Iterable[Any] = expired.order_by("lease_expires_at").values(*_EXPIRED_FIELDS)[:limit]
    rescued = []
    for row in rows:
        lease = runs.Lease(
            execution_id=row["id"],
            job_id=row["job_id"],
            attempt=row["attempt"],
            token=row["lease_token"],
            owner=row["lease_owner"] or "",
            started_at=row["started_at"] or now,
            exclusive=row["running_key"] is not None,
        )
        status, outcome, reason = _verdict(row, now)
        charged = status != RunStatus.CANCELLED
        if status == RunStatus.PENDING:
            base = row["job__retry_backoff_seconds"]
            longest = row["job__retry_backoff_max_seconds"]
            delay = backoff_seconds(
                row["failures"] + 1,
                DEFAULT_BACKOFF_SECONDS if base is None else base,
                DEFAULT_BACKOFF_MAX_SECONDS if longest is None else longest,
                random,
            )
            available_at = now + timedelta(seconds=delay)
            changes = {"available_at": available_at, "publish_at": available_at, "publish_count": 0}
        else:
            changes = {"finished_at": now, "publish_at": None, "final_token": lease.token}
        changes |= {"status": status, "error_message": reason}
        ending = runs.Ending(outcome=outcome, error=reason)
        failpoints.point("rescue.found")
        if runs.end_attempt(
            lease, ending, now=now, changes=changes, charged=charged, expired_before=now
        ):
            failpoints.point("rescue.ended")
            if lease.exclusive and lease.job_id is not None:
                runs.wake_waiting(lease.job_id, now=now)
            name = row["job_name"] or row["handler_name"]
            rescued.append(
                Rescued(execution_id=row["id"], job_name=name, status=status, reason=reason)
            )
    return rescued


def _verdict(row: Any, now: datetime) -> tuple[RunStatus, AttemptOutcome, str]:
    """What a run with an expired lease becomes. One whose worker keeps dying ends, and does not
    loop."""
    if row["cancel_requested_at"] is not None:
        return RunStatus.CANCELLED, AttemptOutcome.CANCELLED, "cancelled; the worker was lost"
    exhausted = row["failures"] + 1 > row["max_retry"]
    if now >= row["deadline_at"]:
        reason = f"Execution timed out after {row['timeout_seconds']} s (its worker did not end it)"
        return (
            RunStatus.TIMEOUT if exhausted else RunStatus.PENDING,
            AttemptOutcome.TIMEOUT,
            reason,
        )
    reason = f"worker lost: {row['lease_owner']} stopped renewing its lease"
    return (
        RunStatus.FAILED if exhausted else RunStatus.PENDING,
        AttemptOutcome.LOST,
        reason,
    )


# What a job does not show yet. A run may have ended twice with one `started_at`: cancelled while it
# waited to be tried again. Joined, not IN (...), for which MySQL would walk all executions.
_NEWEST_RESULTS = """
SELECT e.job_id, e.started_at, e.status
  FROM (SELECT MAX(id) AS id
          FROM job_executions
         WHERE finished_at > %s AND finished_at <= %s
           AND job_id IS NOT NULL AND started_at IS NOT NULL
         GROUP BY job_id) newest
  JOIN job_executions e ON e.id = newest.id
  JOIN cron_jobs j ON j.id = e.job_id
 WHERE j.last_run_at IS NULL OR j.last_run_at < e.started_at
    OR (j.last_run_at = e.started_at AND j.last_status <> e.status)
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """On how many jobs a result was written, and on how many it was not, because somebody holds
    the job.
    """

    jobs: int = 0
    left_out: int = 0


def refresh_last_results(since: datetime, now: datetime) -> Shown:
    """Show on each job its newest run that ended since `since`, where it does not yet; without any
    it is one query, however many have ended.

    A summary for lists, written by beat in bulk: a worker that wrote it would queue up on the job's
    row.
    """
    newest: dict[int, tuple[datetime, str]] = {}
    for job_id, started, status in fetch_all(_NEWEST_RESULTS, [since, now]):
        started_at = instant(started)
        assert started_at is not None
        newest[job_id] = started_at, status
    return _show_results(newest)


def refresh_older_results(since: datetime, until: datetime, limit: int) -> datetime | None:
    """The same for `limit` executions that ended in (since, until], the newest ones; gives until
    when the others ended, None: there are no others. `until` itself while somebody holds a job.

    A step at a time, because a beat that has just started has jobs that are due.
    """
    is_news = Q(job__last_run_at__isnull=True) | Q(job__last_run_at__lt=F("started_at"))
    # Filtered here and not there: each step then reads as many entries of the index, and no more.
    ended = JobExecution.objects.filter(finished_at__gt=since, finished_at__lte=until)
    rows: list[Any] = list(
        ended.order_by("-finished_at")
        .annotate(is_news=ExpressionWrapper(is_news, BooleanField()))
        .values_list("finished_at", "job_id", "status", "started_at", "is_news")[:limit]
    )
    newest: dict[int, tuple[datetime, str]] = {}
    for _finished_at, job_id, status, started_at, news in rows:
        if news and job_id is not None and started_at is not None:
            newest[job_id] = max(newest.get(job_id, (started_at, status)), (started_at, status))
    if _show_results(newest).left_out:
        return until
    if len(rows) < limit:
        return None
    # Should they all have ended in one instant: on with what is before it.
    oldest: datetime = rows[-1][0]
    return min(oldest, until - timedelta(microseconds=1))


_SHOW_RESULTS = """
UPDATE cron_jobs
   SET last_run_at = CASE id {cases} END, last_status = CASE id {cases} END
 WHERE {conditions}
"""


def _show_results(newest: Mapping[int, tuple[datetime, str]]) -> Shown:
    """Write (started_at, status) of each job's newest run, a chunk of jobs by one statement, unless
    the job shows a later one meanwhile.
    """
    ids = sorted(newest)
    written = left_out = 0
    for first in range(0, len(ids), _CHUNK):
        chunk = {id_: newest[id_] for id_ in ids[first : first + _CHUNK]}
        jobs, held = in_transaction(partial(_show_chunk, chunk))
        written, left_out = written + jobs, left_out + held
    return Shown(jobs=written, left_out=left_out)


def _show_chunk(newest: Mapping[int, tuple[datetime, str]]) -> tuple[int, int]:
    """How many were written, and how many left out. It waits for nobody: holding the other jobs
    meanwhile, it would keep them from every beat.
    """
    free = list(
        lock_skipping(CronJob.objects.filter(id__in=list(newest)))
        .order_by("id")
        .values_list("id", flat=True)
    )
    if not free:
        return 0, len(newest)
    statement = _SHOW_RESULTS.format(
        cases=" ".join(["WHEN %s THEN %s"] * len(free)),
        conditions=" OR ".join([_SHOWS_NO_LATER] * len(free)),
    )
    parameters = [
        *(value for id_ in free for value in (id_, newest[id_][0])),
        *(value for id_ in free for value in (id_, newest[id_][1])),
        *(value for id_ in free for value in (id_, newest[id_][0])),
    ]
    return execute(statement, parameters), len(newest) - len(free)


def _pauses_over(now: datetime) -> QuerySet[CronJob]:
    # `IN (false)`, for the index: see slots.py.
    return CronJob.objects.filter(is_enabled__in=[False], paused_until__lte=now)


def any_pause_over(now: datetime) -> bool:
    """Is there a job to come back? One query, by id alone."""
    return _pauses_over(now).values_list("id", flat=True).first() is not None


def claim_paused(now: datetime, limit: int) -> list[CronJob]:
    """Up to `limit` jobs whose pause is over, locked until the transaction ends. Jobs another beat
    holds are left out.
    """
    return list(lock_skipping(_pauses_over(now)).order_by("id")[:limit])


def resume(watermarks: Mapping[int, datetime | None], *, now: datetime) -> int:
    """Enable locked jobs whose pause is over, one UPDATE per distinct watermark; gives how many."""
    groups: dict[datetime | None, list[int]] = {}
    for job_id, next_run_at in watermarks.items():
        groups.setdefault(next_run_at, []).append(job_id)
    return sum(
        _enabled_again(CronJob.objects.filter(id__in=ids), next_run_at, now)
        for next_run_at, ids in groups.items()
    )


def resume_all(now: datetime) -> int:
    """Enable all jobs whose pause is over, unseen: beat looks at each as at a new one."""
    return _enabled_again(_pauses_over(now), None, now)


def _enabled_again(jobs: QuerySet[CronJob], next_run_at: datetime | None, now: datetime) -> int:
    # Without a watermark beat looks at them first, and may find that they still cannot run.
    kept = {} if next_run_at is None else {"missed_from": None}
    return jobs.update(
        **kept,
        is_enabled=True,
        next_run_at=next_run_at,
        paused_until=None,
        pause_reason="",
        schedule_error="",
        tick_seq=F("tick_seq") + 1,
        updated_at=now,
    )


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` executions that ended before `before`, with their attempts and logs.

    The watermark, not the row, forbids that a slot runs again.
    """
    old = JobExecution.objects.filter(finished_at__lt=before, status__in=sorted(FINAL))
    ids = list(old.order_by("finished_at").values_list("id", flat=True)[:limit])
    if not ids:
        return 0
    return JobExecution.objects.filter(id__in=ids, status__in=sorted(FINAL)).delete()[0]


def heartbeat(
    *,
    name: str,
    kind: ProcessKind,
    host: str,
    pid: int,
    started_at: datetime,
    running: int,
    now: datetime,
) -> None:
    """This process is alive. One row per process, updated in place."""
    alive = SchedulerProcess.objects.filter(name=name).update(heartbeat_at=now, running=running)
    if not alive:
        SchedulerProcess.objects.update_or_create(
            name=name,
            defaults={
                "kind": kind,
                "host": host,
                "pid": pid,
                "started_at": started_at,
                "heartbeat_at": now,
                "running": running,
            },
        )


def forget_process(name: str) -> None:
    """An orderly end: the process is gone, not silent."""
    SchedulerProcess.objects.filter(name=name).delete()


def forget_silent_processes(before: datetime) -> int:
    """Drop the rows of processes silent since `before`, so that the table does not grow with every
    deploy.
    """
    return SchedulerProcess.objects.filter(heartbeat_at__lt=before).delete()[0]
