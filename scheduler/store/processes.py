"""Beats and workers that are alive, one row each."""

from __future__ import annotations

from datetime import datetime

from scheduler.models import SchedulerProcess
from scheduler.states import ProcessKind


def heartbeat(
    *,
    name: str,
    kind: ProcessKind,
    host: str,
    pid: int,
    started_at: datetime,
    running: int,
    now: datetime,
) -> None:
    """This process is alive. One row per process, updated in place."""
    alive = SchedulerProcess.objects.filter(name=name).update(heartbeat_at=now, running=running)
    if not alive:
        SchedulerProcess.objects.update_or_create(
            name=name,
            defaults={
                "kind": kind,
                "host": host,
                "pid": pid,
                "started_at": started_at,
                "heartbeat_at": now,
                "running": running,
            },
        )


def forget_process(name: str) -> None:
    """An orderly end: the process is gone, not silent."""
    SchedulerProcess.objects.filter(name=name).delete()


def forget_silent_processes(before: datetime) -> int:
    """Drop the rows of processes silent since `before`, so that the table does not grow with every
    deploy.
    """
    return SchedulerProcess.objects.filter(heartbeat_at__lt=before).delete()[0]
