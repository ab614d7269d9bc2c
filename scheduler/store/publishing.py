"""Executions become messages. The row says when to publish it, and when to publish it again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F

from scheduler import failpoints
from scheduler.models import JobExecution
from scheduler.states import RunStatus
from scheduler.store.connection import lock_skipping


@dataclass(frozen=True, kw_only=True)
class Hint:
    """A message to be sent: "look at this execution". It does no harm if it is lost or doubled."""

    execution_id: int
    handler_name: str
    queue: str
    timeout_seconds: int
    attempt: int  # the attempt that it asks for; 1 for the first
    publish_count: int  # within this attempt; 1 for the first

    @property
    def task_id(self) -> str:
        return task_id(self.execution_id, self.attempt, self.publish_count)


def task_id(execution_id: int, attempt: int, publish_count: int) -> str:
    """The id of the Celery task, known before it is sent: the admin links to it in Flower."""
    return f"jobu-{execution_id}-{attempt}-{publish_count}"


def take_to_publish(
    now: datetime, limit: int, *, again_seconds: float, again_max_seconds: float
) -> list[Hint]:
    """Take up to `limit` executions whose `publish_at` has come, most urgent first, then by slot.

    Sets when to publish each of them again. Call it in a transaction and send after its commit: a
    crash in between delays the runs by one interval and loses none.
    """
    pending = JobExecution.objects.filter(status=RunStatus.PENDING, publish_at__lte=now)
    rows = lock_skipping(pending.order_by("publish_at", "id")).values_list(
        "id",
        "handler_name",
        "queue",
        "timeout_seconds",
        "publish_count",
        "attempt",
        "priority",
        "scheduled_time",
    )[:limit]
    found = sorted(rows, key=lambda row: (-row[6], row[7], row[0]))
    by_count: dict[int, list[int]] = {}
    for row in found:
        by_count.setdefault(row[4], []).append(row[0])
    for count, ids in by_count.items():
        wait = min(again_seconds * 2.0 ** min(count, 32), again_max_seconds)
        JobExecution.objects.filter(id__in=sorted(ids), status=RunStatus.PENDING).update(
            publish_at=now + timedelta(seconds=wait), publish_count=count + 1
        )
    if found:
        failpoints.point("publish.marked")
    return [
        Hint(
            execution_id=id_,
            handler_name=handler,
            queue=queue,
            timeout_seconds=timeout,
            attempt=claims + 1,
            publish_count=count + 1,
        )
        for id_, handler, queue, timeout, count, claims, _priority, _slot in found
    ]


def not_published(ids: Collection[int], *, publish_at: datetime) -> int:
    """The broker was away: publish these at `publish_at`, as if they had not been taken."""
    return JobExecution.objects.filter(id__in=ids, status=RunStatus.PENDING).update(
        publish_at=publish_at, publish_count=F("publish_count") - 1
    )


def publish_now(execution_id: int, *, now: datetime) -> bool:
    """Send another message at once, because a worker that drains has taken this one."""
    # An execution that may not run yet is published at its time, and this message was a second one.
    mine = JobExecution.objects.filter(
        id=execution_id, status=RunStatus.PENDING, available_at__lte=now
    )
    return mine.update(publish_at=now) == 1


def publish_when_available(execution_id: int, *, now: datetime) -> bool:
    """Send another message when the execution may run, because a worker got this one too early."""
    early = JobExecution.objects.filter(
        id=execution_id, status=RunStatus.PENDING, available_at__gt=now
    )
    return early.update(publish_at=F("available_at")) == 1


def next_publish_at() -> datetime | None:
    """When the next execution is to be published. One index probe."""
    pending = JobExecution.objects.filter(status=RunStatus.PENDING)
    return pending.order_by("publish_at").values_list("publish_at", flat=True).first()
