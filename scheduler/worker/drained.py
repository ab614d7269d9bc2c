"""A worker that a person has drained: it takes no runs and stays, until it may take some again."""

from __future__ import annotations

from scheduler.clock import DatabaseClock
from scheduler.conf import current
from scheduler.events import emit
from scheduler.store.connection import database_now
from scheduler.worker.process import drain


def obey(is_drained: bool) -> None:
    """Do what the worker's row says. Called in its main process, after each heartbeat."""
    if is_drained == drain.is_by_person:
        return
    if not is_drained:
        drain.set_by_person(None)
        emit("worker.undrained")
        return
    seconds = current().shutdown_timeout_seconds
    drain.set_by_person(DatabaseClock(database_now, 0).monotonic() + seconds)
    emit("worker.drained", seconds=seconds)
