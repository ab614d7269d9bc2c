"""Messages to the workers. Each says only "look at this execution".

A message that is lost or comes twice does no harm.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol

from celery import Celery

from scheduler import failpoints
from scheduler.clock import Clock
from scheduler.conf import TASK_NAME, TIME_LIMIT_MARGIN_SECONDS
from scheduler.events import emit
from scheduler.store.publishing import Hint

# After a failure nothing is sent for a while, so that ticks go on.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0
# So many failures in a row, each on a fresh connection, mean that the broker is away.
_FAILURES_OF_AN_OUTAGE = 2
# A broker that is silent for so long is away. By the driver of the transport.
_SOCKETS: Mapping[str, Mapping[str, float]] = {
    "redis": {"socket_timeout": 2, "socket_connect_timeout": 2},
    "amqp": {"connect_timeout": 2, "read_timeout": 2, "write_timeout": 2},
}
# How many of the executions that a queue refused are named in one log line.
_NAMED = 10


class Publisher(Protocol):
    def ready(self) -> bool:
        """False while the broker is known to be away. Then nothing should be taken to publish."""

    def publish(self, hints: Sequence[Hint]) -> list[int]:
        """Send the hints; those of one queue in their order.

        Returns the ids of the executions that could not be sent because the broker is away: they
        should be sent again soon. An execution that the broker refuses while it accepts others is
        not returned, because another try at once would not help.
        """

    def take_back(self) -> list[int]:
        """The executions of earlier calls that could not be sent, each once. They go out again."""


class _Away(Exception):
    """There is no connection to the broker, so no message is to blame."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class CeleryPublisher:
    """Sends through one connection and producer, which are kept and made anew after a failure.

    A message fails because the broker is away, or because the broker refuses it: the name of its
    queue is a hash in Redis, is reserved by RabbitMQ, or was declared with other arguments. The
    next try, on a fresh connection and for another queue if there is one, tells which.
    """

    def __init__(self, app: Celery, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._connection: Any = None
        self._producer: Any = None
        self._failed_since: float | None = None
        self._closed_until = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        # Queues whose last try failed; and those of them that failed while others worked.
        self._failing: set[str] = set()
        self._refusing: set[str] = set()

    def ready(self) -> bool:
        return self._clock.monotonic() >= self._closed_until

    def producer(self) -> Any:
        """A connected producer of kombu for other messages. None while the broker is away."""
        if self._producer is None and self.ready():
            try:
                self._connect()
            except _Away as away:
                self._fail(away.error)
        return self._producer

    def publish(self, hints: Sequence[Hint]) -> list[int]:
        unsent = {hint.execution_id: hint for hint in hints}
        waiting = self._failing_last(hints)
        errors: dict[str, Exception] = {}
        taking: set[str] = set()  # queues that accepted their last message
        failures = 0
        kept = self._producer
        while waiting:
            hint = waiting.popleft()
            if self._is_hopeless(hint.queue, errors, taking):
                continue
            try:
                self._send(hint, once=self._producer is not kept)
                failpoints.point("publish.sent")
            except _Away as away:
                self._fail(away.error)
                return list(unsent)
            # Whatever the broker's client raises, the row is published again.
            except Exception as error:  # noqa: BLE001
                errors[hint.queue] = error
                taking.discard(hint.queue)
                self._failing.add(hint.queue)
                if not taking and hint.queue not in self._refusing:
                    failures += 1
                if failures == _FAILURES_OF_AN_OUTAGE or (failures and not waiting):
                    self._fail(error)
                    return list(unsent)
                waiting = self._failing_last(waiting)
                continue
            failures = 0
            taking.add(hint.queue)
            self._failing.discard(hint.queue)
            self._refusing.discard(hint.queue)
            del unsent[hint.execution_id]
            emit("execution.published", execution_id=hint.execution_id)
        self._blame(unsent.values(), errors, taking)
        if taking and self._failed_since is not None:
            outage = self._clock.monotonic() - self._failed_since
            emit("publish.recovered", outage_seconds=outage)
            self._failed_since = None
            self._pause_seconds = _FIRST_PAUSE_SECONDS
        return []

    def take_back(self) -> list[int]:
        return []

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            # A broken connection may fail to close. It is dropped in any case.
            with contextlib.suppress(Exception):
                connection.release()

    def _failing_last(self, hints: Iterable[Hint]) -> deque[Hint]:
        """The hints in an order in which a failing queue never delays the others."""
        return deque(sorted(hints, key=lambda hint: hint.queue in self._failing))

    def _is_hopeless(self, queue: str, errors: Mapping[str, Exception], taking: Set[str]) -> bool:
        """True if the queue was tried just now and is to blame. Each try costs a connection."""
        if queue not in errors or queue in taking:
            return False
        return bool(taking) or queue in self._refusing

    def _blame(
        self, unsent: Iterable[Hint], errors: Mapping[str, Exception], taking: Set[str]
    ) -> None:
        """Report what was not sent although the broker accepted other messages."""
        by_queue: dict[str, list[int]] = {}
        for hint in unsent:
            by_queue.setdefault(hint.queue, []).append(hint.execution_id)
        for queue, ids in by_queue.items():
            if queue not in taking:
                self._refusing.add(queue)
            named = ", ".join(map(str, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
            emit(
                "publish.refused", queue=queue, executions=named, error=format_error(errors[queue])
            )

    def _send(self, hint: Hint, *, once: bool) -> None:
        """Send one message. Raises _Away without a connection, else what is wrong with it.

        `once`: do not try again on a fresh connection when the kept one fails.
        """
        if self._producer is not None:
            try:
                return self._put(hint)
            # A connection that was kept for long may be closed by the other side.
            except Exception:
                self.close()
                if once:
                    raise
        self._connect()
        try:
            self._put(hint)
        except Exception:
            self.close()
            raise

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
            self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)
        except Exception as error:
            raise _Away(error) from error

    def _put(self, hint: Hint) -> None:
        amqp = self._app.amqp
        queue = amqp.queues[hint.queue or self._app.conf.task_default_queue]
        message = amqp.as_task_v2(
            hint.task_id,
            TASK_NAME,
            (hint.execution_id,),
            {},
            time_limit=hint.timeout_seconds + TIME_LIMIT_MARGIN_SECONDS,
            shadow=hint.handler_name,
            ignore_result=True,
        )
        self._producer.publish(
            message.body,
            # Straight to the queue by its name. A route through the queue's own exchange is a
            # binding in the broker, which a FLUSHALL deletes.
            exchange="",
            routing_key=queue.name,
            declare=[queue],
            headers=message.headers,
            serializer="json",
            retry=False,
            **message.properties,
        )

    def _fail(self, error: Exception) -> None:
        """The broker is away: send nothing for a while, longer after each failure."""
        self.close()
        now = self._clock.monotonic()
        if self._failed_since is None:
            self._failed_since = now
            emit("publish.failed", error=format_error(error))
        self._closed_until = now + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


def format_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
