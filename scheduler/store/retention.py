"""Old executions are deleted."""

from __future__ import annotations

from datetime import datetime

from scheduler.models import JobExecution
from scheduler.states import FINAL
from scheduler.store.connection import lock_skipping
from scheduler.transient import in_transaction


def oldest_end() -> datetime | None:
    """When the oldest execution ended. One probe.

    Without shards: they stay as long as their parent, which may have been tried again much later.
    """
    ended = JobExecution.objects.filter(finished_at__isnull=False, parent_id__isnull=True)
    return ended.order_by("finished_at").values_list("finished_at", flat=True).first()


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` executions that ended before `before`, with their attempts and logs.

    Returns how many. Their slots do not run again, because the watermark is past them. Shards go
    with their parents, and count. Rows that somebody else has locked are left for another time.
    """
    old = JobExecution.objects.filter(finished_at__lt=before, status__in=sorted(FINAL))
    old = old.filter(parent_id__isnull=True).order_by("finished_at")
    rows: dict[int, int] = {}
    taken = 0
    for id_, shards in old.values_list("id", "shard_count")[:limit]:
        if taken >= limit:
            break
        rows[id_] = 1 + (shards or 0)
        taken += rows[id_]
    if not rows:
        return 0

    def work() -> int:
        found = JobExecution.objects.filter(id__in=rows, status__in=sorted(FINAL))
        free = list(lock_skipping(found.order_by("id")).values_list("id", flat=True))
        JobExecution.objects.filter(id__in=free).delete()
        return sum(rows[id_] for id_ in free)

    return in_transaction(work)
