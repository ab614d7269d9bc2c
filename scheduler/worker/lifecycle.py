"""How a worker starts, lives and ends: what Celery's signals and steps mean for jobu."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from queue import SimpleQueue
from typing import Any

from celery.signals import (
    celeryd_init,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
    worker_shutting_down,
)
from celery.utils.log import current_process_index
from celery.worker import state as worker_state
from django.db import close_old_connections

from handlers import child_processes
from scheduler import wakeups
from scheduler.clock import DatabaseClock, pause
from scheduler.conf import TASK_NAME, current
from scheduler.events import emit
from scheduler.limits import limit_connection, unlimit_connection
from scheduler.operations.celery_app import own_app
from scheduler.operations.queues import paused_names
from scheduler.store import heads
from scheduler.store.connection import database_now
from scheduler.worker import celery_steps, drained, heartbeat, process, revoking
from scheduler.worker.celery_view import CeleryView
from scheduler.worker.fetcher import WAKE_UPS
from scheduler.worker.heartbeat import Heartbeat
from scheduler.worker.process import WorkerProcess, board, drain
from scheduler.worker.ring import stderr_descriptor
from scheduler.worker.run_events import RunEvents
from scheduler.worker.run_requests import RunRequests

EXIT_BY_FORCE = 1
# How long after the last run had to end. The launcher and the documented units wait for 15 s.
FORCE_AFTER_SECONDS = 10.0
_DRAIN_NOTICE_SECONDS = 1.0
_WAKE_UP = signal.SIGWINCH
# A child that is told to stop in the middle of a run, and a worker's own last words.
_GOODBYE_SECONDS = 3.0

# The worker of Celery, as its main process knows it.
_worker: Any = None
_node_name = f"worker@{socket.gethostname()}"
_main_pid: int | None = None
_prefork_parent_pid: int | None = None
_heartbeat: Heartbeat | None = None
_requests: RunRequests | None = None
# Made at import and so before any fork.
events = RunEvents(
    board, page_of=lambda number: current().alerts.page_url(f"jobexecution/{number}/change/")
)
_has_said_draining = False
# How many children have something to do, as the heartbeat has seen it last.
_wanted_children = 0


@celeryd_init.connect  # type: ignore[untyped-decorator]
def _remember_worker(sender: str, instance: Any = None, **_: Any) -> None:
    global _node_name, _main_pid, _worker
    _node_name = sender
    _main_pid = os.getpid()
    _worker = instance
    _install(instance.app)


# --- the shape of this worker ---------------------------------------------------------------------


def fetches_in_thread() -> bool:
    """Whether one thread claims for this process: the pools threads and solo."""
    worker = process.existing()
    return worker is not None and os.getpid() == _main_pid


def poke(slot_at: datetime | None = None) -> None:
    """A wake-up has come to a process that fetches in a thread. `slot_at`: see Fetcher.poke."""
    worker = process.existing()
    if worker is not None:
        worker.fetcher.poke(slot_at)


def work() -> None:
    """A wake-up has come to the pool: a child runs what there is. Blocks.

    Outside of a worker, as with `task_always_eager`, it does nothing: the run waits for a worker.
    """
    if _prefork_parent_pid is not None:
        close_old_connections()
        limit_connection()
        _of_this_process().work(_must_return)
    elif fetches_in_thread():
        poke()


def _must_return() -> bool:
    """Whether a child goes back to Celery after its run, although there may be more to run."""
    if drain.hands_back_at() is not None or board.others_wait:
        return True
    kilobytes: int | None = getattr(_worker, "max_memory_per_child", None)
    if not kilobytes:
        return False
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > kilobytes


def _of_this_process() -> WorkerProcess:
    return process.process(_make)


def _make() -> WorkerProcess:
    pid = os.getpid()
    is_child = pid != _main_pid
    index = current_process_index(base=0) if is_child else None
    return WorkerProcess(
        f"{_node_name}:{pid}",
        is_child=is_child,
        places=1 if is_child else _places(),
        queues=_queues_of_rows,
        wake_others=_wake_others,
        slot=-1 if index is None else index,
        view=None if _requests is None else CeleryView(events, _requests),
    )


def _places() -> int:
    """How many runs at most this worker may have: `--concurrency`, or the larger of --autoscale."""
    return int(_worker.max_concurrency or _worker.concurrency)


def _queues_of_rows() -> Sequence[str]:
    """The queues that this worker consumes now, as executions name them. "" is the default one.

    Who serves that one delivers messages about alerts, too: no worker needs another `-Q` for them.
    None while a person has drained it.
    """
    if drain.is_by_person:
        return ()
    queues = board.queues
    if str(own_app().conf.task_default_queue) in queues:
        return (*queues, "", current().alerts.queue)
    return queues


def _wake_others(queue: str) -> None:
    wakeups.wake(queue, times=WAKE_UPS)


def _look(now: datetime | None) -> None:
    global _wanted_children
    if now is None:  # no child has anything to do while the database is away
        _wanted_children = 0
        return
    paused = paused_names(now)
    queues = [queue for queue in _queues_of_rows() if queue not in paused]
    _wanted_children = heads.count_runnable(now, queues, limit=_places())


# --- start ----------------------------------------------------------------------------------------


def _prepare(worker: Any) -> None:
    """Before the pool forks."""
    global _requests
    _requests = RunRequests(_node_name)


def _start(worker: Any) -> None:
    """The pool is there, the consumer is not yet."""
    global _heartbeat
    has_children = celery_steps.has_children(worker)
    board.queues = tuple(sorted(worker.app.amqp.queues.consume_from))
    events.start(worker.app, _node_name, monotonic=time.monotonic, has_children=has_children)
    if not has_children:
        _of_this_process().fetcher.start()
    places = _places() if has_children else _of_this_process().fetcher.places
    _heartbeat = Heartbeat(
        f"{_node_name}:{os.getpid()}",
        running=_running,
        figures=_figures,
        queues=_queues_of_rows,
        look=_look if has_children else None,
        before=_say_draining,
        places=places,
        drain=drained.obey,
    )
    _heartbeat.start()


def _running() -> int:
    worker = process.existing()
    if worker is not None:
        return worker.leases.running_task_count
    return sum(request.name == TASK_NAME for request in list(worker_state.active_requests))


def _figures() -> Mapping[str, Any]:
    worker = process.existing()
    return process.shared_figures.total() if worker is None else worker.figures()


# --- children -------------------------------------------------------------------------------------


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _in_child(**_: Any) -> None:
    """Prefork (and spawn) children get this signal. The threads pool does not send it.

    The solo pool sends it in the worker itself, which keeps Celery's own signal handlers.
    """
    global _prefork_parent_pid
    if os.getpid() == _main_pid:
        return
    process.forget_parent()
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
        _of_this_process()  # made now, so that the first run does not wait for it

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


# --- the end --------------------------------------------------------------------------------------


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    """SIGTERM: take no more runs. After `shutdown_timeout_seconds` the others are handed back.

    Celery calls it inside its handler of the signal. So it sets a flag, and the heartbeat says it.
    """
    if _main_pid is not None and os.getpid() != _main_pid:
        # A process that a handler has forked: it has the worker's signal handler and its flag.
        return
    _begin_drain()


def _begin_drain(seconds: float | None = None) -> None:
    """Take no more runs; hand back what runs longer. May be called in a handler of a signal."""
    if seconds is None:
        seconds = current().shutdown_timeout_seconds
    drain.set(DatabaseClock(database_now, 0).monotonic() + seconds)
    if _heartbeat is not None:
        _heartbeat.wake()


def _say_draining() -> None:
    global _has_said_draining
    if drain.until() is None or _has_said_draining:
        return
    _has_said_draining = True
    emit("worker.draining", seconds=current().shutdown_timeout_seconds)
    threading.Thread(target=_end_by_force, name="jobu-force", daemon=True).start()


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
    process.close()


def _close(worker: Any) -> None:
    """Take no more runs. `control shutdown` sends no signal before."""
    if drain.until() is None:
        _begin_drain()
    poke()


def _stop(worker: Any) -> None:
    """Wait until the runs of this process have ended, or were handed back. Children: their pool."""
    ours = process.existing()
    if ours is not None:
        settings = current()
        ours.fetcher.close()
        ours.fetcher.join(
            settings.shutdown_timeout_seconds + settings.grace_seconds + FORCE_AFTER_SECONDS
        )


def _terminate(worker: Any) -> None:
    """Hand back what runs, now."""
    _begin_drain(seconds=0)
    _stop(worker)


def _info(worker: Any) -> dict[str, Any]:
    return {
        "running": _running(),
        "queues": list(board.queues),
        "events": board.events_on,
        "draining": drain.hands_back_at() is not None,
    }


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _worker_ends(**_: Any) -> None:
    if _heartbeat is not None:
        _heartbeat.stop()
    process.close()
    if os.getpid() == _main_pid:
        events.close()


def _refresh_requests() -> None:
    if _requests is not None:
        _requests.refresh()


def _install(app: Any) -> None:
    """Give jobu's steps and commands to the workers of this app."""
    if celery_steps.Runs.hooks is not None:
        return  # another program drives runs in this worker, as tests/harness/fake_runs.py does
    celery_steps.Runs.hooks = celery_steps.RunsHooks(
        prepare=_prepare, start=_start, close=_close, stop=_stop, terminate=_terminate, info=_info
    )
    celery_steps.Watch.hooks = celery_steps.WatchHooks(
        board=board,
        task_name=TASK_NAME,
        on_change=poke,
        on_reconnect=events.broker_returned,
        refresh=_refresh_requests,
    )
    celery_steps.Feed.hooks = celery_steps.FeedHooks(
        task_name=TASK_NAME, how_many=lambda: _wanted_children
    )
    celery_steps.install(app)
    revoking.install(in_database=lambda: heartbeat.in_database())
