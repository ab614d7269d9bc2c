"""Beats and workers that are alive, one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max

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
    queues: Sequence[str] | None = None,
) -> None:
    """Note that this process is alive: one row per process, updated in place.

    `queues`: those that a worker claims from, as executions name them.
    """
    served = None if queues is None else sorted(queues)
    alive = SchedulerProcess.objects.filter(name=name).update(
        heartbeat_at=now, running=running, figures=figures, queues=served
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
                "queues": served,
            },
        )


@dataclass(frozen=True, kw_only=True)
class LiveWorker:
    """A worker with a recent heartbeat. `queues`: None where it does not say them."""

    queues: frozenset[str] | None
    running: int


def live_workers(since: datetime) -> list[LiveWorker]:
    """The workers whose heartbeat is not older than `since`."""
    rows = SchedulerProcess.objects.filter(kind=ProcessKind.WORKER.value, heartbeat_at__gte=since)
    return [
        LiveWorker(queues=_names(queues), running=running)
        for queues, running in rows.values_list("queues", "running")
    ]


def _names(queues: Any) -> frozenset[str] | None:
    return frozenset(map(str, queues)) if isinstance(queues, list) else None


def newest_heartbeat(kind: ProcessKind) -> datetime | None:
    """When any process of this kind was alive last. None: there is no row of one."""
    rows = SchedulerProcess.objects.filter(kind=kind.value)
    newest: datetime | None = rows.aggregate(newest=Max("heartbeat_at"))["newest"]
    return newest


def forget_process(name: str) -> None:
    """Delete the row of a process that ends in order. One that crashed keeps a row that is old."""
    SchedulerProcess.objects.filter(name=name).delete()


def forget_silent_processes(before: datetime) -> int:
    """Delete the rows of processes without a heartbeat since `before`. Returns how many.

    Without it each deployment would leave rows behind.
    """
    return SchedulerProcess.objects.filter(heartbeat_at__lt=before).delete()[0]
