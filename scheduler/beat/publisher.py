"""Messages to the workers. Each says only "look at this execution"; losing or doubling one is
harmless.
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

# After a failure the broker is left alone for a while, so that ticks keep flowing.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0
# So many failures in a row, each on a fresh connection, and the broker is away: no row is to blame.
_FAILURES_OF_AN_OUTAGE = 2
# Of the executions that a queue refused, so many are named in a line.
_NAMED = 10


class Publisher(Protocol):
    def ready(self) -> bool:
        """False while the broker is known to be away; then nothing should be taken to publish."""

    def publish(self, hints: Sequence[Hint]) -> list[int]:
        """Send the hints, those of one queue in their order; gives the ids of executions that were
        not sent because the broker is away.

        One that the broker refuses while it takes others is not among them: asking again at once
        would not help it.
        """


class _Away(Exception):
    """No connection to the broker: no message is to blame."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class CeleryPublisher:
    """Sends through one connection and producer that are kept, and rebuilt after a failure.

    A message fails because the broker is away, or because the broker will not have it: its queue is
    a hash of Redis, a name that RabbitMQ keeps for itself, or was made with other arguments. What
    is tried next, on a fresh connection and for another queue if there is one, tells which.
    """

    def __init__(self, app: Celery, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._connection: Any = None
        self._producer: Any = None
        self._failed_since: float | None = None
        self._closed_until = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        # Queues that took nothing when they were tried last, and those of them that did so while
        # others took messages.
        self._failing: set[str] = set()
        self._refusing: set[str] = set()

    def ready(self) -> bool:
        return self._clock.monotonic() >= self._closed_until

    def producer(self) -> Any:
        """A connected producer of kombu, for other messages; None while the broker is away."""
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
        taking: set[str] = set()  # the queues that took what they were given last
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
            # Whatever the broker's client raises, the answer is the same: the row is published
            # again.
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

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            # A broken connection may fail to close; it is gone either way.
            with contextlib.suppress(Exception):
                connection.release()

    def _failing_last(self, hints: Iterable[Hint]) -> deque[Hint]:
        """So that a queue that takes nothing never stands before the others."""
        return deque(sorted(hints, key=lambda hint: hint.queue in self._failing))

    def _is_hopeless(self, queue: str, errors: Mapping[str, Exception], taking: Set[str]) -> bool:
        """It was tried just now, and is to blame: one more try costs one more connection."""
        if queue not in errors or queue in taking:
            return False
        return bool(taking) or queue in self._refusing

    def _blame(
        self, unsent: Iterable[Hint], errors: Mapping[str, Exception], taking: Set[str]
    ) -> None:
        """The broker took others: it is these that it will not have."""
        by_queue: dict[str, list[int]] = {}
        for hint in unsent:
            by_queue.setdefault(hint.queue, []).append(hint.execution_id)
        for queue, ids in by_queue.items():
            if queue not in taking:
                self._refusing.add(queue)
            named = ", ".join(map(str, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
            emit("publish.refused", queue=queue, executions=named, error=_told(errors[queue]))

    def _send(self, hint: Hint, *, once: bool) -> None:
        """Raises _Away without a connection, else whatever is wrong with this message.

        `once`: not again on a fresh connection when the one that was kept fails.
        """
        if self._producer is not None:
            try:
                return self._put(hint)
            # A kept connection may have died of old age.
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
            # Connected beforehand, because a channel made on demand tries for many seconds.
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
            # Straight to the queue by its name: a route through the queue's own exchange is a
            # binding in the broker, and is gone after a FLUSHALL.
            exchange="",
            routing_key=queue.name,
            declare=[queue],
            headers=message.headers,
            serializer="json",
            retry=False,
            **message.properties,
        )

    def _fail(self, error: Exception) -> None:
        """The broker is away: it is left alone for a while, ever longer."""
        self.close()
        now = self._clock.monotonic()
        if self._failed_since is None:
            self._failed_since = now
            emit("publish.failed", error=_told(error))
        self._closed_until = now + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
