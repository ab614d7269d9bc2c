"""Events of runs on their way to Flower: one thread, with a connection to the broker of its own.

Many events go in one message, as Celery's own workers do it. A message with one event costs as much
as a list of a hundred.

While the broker is away events are lost, as Celery's are. Only final events are kept and sent
again: without its final event a run would stay STARTED in Flower for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum, auto
from queue import Empty, SimpleQueue
from typing import Any, Final

from celery import Celery
from celery.events import get_exchange
from celery.utils.time import utcoffset

from scheduler.clock import pause
from scheduler.events import emit

Event = dict[str, Any]

FINAL: Final = frozenset({"task-succeeded", "task-failed", "task-revoked"})

_MESSAGE_EVENTS: Final = 500
_COLLECT_SECONDS: Final = 0.02
# So many events wait for the thread. Further ones are lost.
_WAITING: Final = 20_000
# So many final events are kept to be sent again.
_KEPT: Final = 3_000
# So many runs whose names are known.
_NAMES: Final = 10_000
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
# A broker that was killed has lost what it took last.
_DOUBTFUL_SECONDS: Final = 5.0
# A short outage that only the worker's own connection has seen began at most so long ago.
_UNKNOWN_SECONDS: Final = 60.0
# Flower connects again later than we do: it doubles its pauses. Nobody receives what was sent
# meanwhile. So what was sent since the outage is sent again, so many seconds after it.
_REPEAT_AFTER_SECONDS: Final = (5.0, 15.0, 60.0)
# No operation on the broker's socket takes longer. By the driver of the transport.
_SOCKETS: Final[Mapping[str, Mapping[str, float]]] = {
    "redis": {"socket_timeout": 5, "socket_connect_timeout": 3},
    "amqp": {"connect_timeout": 3, "read_timeout": 5, "write_timeout": 5},
}


class _Signal(Enum):
    RETURNED = auto()
    CLOSE = auto()


class EventSender:
    """Sends events of tasks in the name of the worker `hostname`. `monotonic` in seconds."""

    def __init__(self, app: Celery, hostname: str, *, monotonic: Callable[[], float]) -> None:
        self._app = app
        self._hostname = hostname
        self._monotonic = monotonic
        self._queue: SimpleQueue[Event | _Signal] = SimpleQueue()
        self._connection: Any = None
        self._producer: Any = None
        self._exchange: Any = None
        # Final events that the broker has taken, and when.
        self._sent: deque[tuple[float, Event]] = deque(maxlen=_KEPT)
        self._unsent: deque[Event] = deque(maxlen=_KEPT)
        self._failed_since: float | None = None
        self._not_before = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._repeat_since = 0.0
        self._repeat_at: list[float] = []
        self._closes = False
        self._names: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="jobu-events", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Send an event soon. Any thread may call it. Never blocks, never raises."""
        if self._queue.qsize() < _WAITING:
            self._queue.put(event)

    def broker_returned(self) -> None:
        """The worker has lost its connection and has another one. Any thread may call it."""
        self._queue.put(_Signal.RETURNED)

    def close(self, seconds: float = 2.0) -> None:
        """Send what waits and end. Blocks for at most `seconds`."""
        self._queue.put(_Signal.CLOSE)
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._closes:
            events = self._collect()
            if self._monotonic() < self._not_before and not self._closes:
                self._keep(events)
                continue
            kept, self._unsent = list(self._unsent), deque(maxlen=_KEPT)
            self._send_all([*kept, *events], are_new=True)
            if self._repeat_at and self._monotonic() >= self._repeat_at[0]:
                del self._repeat_at[0]
                again = [event for at, event in self._sent if at >= self._repeat_since]
                self._send_all(again, are_new=False)
        self._disconnect()

    def _collect(self) -> list[Event]:
        """Wait for events, and a moment longer for those that come right after them."""
        events: list[Event] = []
        try:
            item = self._queue.get(timeout=self._next_alarm_seconds())
            if item is not _Signal.CLOSE:
                pause(_COLLECT_SECONDS)
            while True:
                if item is _Signal.CLOSE:
                    self._closes = True
                    return events
                if item is _Signal.RETURNED:
                    self._repeat_later(since=self._monotonic() - _UNKNOWN_SECONDS)
                else:
                    self._complete(item)
                    events.append(item)
                if len(events) >= _MESSAGE_EVENTS:
                    return events
                item = self._queue.get_nowait()
        except Empty:
            return events

    def _next_alarm_seconds(self) -> float | None:
        """Seconds until something is to be sent again. None: nothing is."""
        alarms = [*self._repeat_at[:1], *([self._not_before] if self._unsent else [])]
        return max(0.01, min(alarms) - self._monotonic()) if alarms else None

    def _complete(self, event: Event) -> None:
        """Add what all events have, and the name: Flower may have missed the event that has it."""
        uuid = event["uuid"]
        if "name" in event:
            self._names[uuid] = event["name"]
            if len(self._names) > _NAMES:  # children that were killed have sent no final event
                del self._names[next(iter(self._names))]
        elif uuid in self._names:
            event["name"] = self._names[uuid]
        if event["type"] in FINAL:
            self._names.pop(uuid, None)
        event |= {
            "hostname": self._hostname,
            "utcoffset": utcoffset(),
            "clock": self._app.clock.forward(),
        }

    def _send_all(self, events: Sequence[Event], *, are_new: bool) -> None:
        for start in range(0, len(events), _MESSAGE_EVENTS):
            batch = events[start : start + _MESSAGE_EVENTS]
            try:
                self._send(batch)
            # Whatever the broker's client raises, this thread goes on.
            except Exception as error:  # noqa: BLE001
                return self._failed(error, events[start:])
            self._succeeded(batch, is_new=are_new)
        return None

    def _send(self, batch: Sequence[Event]) -> None:
        if self._producer is None:
            self._connect()
        self._producer.publish(
            batch,
            routing_key="task.multi",
            exchange=self._exchange.name,
            declare=[self._exchange],
            headers={"hostname": self._hostname},
            delivery_mode=1,
            retry=False,
        )

    def _connect(self) -> None:
        # Without heartbeats: this thread would not send them, and the broker would close.
        self._connection = connection = self._app.connection_for_write()
        connection.transport_options = {
            **connection.transport_options,
            **_SOCKETS.get(connection.transport.driver_type, {}),
        }
        connection.ensure_connection(
            max_retries=1, interval_start=0, interval_step=0, interval_max=0
        )
        self._exchange = get_exchange(connection, name=self._app.conf.event_exchange)
        self._producer = self._app.amqp.Producer(
            connection,
            exchange=self._exchange,
            serializer=self._app.conf.event_serializer,
            auto_declare=False,
        )

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(Exception):  # a broken connection may fail to close
                connection.release()

    def _keep(self, events: Iterable[Event]) -> None:
        self._unsent.extend(event for event in events if event["type"] in FINAL)

    def _succeeded(self, batch: Sequence[Event], *, is_new: bool) -> None:
        now = self._monotonic()
        if self._failed_since is not None:
            emit("events.recovered", outage_seconds=now - self._failed_since)
            self._failed_since = None
            self._pause_seconds = _FIRST_PAUSE_SECONDS
            self._repeat_later(since=now)
        if is_new:
            self._sent.extend((now, event) for event in batch if event["type"] in FINAL)

    def _repeat_later(self, *, since: float) -> None:
        self._repeat_since = since
        self._repeat_at = [self._monotonic() + seconds for seconds in _REPEAT_AFTER_SECONDS]

    def _failed(self, error: Exception, events: Sequence[Event]) -> None:
        self._disconnect()
        now = self._monotonic()
        if self._failed_since is None:
            self._failed_since = now
            self._unsent.extend(event for at, event in self._sent if at > now - _DOUBTFUL_SECONDS)
            emit("events.failed", error=f"{type(error).__name__}: {error}")
        self._keep(events)
        self._not_before = now + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
