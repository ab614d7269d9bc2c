"""Is any beat, is any worker alive? For people; nothing is decided by it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.utils.translation import gettext as _

from scheduler.models import SchedulerProcess
from scheduler.states import ProcessKind

# Beats and workers report every 5 seconds.
STALE_AFTER: Final = timedelta(seconds=30)


def is_alive(heartbeat_at: datetime, now: datetime) -> bool:
    return now - heartbeat_at <= STALE_AFTER


def missing_parts(now: datetime) -> list[str]:
    """What does not run although it must, in words."""
    alive = set(
        SchedulerProcess.objects.filter(heartbeat_at__gte=now - STALE_AFTER)
        .values_list("kind", flat=True)
        .distinct()
    )
    problems = []
    if ProcessKind.BEAT not in alive:
        problems.append(_("No beat is running: no job will start by its schedule."))
    if ProcessKind.WORKER not in alive:
        problems.append(_("No worker is running: executions wait."))
    return problems
