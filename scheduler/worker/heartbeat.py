"""What the main process of a worker does in the database by itself.

It says that the worker is alive and, where children do the work, looks whether there is any.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any

from django.db import Error, connection

from scheduler import service_manager
from scheduler.alerts.watching import WorkerWatch
from scheduler.conf import current
from scheduler.limits import limit_connection
from scheduler.states import ProcessKind
from scheduler.store import processes
from scheduler.store.connection import database_now

_FORK_WAITS_SECONDS = 5.0
_LONGEST_SECONDS = 5.0

# Held by the heartbeat while it uses the database, and during a fork.
_in_database = threading.Lock()
_fork_waited = False
_main_pid: int | None = None


def in_database() -> AbstractContextManager[Any]:
    """Entered by a thread of the main process that uses the database: no fork falls into it."""
    return _in_database


class Heartbeat:
    """Keeps the worker's row in scheduler_process fresh. Trouble with it disturbs no run.

    `running`: how many runs go on. `figures`: what the worker has counted (figures.py).
    `look`: called about once a second with the database's time (None: it is away), between forks,
    on a connection that no child inherits; None: not at all.
    `queues`: those that the worker claims from. `places`: how many runs it may have. `before`:
    called in the thread before each round; it must not raise. `drain`: called after each heartbeat
    with whether a person has drained the worker.
    """

    def __init__(
        self,
        name: str,
        *,
        running: Callable[[], int],
        figures: Callable[[], Mapping[str, Any]],
        queues: Callable[[], Sequence[str]],
        look: Callable[[datetime | None], None] | None,
        before: Callable[[], None],
        places: int,
        drain: Callable[[bool], None],
    ) -> None:
        self._name = name
        self._running = running
        self._figures = figures
        self._queues = queues
        self._watch = WorkerWatch()
        self._look = look
        self._before = before
        self._places = places
        self._drain = drain
        self._drained_at: datetime | None = None
        self._started_at: datetime | None = None
        self._stop = threading.Event()
        # A handler of a signal may call put() of a SimpleQueue, and no method of an Event or a
        # logger, whose lock its own thread may hold.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._live, name="jobu-heartbeat", daemon=True)

    def start(self) -> None:
        global _main_pid
        _main_pid = os.getpid()
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
        )
        self._thread.start()

    def wake(self) -> None:
        """May be called in a handler of a signal."""
        self._wake.put(None)

    def stop(self) -> None:
        """Say goodbye in the table. Waits at most a few seconds."""
        self._stop.set()
        self.wake()
        self._thread.join(5)

    def _live(self) -> None:
        limit_connection()
        rounds = 0
        service_manager.notify("READY=1")
        while True:
            service_manager.notify("WATCHDOG=1")
            self._before()
            seconds = self._beat_seconds()
            if self._look is not None:
                seconds = min(seconds, current().poll_interval_seconds)
            every = max(1, round(self._beat_seconds() / seconds))
            is_last = self._stop.is_set()
            with _in_database:
                try:
                    self._round(beats=rounds % every == 0 or is_last)
                    if is_last:
                        processes.forget_process(self._name)
                except Error:  # a stale heartbeat tells enough
                    self._watch.database_is_away()
                    if self._look is not None:
                        self._look(None)
                finally:
                    # Closed each time: a child that is forked now must not inherit an open socket.
                    connection.close()
            if is_last:
                return
            rounds += 1
            with suppress(Empty):
                self._wake.get(timeout=seconds)

    def _round(self, *, beats: bool) -> None:
        now = database_now()
        self._started_at = self._started_at or now
        if self._look is not None:
            self._look(now)
        if beats:
            self._drained_at = processes.heartbeat(
                name=self._name,
                kind=ProcessKind.WORKER,
                host=socket.gethostname(),
                pid=os.getpid(),
                started_at=self._started_at,
                running=self._running(),
                figures=self._figures(),
                now=now,
                queues=self._queues(),
                places=self._places,
                drained_at=self._drained_at,
            )
            self._drain(self._drained_at is not None)
            self._watch.look(now)

    @staticmethod
    def _beat_seconds() -> float:
        return min(_LONGEST_SECONDS, current().heartbeat_seconds)


def _before_fork() -> None:
    """Wait until the heartbeat's thread has left the database, at most a few seconds.

    A child that is forked while a thread is inside SQLite or an SSL library inherits locks that
    nobody in it releases, and would wait for them for ever.
    """
    global _fork_waited
    _fork_waited = _in_database.acquire(timeout=_FORK_WAITS_SECONDS)


def _after_fork() -> None:
    global _in_database
    if _fork_waited:
        _in_database.release()
    elif os.getpid() != _main_pid:
        _in_database = threading.Lock()  # the inherited lock is held by a thread of the parent
