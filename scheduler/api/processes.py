"""/processes: beats and workers with their heartbeats; draining a worker."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from scheduler.api.audit import control_of, workers_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.system import ProcessList, WorkerName
from scheduler.models import SchedulerProcess
from scheduler.operations.liveness import is_alive, liveness
from scheduler.operations.permissions import Action

router = Router()


@router.get(
    "/processes",
    response=answers(ProcessList),
    auth=needs(Action.VIEW_PROCESSES),
    tags=["processes"],
)
def list_processes(request: HttpRequest) -> dict[str, Any]:
    """Returns the beats and workers with their heartbeats, and the state of jobu as a whole."""
    refuse_unknown(request)
    now = control_of(caller_of(request)).clock.now()
    names = (
        "name", "kind", "host", "pid", "started_at", "heartbeat_at", "running", "places",
        "drained_at",
    )  # fmt: skip
    items = [
        {
            **{name: getattr(each, name) for name in names},
            "is_alive": is_alive(each.heartbeat_at, now),
        }
        for each in SchedulerProcess.objects.order_by("kind", "name")[:1000]
    ]
    return {"items": items, "liveness": asdict(liveness(now))}


@router.post(
    "/processes/drain",
    response={**answers(None, 409, status=204)},
    auth=needs(Action.DRAIN_WORKER),
    tags=["processes"],
)
def drain_worker(request: HttpRequest, given: WorkerName) -> Status[None]:
    """Let a worker take no more runs. It hands back what does not end in time, and stays."""
    workers_of(caller_of(request)).drain(given.name)
    return Status(204, None)


@router.post(
    "/processes/undrain",
    response={**answers(None, 409, status=204)},
    auth=needs(Action.DRAIN_WORKER),
    tags=["processes"],
)
def undrain_worker(request: HttpRequest, given: WorkerName) -> Status[None]:
    """Let a drained worker take runs again."""
    workers_of(caller_of(request)).undrain(given.name)
    return Status(204, None)
