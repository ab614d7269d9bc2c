"""Sentences about whether a beat and a worker are alive. They are for people only."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext as _

from scheduler.operations.liveness import alive_processes
from scheduler.states import ProcessKind


def missing_parts(now: datetime) -> list[str]:
    """Returns one sentence for each kind of process that is needed and not alive."""
    alive = set(alive_processes(now).values_list("kind", flat=True).distinct())
    problems = []
    if ProcessKind.BEAT not in alive:
        problems.append(_("No beat is running: no job will start by its schedule."))
    if ProcessKind.WORKER not in alive:
        problems.append(_("No worker is running: executions wait."))
    return problems
