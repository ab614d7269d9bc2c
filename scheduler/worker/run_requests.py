"""Runs as Celery's requests: `inspect active`, `query_task`, `stats`, heartbeats and Flower.

In a worker with the threads or solo pool each run has a request of its own. In one with prefork,
each child that works has one already: that of the wake-up which it answers. While the child has a
run, that request says so.

Celery looks through its sets of requests in its main loop, so only that loop may change them.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from celery.worker import state
from celery.worker.request import Request

from scheduler.clock import host_timestamp
from scheduler.worker.child_runs import ChildRun, ChildRuns

#: Made at import and so before any fork.
child_runs = ChildRuns()


class _RunTask:
    """What Celery asks of the task of a request."""

    acks_late = False
    send_events = False


@dataclass(eq=False, kw_only=True)
class RunRequest:
    """As much of Celery's Request as its commands and its shutdown use.

    `stop` ends the run in this process. Celery calls it when it ends at once (SIGQUIT), inside its
    handler of the signal: it must not block or take a lock.
    """

    id: str
    name: str
    queue: str
    execution_id: int
    hostname: str
    stop: Callable[[], None]
    time_start: float
    worker_pid: int
    is_shown: bool = False
    eventer: Any = None  # Celery sets it after a new connection

    task: ClassVar[type[_RunTask]] = _RunTask
    acknowledged: ClassVar[bool] = True
    stamps: ClassVar[None] = None
    eta: ClassVar[None] = None

    def info(self, safe: bool = False) -> dict[str, Any]:
        """For `inspect active`. Without the values of the params, which may be secret."""
        return {
            "id": self.id,
            "name": self.name,
            "args": [self.execution_id],
            "kwargs": {},
            "type": self.name,
            "hostname": self.hostname,
            "time_start": self.time_start,
            "acknowledged": True,
            "delivery_info": _delivery_info(self.queue),
            "worker_pid": self.worker_pid,
        }

    def terminate(self, pool: Any, signal: Any = None) -> None:
        self.stop()

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        self.stop()


class RunRequests:
    """The runs of a worker as requests. Any thread may report a run; the main loop refreshes.

    Make it in the main process. A child of the prefork pool may report its runs as well.
    """

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._main_pid = os.getpid()
        self._lock = threading.Lock()
        self._running: dict[str, RunRequest] = {}
        self._ended_unseen: Counter[str] = Counter()
        # Celery's own sets hold weak references only. Used by the main loop alone.
        self._shown: dict[str, RunRequest] = {}
        self._aliases: dict[str, Request] = {}
        self._counted = 0

    def __len__(self) -> int:
        """How many runs this process has now."""
        return len(self._running)

    def began(
        self, uuid: str, name: str, queue: str, *, execution_id: int, stop: Callable[[], None]
    ) -> None:
        """A run has started in this process. A child of the pool has one at a time."""
        pid = os.getpid()
        if pid != self._main_pid:
            child_runs.began(ChildRun(uuid=uuid, name=name, queue=queue, execution_id=execution_id))
            return
        request = RunRequest(
            id=uuid,
            name=name,
            queue=queue,
            execution_id=execution_id,
            hostname=self._hostname,
            stop=stop,
            time_start=host_timestamp(),
            worker_pid=pid,
        )
        with self._lock:
            self._running[uuid] = request

    def ended(self, uuid: str) -> None:
        if os.getpid() != self._main_pid:
            child_runs.ended()
            return
        with self._lock:
            request = self._running.pop(uuid, None)
            if request is not None and not request.is_shown:
                self._ended_unseen[request.name] += 1

    def refresh(self) -> None:
        """Tell Celery which runs go on and how many have begun. Call it in Celery's main loop."""
        with self._lock:
            running = dict(self._running)
            fresh = [request for request in running.values() if not request.is_shown]
            for request in fresh:
                request.is_shown = True
            unseen, self._ended_unseen = self._ended_unseen, Counter()
        for request in [self._shown[uuid] for uuid in self._shown.keys() - running.keys()]:
            state.task_ready(request)
        for request in fresh:
            state.task_accepted(request)
        self._shown = running
        _count(unseen)
        self._refresh_children()

    def _refresh_children(self) -> None:
        for uuid in self._aliases:
            state.requests.pop(uuid, None)
        self._aliases = {}
        for request in list(state.active_requests):
            run = request.child_run if isinstance(request, WakeUpRequest) else None
            if run is not None:
                self._aliases[run.uuid] = request
        state.requests.update(self._aliases)
        counted, self._counted = self._counted, child_runs.count()
        if self._counted > counted:
            _count({"scheduler.runs": self._counted - counted})


class WakeUpRequest(Request):  # type: ignore[misc]
    """The request of a wake-up in a prefork worker. `Request` of its task names this class."""

    @property
    def child_run(self) -> ChildRun | None:
        """The run that the child which answers this wake-up has now."""
        return child_runs.of(self.worker_pid) if self.worker_pid else None

    def info(self, safe: bool = False) -> dict[str, Any]:
        info: dict[str, Any] = super().info(safe=safe)
        run = self.child_run
        if run is not None:
            info |= {
                "id": run.uuid,
                "name": run.name,
                "args": [run.execution_id],
                "kwargs": {},
                "type": run.name,
                "delivery_info": _delivery_info(run.queue),
            }
        return info


def _delivery_info(queue: str) -> dict[str, Any]:
    return {"exchange": "", "routing_key": queue, "priority": 0, "redelivered": False}


def _count(runs: dict[str, int]) -> None:
    """Runs that began and were not shown count as all others do."""
    state.total_count.update(runs)
    state.all_total_count[0] += sum(runs.values())
