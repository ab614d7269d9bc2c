"""In which queues work waits for too long: one rule for alerts and for `/health/scheduler`."""

from __future__ import annotations

from datetime import datetime

from scheduler.alerts import watchers
from scheduler.operations.queues import paused_names
from scheduler.store import heads


def late_queues(now: datetime) -> dict[str, datetime]:
    """Returns since when runs wait for too long. A queue that somebody has paused may wait."""
    late = {
        queue: since
        for queue, since in heads.waiting_since(now).items()
        if (now - since).total_seconds() > watchers.WAITS_SECONDS
    }
    paused = paused_names(now) if late else frozenset()
    return {queue: since for queue, since in late.items() if queue not in paused}
