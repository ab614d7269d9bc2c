"""Messages to the workers. Each says only "there is work in this queue".

Workers find their work in the table, and look there every second. So a message that is lost or
comes twice does no harm, and no more than a few ever wait in a queue.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import uuid4

from celery import Celery

from scheduler import failpoints
from scheduler.clock import Clock
from scheduler.conf import TASK_NAME, current
from scheduler.events import emit

#: So many wake-ups may wait in a queue. More would wake nobody.
MOST_WAITING: Final = 4
#: The instant of a slot that is near, in seconds since 1970. A worker of before ignores it.
SLOT_HEADER: Final = "slot_at"
# So long a queue is not asked again how many wait in it. To ask costs as much as to send.
_KNOWN_SECONDS: Final = 0.2
# After a failure nothing is sent for a while: to the broker, or to a queue that it refuses.
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
# A broker that is silent for so long is away. By the driver of the transport.
_SOCKETS: Final[Mapping[str, Mapping[str, float]]] = {
    "redis": {"socket_timeout": 1, "socket_connect_timeout": 1},
    "amqp": {"connect_timeout": 1, "read_timeout": 1, "write_timeout": 1},
}
# The message of Celery without arguments. It is written by hand, because Celery would send an event
# with each one where `task_send_sent_event` is on.
_BODY: Final = b"[[], {}, {}]"
_NOT_FOUND: Final = 404


def slot_of(headers: Mapping[str, Any]) -> datetime | None:
    """The slot that a wake-up announces. Anybody may have sent it."""
    value = headers.get(SLOT_HEADER)
    if not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


class Sender(Protocol):
    def ready(self) -> bool:
        """False while the broker is known to be away. Then there is no use in sending."""

    def send(self, times: Mapping[str, int], slot_at: datetime | None = None) -> None:
        """Wake the workers of some queues; `times` says by how many messages at most.

        Queue "" is the default queue of the Celery app. `slot_at`: there is no work yet, and some
        is expected just after this instant.
        """


class _Away(Exception):
    """The broker does not answer, so no queue is to blame."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class CelerySender:
    """Sends through one connection, which is kept and made anew after a failure.

    An error of the connection means that the broker is away. Any other error is that of a queue:
    its name is a hash in Redis, is reserved by RabbitMQ, or is unknown to a project that makes no
    queues.
    """

    def __init__(self, app: Celery, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._connection: Any = None
        self._producer: Any = None
        self._looks: Any = None
        # How many messages wait in a queue at most, and when it was asked.
        self._known: dict[str, tuple[int, float]] = {}
        self._away_errors: tuple[type[Exception], ...] = (OSError,)
        self._failed_since: float | None = None
        self._closed_until = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        # Queues that the broker refused the last time, and when they are tried again.
        self._refused: dict[str, float] = {}

    def ready(self) -> bool:
        return self._clock.monotonic() >= self._closed_until

    @property
    def away_seconds(self) -> float | None:
        """For how long the broker takes no messages. None: it took the last one."""
        since = self._failed_since
        return None if since is None else self._clock.monotonic() - since

    def look(self) -> None:
        """Asks a broker that was away whether it is back, if nothing was to be sent for a while.

        Where something is, only a message that it takes says so.
        """
        if self._failed_since is None:
            return
        is_idle = self._clock.monotonic() >= self._closed_until + _LONGEST_PAUSE_SECONDS
        if is_idle and self.producer() is not None:
            self._recovered()

    def producer(self) -> Any:
        """A connected producer of kombu for other messages. None while the broker is away."""
        if self._producer is None and self.ready():
            try:
                self._connect()
            except _Away as away:
                self._fail(away.error)
        return self._producer

    def send(self, times: Mapping[str, int], slot_at: datetime | None = None) -> None:
        """See Sender. Blocks for two seconds at most where the broker is silent; raises nothing."""
        times = _without_alerts(times)
        # A queue that was refused costs a connection, so it comes after the others.
        for queue in sorted(times, key=lambda queue: (queue in self._refused, queue)):
            if self._clock.monotonic() < self._refused.get(queue, 0.0):
                continue
            try:
                self._wake(queue, times[queue], slot_at)
            except _Away as away:
                self._fail(away.error)
                return
            # Whatever the broker's client raises, the workers look into the table by themselves.
            except Exception as error:  # noqa: BLE001
                self._refuse(queue, error)
            else:
                self._refused.pop(queue, None)
                self._recovered()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._producer = self._looks = None
        self._known.clear()
        if connection is not None:
            # A broken connection may fail to close. It is dropped in any case.
            with contextlib.suppress(Exception):
                connection.release()

    def _wake(self, queue: str, times: int, slot_at: datetime | None) -> None:
        """Raises _Away without an answer of the broker, else what is wrong with the queue."""
        if self._producer is not None:
            try:
                return self._put(queue, times, slot_at)
            except self._away_errors:
                self.close()  # a connection that was kept for long may be closed by the other side
        self._connect()
        try:
            self._put(queue, times, slot_at)
        except self._away_errors as error:
            raise _Away(error) from error

    def _connect(self) -> None:
        try:
            self._connection = self._app.connection_for_write()
            self._connection.transport_options = {
                **self._connection.transport_options,
                **_SOCKETS.get(self._connection.transport.driver_type, {}),
            }
            # Connect first, because a channel that connects on demand tries for many seconds.
            self._connection.ensure_connection(
                max_retries=1, interval_start=0, interval_step=0, interval_max=0
            )
            self._away_errors = (*self._connection.connection_errors, OSError)
            self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)
        except Exception as error:
            raise _Away(error) from error

    def _put(self, queue_name: str, times: int, slot_at: datetime | None) -> None:
        queue = self._app.amqp.queues[queue_name or self._app.conf.task_default_queue]
        waiting, asked_at = self._known.get(queue.name, (0, -_KNOWN_SECONDS))
        if waiting >= MOST_WAITING or asked_at + _KNOWN_SECONDS <= self._clock.monotonic():
            waiting, asked_at = self._waiting(queue), self._clock.monotonic()
        count = max(0, min(times, MOST_WAITING - waiting))
        self._known[queue.name] = waiting + count, asked_at
        headers = {"lang": "py", "task": TASK_NAME, "ignore_result": True}
        if slot_at is not None:
            headers[SLOT_HEADER] = slot_at.timestamp()
        for _ in range(count):
            id_ = str(uuid4())
            self._producer.publish(
                _BODY,
                # Straight to the queue by its name. A route through the queue's own exchange is a
                # binding in the broker, which a FLUSHALL deletes.
                exchange="",
                routing_key=queue.name,
                headers={**headers, "id": id_},
                content_type="application/json",
                content_encoding="utf-8",
                correlation_id=id_,
                delivery_mode=1,  # it is not worth a disk
                retry=False,
            )
            failpoints.point("wakeup.sent")

    def _waiting(self, queue: Any) -> int:
        """How many messages wait in the queue, which is made if it is not there."""
        try:
            found = self._channel().queue_declare(queue=queue.name, passive=True)
            return int(found.message_count)
        except self._connection.channel_errors as error:
            if str(getattr(error, "reply_code", "")) != str(_NOT_FOUND):
                raise
        # Not by the producer's `declare`: that remembers a queue which was deleted meanwhile.
        queue(self._channel()).declare()
        return 0

    def _channel(self) -> Any:
        # RabbitMQ closes the channel of a question for a queue that is not there.
        if self._looks is None or not getattr(self._looks, "is_open", True):
            self._looks = self._connection.channel()
        return self._looks

    def _refuse(self, queue: str, error: Exception) -> None:
        self.close()
        if queue not in self._refused:
            emit("publish.refused", queue=queue, error=format_error(error))
        self._refused[queue] = self._clock.monotonic() + _LONGEST_PAUSE_SECONDS

    def _fail(self, error: Exception) -> None:
        """The broker is away: send nothing for a while, longer after each failure."""
        self.close()
        now = self._clock.monotonic()
        if self._failed_since is None:
            self._failed_since = now
            emit("publish.failed", error=format_error(error))
        self._closed_until = now + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def _recovered(self) -> None:
        if self._failed_since is not None:
            outage = self._clock.monotonic() - self._failed_since
            emit("publish.recovered", outage_seconds=outage)
            self._failed_since = None
            self._pause_seconds = _FIRST_PAUSE_SECONDS


def _without_alerts(times: Mapping[str, int]) -> Mapping[str, int]:
    """The queue of alerts is no queue of the broker: in most projects nobody would read it.

    The workers of the default queue serve it, and are woken for it.
    """
    alerts = current().alerts.queue
    if alerts not in times:
        return times
    others = {queue: count for queue, count in times.items() if queue != alerts}
    others[""] = max(times[alerts], others.get("", 0))
    return others


def format_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
