"""Pauses of queues: the rows that claims leave out, and who has asked for them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import transaction

from scheduler.models import QueuePause
from scheduler.store.connection import fetch_all, lock_in_order

_PAUSED: Final = "SELECT queue FROM jobu_queue_pauses WHERE until IS NULL OR until > %s"


def paused(now: datetime) -> frozenset[str]:
    """The queues that are paused, by the names that were paused. One small statement."""
    return frozenset(queue for (queue,) in fetch_all(_PAUSED, [now]))


def pauses(now: datetime) -> list[QueuePause]:
    """The pauses that hold now, by queue."""
    rows = QueuePause.objects.order_by("queue")
    return [row for row in rows if row.until is None or row.until > now]


def put(*, queue: str, reason: str, until: datetime | None, who: str, now: datetime) -> QueuePause:
    """Pause the queue, instead of a pause that it may have."""
    row = QueuePause(queue=queue, reason=reason, until=until, who=who, at=now)
    with transaction.atomic():
        QueuePause.objects.filter(queue=queue).delete()
        QueuePause.objects.bulk_create([row])
    return row


def end(queue: str, now: datetime) -> QueuePause | None:
    """End the pause of this queue and return it. None: it is not paused."""
    found = list(lock_in_order(QueuePause.objects.filter(queue=queue)))
    QueuePause.objects.filter(queue=queue).delete()
    held = [row for row in found if row.until is None or row.until > now]
    return held[0] if held else None
