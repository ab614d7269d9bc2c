"""jobu's steps in the start and end of a Celery worker.

`Runs` belongs to the worker: it starts after the pool, and ends after the consumer and before the
pool. `Watch` and `Feed` belong to the consumer, which starts anew with each connection to the
broker. The steps call hooks, and a step without hooks is left out. No setting of Celery is needed.

With prefork nothing here opens a connection before the pool forks.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from celery import Celery, bootsteps
from celery.concurrency.prefork import TaskPool
from celery.worker import state
from kombu.message import Message

from scheduler.events import emit
from scheduler.worker.board import Board, BoardFullError

_LOOK_SECONDS: Final = 1.0
_COUNT_SECONDS: Final = 0.2
_FEED_SECONDS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class RunsHooks:
    """What the worker does for runs, in its main thread. Each gets Celery's WorkController.

    prepare    before the pool forks: makes what children share, opens no connection
    start      the pool has its first children
    close      take no more runs; must not block
    stop       wait for the runs, hand back those that do not end; blocks for as long
    terminate  the same without waiting for the runs (SIGQUIT)
    info       what `celery inspect stats` shows below "jobu"
    """

    prepare: Callable[[Any], None]
    start: Callable[[Any], None]
    close: Callable[[Any], None]
    stop: Callable[[Any], None]
    terminate: Callable[[Any], None]
    info: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class WatchHooks:
    """What the consumer's news are for. All is called in Celery's main loop, and must not block.

    on_change     the worker consumes other queues than before
    on_reconnect  there is another connection to the broker: RunEvents.broker_returned
    refresh       every 0.2 s: RunRequests.refresh
    """

    board: Board
    task_name: str
    on_change: Callable[[], None]
    on_reconnect: Callable[[], None]
    refresh: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class FeedHooks:
    """`how_many`: so many children could find a run now. Returns at once what is known."""

    task_name: str
    how_many: Callable[[], int]


def install(app: Celery) -> None:
    """Give the steps to every worker of the app. Does nothing the second time."""
    app.steps["worker"].add(Runs)
    app.steps["consumer"].update((Watch, Feed))


def has_children(worker: Any) -> bool:
    """True if the tasks of the worker run in processes of its own: the prefork pool."""
    return isinstance(worker.pool_cls, type) and issubclass(worker.pool_cls, TaskPool)


class Runs(bootsteps.StartStopStep):  # type: ignore[misc]
    """From the first claim to the last end of a run."""

    requires = ("celery.worker.components:Pool",)
    hooks: ClassVar[RunsHooks | None] = None

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        if self.hooks is not None:
            self.hooks.prepare(worker)

    def include_if(self, worker: Any) -> bool:
        return self.hooks is not None

    def start(self, worker: Any) -> None:
        self._hooks.start(worker)

    def close(self, worker: Any) -> None:
        self._hooks.close(worker)

    def stop(self, worker: Any) -> None:
        self._hooks.stop(worker)

    def terminate(self, worker: Any) -> None:
        self._hooks.terminate(worker)

    def info(self, worker: Any) -> dict[str, Any]:
        return {"jobu": self._hooks.info(worker)}

    @property
    def _hooks(self) -> RunsHooks:
        assert self.hooks is not None  # without them the step is not included
        return self.hooks


class Watch(bootsteps.StartStopStep):  # type: ignore[misc]
    """Writes on the board what only the consumer knows, and keeps Celery's view of runs fresh."""

    requires = ("celery.worker.consumer.tasks:Tasks", "celery.worker.consumer.events:Events")
    hooks: ClassVar[WatchHooks | None] = None

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timers: list[Any] = []
        self._is_waiting = False
        self._refused: frozenset[str] = frozenset()
        # Celery calls it for each task that arrives. A set: adding it again does nothing.
        consumer.on_task_message.add(self._count_others)

    def include_if(self, consumer: Any) -> bool:
        return self.hooks is not None

    def start(self, consumer: Any) -> None:
        self._look(consumer)
        if consumer.restart_count > 0:
            self._hooks.on_reconnect()
        self._timers = [
            consumer.timer.call_repeatedly(_LOOK_SECONDS, self._look, (consumer,)),
            consumer.timer.call_repeatedly(_COUNT_SECONDS, self._count, (consumer,)),
        ]

    def stop(self, consumer: Any) -> None:
        for timer in self._timers:
            consumer.timer.cancel(timer)
        self._timers = []

    shutdown = stop

    @property
    def _hooks(self) -> WatchHooks:
        assert self.hooks is not None  # without them the step is not included
        return self.hooks

    def _look(self, consumer: Any) -> None:
        board = self._hooks.board
        dispatcher = consumer.event_dispatcher  # None while the consumer stops
        board.events_on = bool(
            dispatcher
            and dispatcher.enabled
            and (not dispatcher.groups or "task" in dispatcher.groups)
        )
        queues = tuple(sorted(consumer.app.amqp.queues.consume_from))
        if queues != board.queues and frozenset(queues) != self._refused:
            try:
                board.queues = queues
            except BoardFullError as error:
                self._refused = frozenset(queues)
                emit("queues.too_long", error=error)
            else:
                self._hooks.on_change()

    def _count(self, consumer: Any) -> None:
        self._count_others()
        if consumer.hub is not None:
            self._hooks.refresh()
        elif not self._is_waiting:
            # Without a hub timers have a thread of their own. This goes to the main loop.
            self._is_waiting = True
            consumer.call_soon(self._refresh)

    def _refresh(self) -> None:
        self._is_waiting = False
        self._hooks.refresh()

    def _count_others(self, request: Any = None) -> None:
        """Count the requests of other tasks that wait for the pool."""
        hooks = self.hooks
        if hooks is None:
            return
        with suppress(RuntimeError):  # without a hub the main loop may change the set just now
            hooks.board.others_wait = sum(
                request.name != hooks.task_name
                for request in state.reserved_requests
                if request not in state.active_requests
            )


class Feed(bootsteps.StartStopStep):  # type: ignore[misc]
    """Wakes idle children of a prefork worker without a message, because messages may be lost.

    It does not work while the broker is away: then the consumer is stopped.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    hooks: ClassVar[FeedHooks | None] = None

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None

    def include_if(self, consumer: Any) -> bool:
        return self.hooks is not None and has_children(consumer.controller)

    def start(self, consumer: Any) -> None:
        self._timer = consumer.timer.call_repeatedly(_FEED_SECONDS, self._feed, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            consumer.timer.cancel(self._timer)
            self._timer = None

    shutdown = stop

    def _feed(self, consumer: Any) -> None:
        hooks = self.hooks
        strategy = None if hooks is None else consumer.strategies.get(hooks.task_name)
        if hooks is None or strategy is None or consumer.blueprint.state != bootsteps.RUN:
            return
        idle = consumer.pool.num_processes - len(state.reserved_requests)
        for _ in range(min(idle, hooks.how_many()) if idle > 0 else 0):
            strategy(_wake_up(hooks.task_name), None, _no_answer, _no_answer, [])


def _wake_up(task_name: str) -> Message:
    """A message as the broker would have delivered it, without arguments."""
    task_id = str(uuid.uuid4())
    return Message(  # type: ignore[no-untyped-call]
        body=b"[[], {}, {}]",
        content_type="application/json",
        content_encoding="utf-8",
        headers={
            "task": task_name,
            "id": task_id,
            "lang": "py",
            "argsrepr": "()",
            "kwargsrepr": "{}",
        },
        properties={"correlation_id": task_id, "reply_to": "", "delivery_info": {}},
        delivery_info={"routing_key": "", "exchange": ""},
        delivery_tag=task_id,
        channel=None,
    )


def _no_answer(*_: Any, **__: Any) -> None:
    """There is no message to acknowledge or reject."""
