"""Rescue of lost runs, retention, heartbeats, and what jobs show of their last run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Max, Q, QuerySet

from scheduler import crash
from scheduler.models import CronJob, JobExecution, SchedulerProcess
from scheduler.plan import backoff_seconds
from scheduler.states import FINAL, AttemptOutcome, ProcessKind, Status
from scheduler.store import runs
from scheduler.store.connection import lock_skipping

# For runs without a job (events), and the table's own defaults.
DEFAULT_BACKOFF_SECONDS = 30
DEFAULT_BACKOFF_MAX_SECONDS = 3600

_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Rescued:
    execution_id: int
    job_name: str
    status: Status
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
    expired = JobExecution.objects.filter(status=Status.RUNNING, lease_expires_at__lt=now)
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
        charged = status != Status.CANCELLED
        if status == Status.PENDING:
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
        crash.point("rescue.found")
        if runs.end_attempt(
            lease, ending, now=now, changes=changes, charged=charged, expired_before=now
        ):
            crash.point("rescue.ended")
            if lease.exclusive and lease.job_id is not None:
                runs.wake_waiting(lease.job_id, now=now)
            name = row["job_name"] or row["handler_name"]
            rescued.append(
                Rescued(execution_id=row["id"], job_name=name, status=status, reason=reason)
            )
    return rescued


def _verdict(row: Any, now: datetime) -> tuple[Status, AttemptOutcome, str]:
    """What a run with an expired lease becomes. One whose worker keeps dying ends, and does not
    loop."""
    if row["cancel_requested_at"] is not None:
        return Status.CANCELLED, AttemptOutcome.CANCELLED, "cancelled; the worker was lost"
    exhausted = row["failures"] + 1 > row["max_retry"]
    if now >= row["deadline_at"]:
        reason = f"Execution timed out after {row['timeout_seconds']} s (its worker did not end it)"
        return Status.TIMEOUT if exhausted else Status.PENDING, AttemptOutcome.TIMEOUT, reason
    reason = f"worker lost: {row['lease_owner']} stopped renewing its lease"
    return Status.FAILED if exhausted else Status.PENDING, AttemptOutcome.LOST, reason


def refresh_last_results(since: datetime, now: datetime) -> int:
    """Show on each job its newest run that ended since `since`. Gives the number of jobs touched.

    A summary for lists, written by beat in bulk: a worker that wrote it would queue up on the job's
    row.
    """
    ended = JobExecution.objects.filter(
        finished_at__gt=since, finished_at__lte=now, job__isnull=False, started_at__isnull=False
    )
    per_job = ended.values("job_id").annotate(newest=Max("id"))
    newest = list(per_job.values_list("newest", flat=True))
    for first in range(0, len(newest), _CHUNK):
        chunk = JobExecution.objects.filter(id__in=newest[first : first + _CHUNK])
        rows: Iterable[Any] = chunk.values_list("job_id", "status", "started_at")
        for job_id, status, started_at in rows:
            _show_result(job_id, status, started_at)
    return len(newest)


def refresh_older_results(since: datetime, until: datetime, limit: int) -> datetime | None:
    """The same for `limit` executions that ended in (since, until], the newest ones; gives until
    when the others ended, None: there are no others.

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
    for job_id, (started_at, status) in newest.items():
        _show_result(job_id, status, started_at)
    if len(rows) < limit:
        return None
    # Should they all have ended in one instant: on with what is before it.
    oldest: datetime = rows[-1][0]
    return min(oldest, until - timedelta(microseconds=1))


def _show_result(job_id: int, status: str, started_at: datetime) -> None:
    CronJob.objects.filter(
        Q(last_run_at__isnull=True) | Q(last_run_at__lte=started_at), id=job_id
    ).update(last_run_at=started_at, last_status=status)


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
    return jobs.update(
        is_enabled=True,
        next_run_at=next_run_at,
        missed_from=None,
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
