"""Old executions are deleted."""

from __future__ import annotations

from datetime import datetime

from scheduler.models import JobExecution
from scheduler.states import FINAL
from scheduler.store.connection import lock_skipping
from scheduler.transient import in_transaction


def oldest_end() -> datetime | None:
    """When the oldest execution ended. One probe."""
    ended = JobExecution.objects.filter(finished_at__isnull=False).order_by("finished_at")
    return ended.values_list("finished_at", flat=True).first()


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` executions that ended before `before`, with their attempts and logs.

    Returns how many. Their slots do not run again, because the watermark is past them. Rows that
    somebody else has locked are left for another time.
    """
    old = JobExecution.objects.filter(finished_at__lt=before, status__in=sorted(FINAL))
    old = old.filter(parent_id__isnull=True).order_by("finished_at")
    ids: list[int] = []
    rows = 0
    for id_, shards in old.values_list("id", "shard_count")[:limit]:
        if rows >= limit:
            break
        rows += 1 + (shards or 0)
        ids.append(id_)
    if not ids:
        return 0

    def work() -> int:
        rows = JobExecution.objects.filter(id__in=ids, status__in=sorted(FINAL))
        free = lock_skipping(rows.order_by("id")).values_list("id", flat=True)
        return JobExecution.objects.filter(id__in=list(free)).delete()[0]

    return in_transaction(work)
