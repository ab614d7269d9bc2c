"""/queues: what waits, who serves it, pause and resume. Names are in bodies: they may hold `/`."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from scheduler.api.audit import queues_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.queues import PauseQueue, QueueList, QueueName, QueuePauseAnswer
from scheduler.operations.permissions import Action
from scheduler.operations.queues import Queue

router = Router(tags=["queues"])


@router.get("/queues", response=answers(QueueList), auth=needs(Action.VIEW_PROCESSES))
def list_queues(request: HttpRequest) -> dict[str, Any]:
    """Returns the queues, the default one first."""
    refuse_unknown(request)
    return {"items": [_shown(queue) for queue in queues_of(caller_of(request)).all()]}


@router.post("/queues/pause", response=answers(QueuePauseAnswer), auth=needs(Action.PAUSE_QUEUE))
def pause_queue(request: HttpRequest, given: PauseQueue) -> Any:
    """Let no worker begin runs of a queue. Workers obey within a second; what runs goes on."""
    return queues_of(caller_of(request)).pause(given.queue, reason=given.reason, until=given.until)


@router.post(
    "/queues/resume", response={**answers(None, 409, status=204)}, auth=needs(Action.PAUSE_QUEUE)
)
def resume_queue(request: HttpRequest, given: QueueName) -> Status[None]:
    """Let workers take runs of the queue again."""
    queues_of(caller_of(request)).resume(given.queue)
    return Status(204, None)


def _shown(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "waiting": queue.waiting,
        "oldest_at": queue.oldest_at,
        "running": queue.running,
        "in_per_second": round(queue.in_per_second, 3),
        "out_per_second": round(queue.out_per_second, 3),
        "empty_in_seconds": queue.empty_in_seconds,
        "workers": [worker.name for worker in queue.workers],
        "pause": queue.pause,
    }
