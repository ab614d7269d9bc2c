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
    places: int | None = None,
    drained_at: datetime | None = None,
) -> datetime | None:
    """Note that this process is alive: one row per process, updated in place.

    `queues`: those that a worker claims from, as executions name them. `places`: how many runs it
    may have. `drained_at`: what the process knows, in case its row was deleted meanwhile. Returns
    since when a person wants it to take no runs.
    """
    now_so = {
        "heartbeat_at": now,
        "running": running,
        "figures": figures,
        "queues": None if queues is None else sorted(queues),
        "places": places,
    }
    # Another process may have had this name: in a container all have the same pid.
    mine = SchedulerProcess.objects.filter(name=name, started_at=started_at)
    if mine.update(**now_so):
        return mine.values_list("drained_at", flat=True).first()
    SchedulerProcess.objects.update_or_create(
        name=name,
        defaults={
            "kind": kind,
            "host": host,
            "pid": pid,
            "started_at": started_at,
            "drained_at": drained_at,
            **now_so,
        },
    )
    return drained_at


def drain_worker(name: str, *, now: datetime, who: str) -> bool:
    """Note that this worker is to take no more runs. False: it is not there, or it was before."""
    workers = SchedulerProcess.objects.filter(name=name, kind=ProcessKind.WORKER.value)
    return bool(workers.filter(drained_at=None).update(drained_at=now, drained_by=who))


def undrain_worker(name: str) -> bool:
    """Note that it may take runs again. False: it is not there, or it is not drained."""
    drained = SchedulerProcess.objects.filter(name=name, drained_at__isnull=False)
    return bool(drained.update(drained_at=None, drained_by=""))


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
