"""What one worker process consists of.

Two shapes (docs/architecture.md). A prefork child runs one execution at a time and ends alone. A
process of the threads pool runs hundreds on one loop, and ends as a whole when one of them cannot
be stopped.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from dbpools import DatabaseRegistry
from handlers import child_processes
from scheduler.clock import DatabaseClock
from scheduler.conf import current
from scheduler.store.connection import database_now
from scheduler.worker import around_runs
from scheduler.worker.board import Board
from scheduler.worker.bridge import Bridge
from scheduler.worker.celery_view import View
from scheduler.worker.django_connections import DjangoConnections
from scheduler.worker.downstream import Downstream
from scheduler.worker.executor import Executor
from scheduler.worker.fetcher import Fetcher, Source, work_alone
from scheduler.worker.figures import Figures, Publisher, SharedFigures, Tally
from scheduler.worker.lease import DrainFlag, HeldRun, LeaseKeeper
from scheduler.worker.ring import Ring

# The supervisor should start another one, at once (jobu_project/launcher/supervisor.py).
EXIT_FOR_RESTART = os.EX_TEMPFAIL
_CLOCK_AGE_SECONDS = 10
# A loop that is blocked for longer counts as that late.
_LOOP_ANSWERS_SECONDS = 1.0

# Made at import and so before any fork: children read what the parent writes.
drain = DrainFlag()
board = Board()
shared_figures = SharedFigures()


class WorkerProcess:
    """What one process needs to run executions. All of it is made after the fork.

    `places`: so many run at the same time. A child of prefork has one, and a `slot`: its place
    in the pool.
    """

    def __init__(
        self,
        owner: str,
        *,
        is_child: bool,
        places: int,
        queues: Callable[[], Sequence[str]],
        wake_others: Callable[[str], None],
        slot: int = -1,
        view: View | None = None,
    ) -> None:
        self._is_child = is_child
        self._clock = DatabaseClock(database_now, max_age_seconds=_CLOCK_AGE_SECONDS)
        self._tally = Tally()
        self._publisher = Publisher(shared_figures, slot, self._tally, self._clock.monotonic)
        self.ring = Ring(lambda: current().lease_seconds, self._end)
        self.bridge = Bridge()
        self._teller = None if is_child else around_runs.Teller()
        self.leases = LeaseKeeper(
            clock=self._clock,
            loop_answers=self.bridge.answers,
            describe_loop=lambda: (self.bridge.loop_task_name(), self.bridge.loop_stack()),
            drain=drain,
        )
        self.executor = Executor(
            clock=self._clock,
            bridge=self.bridge,
            leases=self.leases,
            owner=owner,
            end_process=self._end,
            on_end=self._run_ended,
            on_runnable=self._became_runnable,
            on_success=Downstream(self._clock, self._became_runnable).succeeded,
            tell=self._teller.tell if self._teller is not None else around_runs.after,
            view=view,
            hooks=DjangoConnections(),
            tally=self._tally,
        )
        self._source = Source(clock=self._clock, queues=queues, wake_others=wake_others)
        self.fetcher = Fetcher(
            executor=self.executor,
            leases=self.leases,
            clock=self._clock,
            source=self._source,
            places=min(places, current().pool_size),
        )
        settings = current()
        # Only names: a pool opens when a handler first uses it. A child drops its parent's pools.
        DatabaseRegistry.clear()
        try:
            self.bridge.run(
                DatabaseRegistry.init_from_config(
                    settings.databases, default=settings.default_database
                )
            )
        except BaseException:
            self.close()  # the next message makes another WorkerProcess with its own loop thread
            raise
        self.bridge.on_close(DatabaseRegistry.close_all)

    def work(self, must_return: Callable[[], bool]) -> None:
        """Run what there is, one after the other, in this thread: the shape of a child."""

        def must_end() -> bool:
            self._publisher.publish()
            return must_return()

        if not self.leases.is_draining:
            try:
                work_alone(self.executor, self._source, clock=self._clock, must_return=must_end)
            finally:
                self._publisher.publish(at_once=True)

    def figures(self) -> Figures:
        """What this process has counted. Waits up to a second for its loop."""
        began = self._clock.monotonic()
        self.bridge.answers(_LOOP_ANSWERS_SECONDS)
        self._tally.loop_answered(self._clock.monotonic() - began)
        return self._tally.figures()

    def close(self) -> None:
        self.fetcher.close()
        self.leases.close()
        if self._teller is not None:
            self._teller.close()
        self.bridge.close()
        self.ring.close()

    def _run_ended(self, held: HeldRun) -> None:
        if not self._is_child:
            self.fetcher.run_ended(held)

    def _became_runnable(self, queues: frozenset[str]) -> None:
        if self._is_child:
            self._source.runnable |= queues
        else:
            self.fetcher.became_runnable(queues)

    def _end(self, reason: str) -> NoReturn:
        # They would go on without this process, beside the next attempts of their runs.
        child_processes.kill_all()
        if self._is_child:
            # Celery's pool replaces a killed child. An orderly end would wait for the stuck thread.
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(EXIT_FOR_RESTART)


_lock = threading.Lock()
_process: tuple[int, WorkerProcess] | None = None


def process(make: Callable[[], WorkerProcess]) -> WorkerProcess:
    """The WorkerProcess of this process, made at the first call."""
    global _process
    with _lock:
        pid = os.getpid()
        if _process is None or _process[0] != pid:
            _process = (pid, make())
        return _process[1]


def existing() -> WorkerProcess | None:
    """The WorkerProcess of this process. None: there is none yet."""
    return _process[1] if _process is not None and _process[0] == os.getpid() else None


def forget_parent() -> None:
    """In a child of a fork, whose parent may have held the lock."""
    global _lock
    _lock = threading.Lock()


def close() -> None:
    """Close the WorkerProcess of this process, if there is one. Each wait is bounded."""
    global _process
    worker = existing()
    if worker is not None:
        _process = None
        worker.close()
