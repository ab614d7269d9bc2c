"""The entrance of the worker: the one Celery task, and how a worker process starts and ends.

Two shapes (docs/architecture.md). A prefork child runs one execution at a time and ends alone. A
process of the threads pool runs hundreds on one loop, and ends as a whole when one of them cannot
be stopped.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import threading
from contextlib import suppress
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from celery import shared_task
from celery.signals import (
    celeryd_init,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from celery.worker import state as worker_state
from django.db import DatabaseError, close_old_connections, connection

from dbpools import DatabaseRegistry
from handlers import child_processes
from scheduler.clock import DatabaseClock, pause
from scheduler.conf import TASK_NAME, current
from scheduler.events import emit
from scheduler.limits import limit_connection, unlimit_connection
from scheduler.states import ProcessKind
from scheduler.store import processes
from scheduler.store.connection import database_now
from scheduler.worker.bridge import Bridge
from scheduler.worker.django_connections import DjangoConnections
from scheduler.worker.executor import Executor
from scheduler.worker.lease import DrainFlag, LeaseKeeper
from scheduler.worker.ring import Ring, stderr_descriptor

# The supervisor should start another one, at once (jobu_project/launcher/supervisor.py).
EXIT_FOR_RESTART = os.EX_TEMPFAIL
EXIT_BY_FORCE = 1
# How long after the last run had to end. The launcher and the documented units wait for 15 s.
FORCE_AFTER_SECONDS = 10.0
_CLOCK_AGE_SECONDS = 10
_DRAIN_NOTICE_SECONDS = 1.0
_FORK_WAITS_SECONDS = 5.0
_WAKE_UP = signal.SIGWINCH
_NO_LIMIT_SECONDS = 2_000_000


class WorkerProcess:
    """What one process needs to run executions. All of it is made after the fork."""

    def __init__(self, owner: str, *, is_child: bool) -> None:
        self._is_child = is_child
        clock = DatabaseClock(database_now, max_age_seconds=_CLOCK_AGE_SECONDS)
        self.ring = Ring(lambda: current().lease_seconds, self._end)
        self.bridge = Bridge()
        self.leases = LeaseKeeper(
            clock=clock,
            loop_answers=self.bridge.answers,
            describe_loop=lambda: (self.bridge.loop_task_name(), self.bridge.loop_stack()),
            drain=drain,
        )
        self.executor = Executor(
            clock=clock,
            bridge=self.bridge,
            leases=self.leases,
            owner=owner,
            end_process=self._end,
            hooks=DjangoConnections(),
        )
        settings = current()
        self.places = threading.BoundedSemaphore(settings.pool_size)
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

    def close(self) -> None:
        self.leases.close()
        self.bridge.close()
        self.ring.close()

    def _end(self, reason: str) -> NoReturn:
        # They would go on without this process, beside the next attempts of their runs.
        child_processes.kill_all()
        if self._is_child:
            # Celery's pool replaces a killed child. An orderly end would wait for the stuck thread.
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(EXIT_FOR_RESTART)


# Made at import and so before any fork: children read what the parent writes.
drain = DrainFlag()
_lock = threading.Lock()
_process: tuple[int, WorkerProcess] | None = None
_node_name = f"worker@{socket.gethostname()}"
_main_pid: int | None = None
_prefork_parent_pid: int | None = None
_heartbeat_stop = threading.Event()
# Wakes the heartbeat. A handler of a signal may call put() of a SimpleQueue, and no method of an
# Event or a logger, whose lock its own thread may hold.
_heartbeat_wake: SimpleQueue[None] = SimpleQueue()
_heartbeat: threading.Thread | None = None
# Held by the heartbeat while it uses the database, and during a fork: see _before_fork.
_in_database = threading.Lock()
_fork_waited = False


def process() -> WorkerProcess:
    """The WorkerProcess of this process, made at the first call."""
    global _process
    with _lock:
        pid = os.getpid()
        if _process is None or _process[0] != pid:
            is_child = _prefork_parent_pid is not None and _prefork_parent_pid != pid
            _process = (pid, WorkerProcess(f"{_node_name}:{pid}", is_child=is_child))
        return _process[1]


@shared_task(  # type: ignore[untyped-decorator]
    name=TASK_NAME,
    ignore_result=True,
    # A project's own task_acks_late and time limits do not hold for this task. None and 0 would
    # mean "as configured". The message has the limit of its run.
    acks_late=False,
    max_retries=0,
    soft_time_limit=_NO_LIMIT_SECONDS,
    time_limit=_NO_LIMIT_SECONDS + 1,
)
def execute(*args: Any, **kwargs: Any) -> None:
    """Run the execution that the message names.

    Accepts any arguments, because anybody who can reach the broker can send the message.
    """
    worker = process()
    limit_connection()
    with worker.places:
        worker.executor.execute(args[0] if len(args) == 1 and not kwargs else args)


@celeryd_init.connect  # type: ignore[untyped-decorator]
def _remember_node(sender: str, instance: Any = None, **_: Any) -> None:
    global _node_name, _main_pid
    _node_name = sender
    _main_pid = os.getpid()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_heartbeat(**_: Any) -> None:
    global _heartbeat
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
    _heartbeat = threading.Thread(target=_keep_alive_row, name="jobu-heartbeat", daemon=True)
    _heartbeat.start()


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


def _keep_alive_row() -> None:
    """Keep the worker's row in scheduler_process fresh. Trouble with it disturbs no run."""
    name = f"{_node_name}:{os.getpid()}"
    started_at: datetime | None = None
    has_said_draining = False
    limit_connection()
    while True:
        if drain.until() is not None and not has_said_draining:
            has_said_draining = True
            emit("worker.draining", seconds=current().shutdown_timeout_seconds)
            threading.Thread(target=_end_by_force, name="jobu-force", daemon=True).start()
        with _in_database:
            try:
                now = database_now()
                started_at = started_at or now
                processes.heartbeat(
                    name=name,
                    kind=ProcessKind.WORKER,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    started_at=started_at,
                    running=len(worker_state.active_requests),
                    now=now,
                )
                if _heartbeat_stop.is_set():
                    processes.forget_process(name)
            except DatabaseError:
                pass  # a stale heartbeat tells enough
            finally:
                # Closed each time: a child that is forked now must not inherit an open socket.
                connection.close()
        if _heartbeat_stop.is_set():
            return
        with suppress(Empty):
            _heartbeat_wake.get(timeout=min(5.0, current().heartbeat_seconds))


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _in_child(**_: Any) -> None:
    """Prefork (and spawn) children get this signal. The threads pool does not send it.

    The solo pool sends it in the worker itself, which keeps Celery's own signal handlers.
    """
    global _lock, _prefork_parent_pid
    if os.getpid() == _main_pid:
        return
    _lock = threading.Lock()
    _prefork_parent_pid = os.getppid()
    # The pool installs its own SIGTERM handler right after this hook, unless the signal is ignored.
    # Ours must come later, and only the main thread may install it. So a timer sends that thread
    # another signal, one that the pool does not use.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    terminations: SimpleQueue[None] = SimpleQueue()

    def install(*_: Any) -> None:
        signal.signal(_WAKE_UP, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda *_: terminations.put(None))

    signal.signal(_WAKE_UP, install)
    main_thread = threading.get_ident()

    def settle() -> None:
        threading.Thread(
            target=_end_when_terminated, args=(terminations,), name="jobu-sigterm", daemon=True
        ).start()
        signal.pthread_kill(main_thread, _WAKE_UP)
        process()  # made now, so that the first run does not wait for it

    timer = threading.Timer(0.2, settle)
    timer.daemon = True
    timer.start()


def _end_when_terminated(terminations: SimpleQueue[None]) -> None:
    """SIGTERM in a child. End at once, unless the whole worker drains. Runs in a thread.

    A SIGTERM to the process group must not kill a child during its run, nor while it holds a lock
    of the pool, for which the parent would wait for ever. A worker that drains ends its children
    itself. A SIGTERM to one child alone is Celery's time limit.
    """
    while True:
        terminations.get()
        if not _drain_is_announced():
            os._exit(128 + signal.SIGTERM)


def _drain_is_announced() -> bool:
    """True if the parent drains. It gets the same signal, and may be slower to set the flag."""
    for _ in range(20):
        if drain.until() is not None:
            return True
        pause(_DRAIN_NOTICE_SECONDS / 20)
    return False


@task_prerun.connect  # type: ignore[untyped-decorator]
def _check_connections(task: Any = None, **_: Any) -> None:
    """Check the connections before a task of the project. Our own task checks them itself."""
    if getattr(task, "name", "") != TASK_NAME and not getattr(task.request, "is_eager", False):
        close_old_connections()
        unlimit_connection()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    """SIGTERM: take no more runs. After `shutdown_timeout_seconds` the others are handed back.

    Celery calls it inside its handler of the signal. So it sets a flag, and the heartbeat says it.
    """
    if _main_pid is not None and os.getpid() != _main_pid:
        # A process that a handler has forked: it has the worker's signal handler and its flag.
        return
    drain.set(DatabaseClock(database_now, 0).monotonic() + current().shutdown_timeout_seconds)
    _heartbeat_wake.put(None)


def _end_by_force() -> None:
    """End this worker if it has not ended in time: its pool may wait for a child that is stuck."""
    settings = current()
    seconds = settings.shutdown_timeout_seconds + settings.grace_seconds + FORCE_AFTER_SECONDS
    pause(seconds)
    emit("worker.ended_by_force", seconds=seconds)
    descriptor = stderr_descriptor()
    if descriptor is not None:
        faulthandler.dump_traceback(descriptor)  # where it hangs
    child_processes.kill_all()
    os._exit(EXIT_BY_FORCE)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _child_ends(**_: Any) -> None:
    _close()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _worker_ends(**_: Any) -> None:
    _heartbeat_stop.set()
    _heartbeat_wake.put(None)
    if _heartbeat is not None:
        _heartbeat.join(5)
    _close()


def _close() -> None:
    global _process
    if _process is not None and _process[0] == os.getpid():
        worker, _process = _process[1], None
        worker.close()
