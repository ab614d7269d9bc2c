"""What Celery sees of our runs: events for Flower, requests for `inspect active`."""

from __future__ import annotations

from typing import Protocol

from handlers.params import without_values
from scheduler.states import AttemptOutcome
from scheduler.worker.lease import HeldRun
from scheduler.worker.run_events import RunEvents, run_uuid
from scheduler.worker.run_requests import RunRequests
from scheduler.worker.verdict import StopReason, Verdict


class View(Protocol):
    """Is told of each run. Must neither block nor raise."""

    def began(self, held: HeldRun) -> None: ...

    def ended(self, held: HeldRun, verdict: Verdict | None) -> None:
        """`verdict`: what was written. None: nothing, because the run was taken away."""


class NoView:
    """Outside of a Celery worker."""

    def began(self, held: HeldRun) -> None:
        pass

    def ended(self, held: HeldRun, verdict: Verdict | None) -> None:
        pass


class CeleryView:
    """The view of a real worker, and of its children."""

    def __init__(self, events: RunEvents, requests: RunRequests) -> None:
        self._events = events
        self._requests = requests

    def began(self, held: HeldRun) -> None:
        row, uuid = held.row, _uuid(held)
        self._requests.began(
            uuid,
            row.handler_name,
            row.queue,
            execution_id=row.id,
            # No monotonic time: nobody asks how long it takes a process that ends at once.
            stop=lambda: held.stop(StopReason.DRAIN, held.claimed_at),
        )
        self._events.received(
            uuid, row.handler_name, lambda: row.params, held.lease.attempt, row.queue
        )
        self._events.started(uuid)

    def ended(self, held: HeldRun, verdict: Verdict | None) -> None:
        uuid = _uuid(held)
        self._requests.ended(uuid)
        seconds = held.outcome.ran_seconds if held.outcome is not None else 0.0
        if verdict is None or verdict.outcome in _REVOKED:
            self._events.revoked(uuid)
        elif verdict.outcome == AttemptOutcome.SUCCESS:
            self._events.succeeded(uuid, seconds)
        else:
            # An error may quote a parameter, and everybody reads Flower.
            error, traceback = (
                without_values(text, held.row.params) for text in (verdict.error, verdict.traceback)
            )
            self._events.failed(uuid, error, traceback, seconds)


_REVOKED = frozenset({AttemptOutcome.CANCELLED, AttemptOutcome.RELEASED})


def _uuid(held: HeldRun) -> str:
    return run_uuid(held.row.id, held.lease.attempt)
