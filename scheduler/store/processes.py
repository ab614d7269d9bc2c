"""Beats and workers that are alive, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

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
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Note that this process is alive: one row per process, updated in place."""
    alive = SchedulerProcess.objects.filter(name=name).update(
        heartbeat_at=now, running=running, figures=figures
    )
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
                "figures": figures,
            },
        )


def forget_process(name: str) -> None:
    """Delete the row of a process that ends in order. One that crashed keeps a row that is old."""
    SchedulerProcess.objects.filter(name=name).delete()


def forget_silent_processes(before: datetime) -> int:
    """Delete the rows of processes without a heartbeat since `before`. Returns how many.

    Without it each deployment would leave rows behind.
    """
    return SchedulerProcess.objects.filter(heartbeat_at__lt=before).delete()[0]
