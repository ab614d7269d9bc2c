"""Whether any beat and any worker is alive, in words. Nothing is decided by it."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext as _

from scheduler.operations.liveness import alive_processes
from scheduler.states import ProcessKind


def missing_parts(now: datetime) -> list[str]:
    """Returns what does not run although it must."""
    alive = set(alive_processes(now).values_list("kind", flat=True).distinct())
    problems = []
    if ProcessKind.BEAT not in alive:
        problems.append(_("No beat is running: no job will start by its schedule."))
    if ProcessKind.WORKER not in alive:
        problems.append(_("No worker is running: executions wait."))
    return problems
