"""Whether the scheduler works, for a pinger outside: `/health/scheduler`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from django.db import connection

from scheduler.alerts import watchers
from scheduler.alerts.late_queues import late_queues
from scheduler.operations.health import TIMEOUT_SECONDS, Question
from scheduler.operations.liveness import STALE_AFTER
from scheduler.states import ProcessKind
from scheduler.store import processes
from scheduler.store.connection import database_now

#: Anybody may ask, so the database is asked no more often than this by one process.
KEPT_SECONDS: Final = 5.0


class Health:
    """Keeps the last answer for 5 seconds. Thread-safe."""

    def __init__(self, ask: Callable[[], None], monotonic: Callable[[], float]) -> None:
        self._question = Question("scheduler", ask)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._answer: tuple[float, bool] | None = None

    def is_well(self) -> bool:
        """Blocks for 2 seconds at most. False: something is wrong, or the database is silent."""
        with self._lock:
            answer = self._answer
            if answer is not None and self._monotonic() - answer[0] < KEPT_SECONDS:
                return answer[1]
            is_well = self._question.answer(TIMEOUT_SECONDS) is None
            self._answer = self._monotonic(), is_well
            return is_well


class NotWell(Exception):
    """Something is wrong. The alerts say what."""


def ask() -> None:
    """Raises NotWell if no beat ticks, or work waits that no worker takes."""
    try:
        now = database_now()
        newest = processes.newest_heartbeat(ProcessKind.BEAT)
        if newest is None or now - newest > STALE_AFTER:
            raise NotWell
        late = late_queues(now)
        live = processes.live_workers(now - STALE_AFTER) if late else []
        if watchers.workers(now, late, live):
            raise NotWell
    finally:
        connection.close()  # of this thread
