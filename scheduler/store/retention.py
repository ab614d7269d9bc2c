"""Old executions are deleted."""

from __future__ import annotations

from datetime import datetime

from scheduler.models import JobExecution
from scheduler.states import FINAL


def oldest_end() -> datetime | None:
    """When the oldest execution ended. One probe."""
    ended = JobExecution.objects.filter(finished_at__isnull=False).order_by("finished_at")
    return ended.values_list("finished_at", flat=True).first()


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` executions that ended before `before`, with their attempts and logs.

    Returns how many. Their slots do not run again, because the watermark is past them.
    """
    old = JobExecution.objects.filter(finished_at__lt=before, status__in=sorted(FINAL))
    ids = list(old.order_by("finished_at").values_list("id", flat=True)[:limit])
    if not ids:
        return 0
    return JobExecution.objects.filter(id__in=ids, status__in=sorted(FINAL)).delete()[0]
