"""Changes of executions from outside their run: create, cancel, retry, delete."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Case, Q, QuerySet, Value, When

from scheduler.models import CronJob, JobExecution
from scheduler.schedule import LAST_INSTANT
from scheduler.states import RETRYABLE, ParamSource, ReasonCode, RunStatus
from scheduler.store import failures
from scheduler.store.connection import lock_in_order
from scheduler.store.runs import not_before_start


def create_execution(
    job: CronJob | None,
    *,
    handler_name: str,
    params: Any,
    source: ParamSource,
    now: datetime,
    logical_time: datetime | None = None,
    dedupe_key: str | None = None,
    dedupe_digest: str | None = None,
    requested_by: str = "",
    max_retry: int = 3,
    timeout_seconds: int = 3600,
    queue: str = "",
    priority: int = 0,
    available_at: datetime | None = None,
    trace_context: str | None = None,
) -> tuple[JobExecution, bool]:
    """Insert a PENDING execution that is not a slot: a manual run or an event.

    `available_at`: it may not start before; None: at once. Returns it and True, or the execution
    that has the same `dedupe_key` and False. Raises CronJob.DoesNotExist when somebody deletes the
    job meanwhile.
    """
    # Slots are whole seconds. These never are, and two of one job never share a microsecond.
    scheduled_time = now if now.microsecond else now + timedelta(microseconds=1)
    for _ in range(100):
        try:
            with transaction.atomic():
                _still_there(job)  # SQLite has no foreign key here, but only one writer at a time
                execution = JobExecution.objects.create(
                    job=job,
                    job_name=job.name if job else "",
                    handler_name=handler_name,
                    scheduled_time=scheduled_time,
                    logical_time=logical_time,
                    dedupe_key=dedupe_key,
                    dedupe_digest=dedupe_digest,
                    requested_by=requested_by[:150],
                    params=params,
                    param_source=source,
                    max_retry=job.max_retry if job else max_retry,
                    timeout_seconds=job.timeout_seconds if job else timeout_seconds,
                    queue=job.queue if job else queue,
                    priority=job.priority if job else priority,
                    available_at=available_at or now,
                    trace_context=trace_context,
                    created_at=now,
                )
            return execution, True
        except IntegrityError:
            if dedupe_key is not None:
                existing = with_dedupe_key(dedupe_key)
                if existing is not None:
                    return existing, False
            _still_there(job)  # it is: then another run has this instant
            scheduled_time += timedelta(microseconds=1)
            if scheduled_time.microsecond == 0:
                scheduled_time += timedelta(microseconds=1)
    raise RuntimeError(f"no free instant for a run of {job or handler_name} at {now}")


def with_dedupe_key(dedupe_key: str | None) -> JobExecution | None:
    """The execution of an event that was sent with this key before."""
    if dedupe_key is None:
        return None
    return JobExecution.objects.filter(dedupe_key=dedupe_key).first()


def _still_there(job: CronJob | None) -> None:
    if job is not None and not CronJob.objects.filter(id=job.pk).exists():
        raise CronJob.DoesNotExist


def lock_all(ids: Collection[int]) -> list[JobExecution]:
    """The executions that are there, with state and names, locked until the transaction ends.

    Not so those that wait for their shards: these are locked before them (shards.py).
    """
    rows = JobExecution.objects.only("status", "job_name", "handler_name").filter(id__in=ids)
    locked = list(lock_in_order(rows.exclude(status=RunStatus.FANNED_OUT)))
    found = {row.pk for row in locked}
    others = [id_ for id_ in ids if id_ not in found]
    return [*locked, *rows.filter(id__in=others)] if others else locked


def cancel_pending(
    execution_id: int,
    *,
    now: datetime,
    reason: str,
    code: ReasonCode = ReasonCode.CANCELLED_BY_PERSON,
    facts: Mapping[str, Any] | None = None,
) -> bool:
    """PENDING -> CANCELLED at once."""
    pending = JobExecution.objects.filter(id=execution_id)
    return cancel_all_pending(pending, now=now, reason=reason, code=code, facts=facts) == 1


def cancel_all_pending(
    rows: QuerySet[JobExecution],
    *,
    now: datetime,
    reason: str,
    code: ReasonCode,
    facts: Mapping[str, Any] | None,
) -> int:
    """The same for all of `rows` that are PENDING. Returns how many there were."""
    return rows.filter(status=RunStatus.PENDING).update(
        status=RunStatus.CANCELLED,
        in_line=None,
        # One that has waited for a person or for upstream jobs does not show that it still does.
        available_at=Case(When(available_at=LAST_INSTANT, then=Value(now)), default="available_at"),
        finished_at=not_before_start(now),
        cancel_requested_at=now,
        error_message=reason,
        reason_code=code,
        reason_facts=facts,
    )


def request_cancel(
    execution_id: int,
    *,
    now: datetime,
    reason: str,
    code: ReasonCode = ReasonCode.CANCELLED_BY_PERSON,
    facts: Mapping[str, Any] | None = None,
) -> bool:
    """Ask the worker of a RUNNING execution to cancel it. False: it does not run, or was asked.

    The worker looks every few seconds. When it has cancelled the run, the reason stays on the row.
    """
    running = JobExecution.objects.filter(id=execution_id)
    return request_cancel_of_all(running, now=now, reason=reason, code=code, facts=facts) == 1


def request_cancel_of_all(
    rows: QuerySet[JobExecution],
    *,
    now: datetime,
    reason: str,
    code: ReasonCode,
    facts: Mapping[str, Any] | None,
) -> int:
    """The same for all of `rows` that are RUNNING. Returns how many were asked."""
    running = rows.filter(status=RunStatus.RUNNING, cancel_requested_at__isnull=True)
    return running.update(
        cancel_requested_at=now, error_message=reason, reason_code=code, reason_facts=facts
    )


def retry(execution_id: int, *, now: datetime) -> bool:
    """An unsuccessful execution -> PENDING, with all its tries again. Attempt numbers go on."""
    return retry_all([execution_id], now=now) == 1


def retry_all(ids: Collection[int], *, now: datetime) -> int:
    """The same for many, in two statements. Returns how many were changed."""
    ended = JobExecution.objects.filter(id__in=sorted(ids), status__in=sorted(RETRYABLE))
    retried = ended.update(
        status=RunStatus.PENDING,
        failures=0,
        available_at=now,
        finished_at=None,
        cancel_requested_at=None,
        final_token=None,
        overran=False,
        progress=None,
        progress_message="",
        reason_code=None,
        reason_facts=None,
    )
    failures.forget(ids)
    return retried


def slots_of_shadow(job_id: int, *, after: datetime, limit: int) -> dict[int, datetime]:
    """Returns the newest slots that were recorded because a job was a shadow, by execution."""
    rows = JobExecution.objects.filter(
        job_id=job_id,
        scheduled_time__gt=after,
        status=RunStatus.SKIPPED,
        reason_code=ReasonCode.SHADOW,
    )
    return dict(rows.order_by("-scheduled_time").values_list("id", "scheduled_time")[:limit])


def slots_of_job(job_id: int, *, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Returns the newest slots of a job in (after, until], oldest first, with any outcome."""
    rows = JobExecution.objects.filter(
        job_id=job_id, scheduled_time__gt=after, scheduled_time__lte=until
    )
    rows = rows.filter(param_source=ParamSource.CRON).order_by("-scheduled_time")
    return list(rows.values_list("scheduled_time", flat=True)[:limit])[::-1]


def newest_slot(job_id: int, *, until: datetime) -> datetime | None:
    """Returns the newest slot of a job that is not later than `until`."""
    rows = JobExecution.objects.filter(job_id=job_id, scheduled_time__lte=until)
    rows = rows.filter(param_source=ParamSource.CRON)
    return rows.order_by("-scheduled_time").values_list("scheduled_time", flat=True).first()


def job_of(execution_id: int) -> set[int]:
    """The job of this execution, of a shard that of its parent. Empty: it has none."""
    rows = JobExecution.objects.filter(id=execution_id).values_list("job_id", "parent__job_id")
    return {job_id for row in rows for job_id in row if job_id}


def jobs_of_first(rows: QuerySet[JobExecution], limit: int) -> set[int]:
    """The jobs of the first ones of `rows`, without those of executions that have none."""
    return {job_id for job_id in rows.values_list("job_id", flat=True)[:limit] if job_id}


def queues_of(ids: Collection[int]) -> set[str]:
    return set(JobExecution.objects.filter(id__in=ids).values_list("queue", flat=True))


@dataclass(frozen=True, kw_only=True)
class FailedRange:
    """Unsuccessful executions by `scheduled_time`, from `since` to `until`, both included."""

    since: datetime
    until: datetime
    statuses: frozenset[RunStatus]
    job_id: int | None = None  # None: of all jobs

    def rows(self) -> QuerySet[JobExecution]:
        """In the order of the index on scheduled_time, or of the one on (job, scheduled_time)."""
        found = JobExecution.objects.filter(
            status__in=sorted(self.statuses & RETRYABLE),
            scheduled_time__gte=self.since,
            scheduled_time__lte=self.until,
            parent_id__isnull=True,  # shards are tried again with their parents
        )
        if self.job_id is not None:
            found = found.filter(job_id=self.job_id)
        return found.order_by("scheduled_time", "id")

    def facts(self) -> dict[str, Any]:
        """What the history remembers of it."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "statuses": sorted(self.statuses),
            "job_id": self.job_id,
        }

    def after(self, instant: datetime, execution_id: int) -> QuerySet[JobExecution]:
        """Those after one of them. A run that was retried and failed again is not met twice."""
        later = Q(scheduled_time__gt=instant) | Q(scheduled_time=instant, id__gt=execution_id)
        return self.rows().filter(later, scheduled_time__gte=instant)


def delete_execution(execution_id: int) -> bool:
    """Delete a final execution, with its shards. No shard alone: its parent counts it.

    Its slot does not run again, because the watermark is past it.
    """
    ended = JobExecution.objects.filter(
        id=execution_id, parent_id__isnull=True, status__in=sorted({*RETRYABLE, RunStatus.SUCCESS})
    )
    return ended.delete()[0] > 0
