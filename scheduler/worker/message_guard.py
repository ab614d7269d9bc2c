"""The guard before Celery's consumer: what is no task is dropped, and the worker goes on.

Whoever reaches the broker may put anything into a queue. Celery expects messages that Celery has
sent. Many others end the worker, and on RabbitMQ such a message returns to its queue and ends the
next worker too. The guard is a step of Celery's consumer, so it works for every transport, in
jobu's own Celery app and in every other that imports `scheduler.tasks`.

It stands at four places, in the order in which a message passes them:

1. where the transport reads a message (Redis, files and other transports that kombu emulates);
2. where Celery makes a task of it;
3. where Celery gives the task to its pool;
4. where Celery reads what other workers say of themselves (gossip).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import bootsteps
from celery.signals import celeryd_init
from celery.utils.log import get_logger
from celery.worker.state import task_ready
from kombu.transport import virtual

from scheduler.conf import TASK_NAME
from scheduler.events import emit

# What reading JSON, with kombu's additions to it, raises on something else.
_NO_JSON = (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
# What reading base64 and the fields of a message raises on something else.
_UNREADABLE = (*_NO_JSON, LookupError)
# jobu's own message is empty. A project's own tasks may be as long as the project likes.
_LONGEST_OWN_BODY = 64 * 1024
_TEXTS = ("id", "root_id", "parent_id", "group", "shadow", "argsrepr", "kwargsrepr", "origin")
_MOST_SECONDS = 10**9

logger = get_logger(__name__)


@celeryd_init.connect  # type: ignore[untyped-decorator]
def _install(instance: Any = None, **_: Any) -> None:
    """Give the guard to the worker that starts, whatever its Celery app is."""
    instance.app.steps["consumer"].add(MessageGuard)


class MessageGuard(bootsteps.StartStopStep):  # type: ignore[misc]
    requires = (
        "celery.worker.consumer.tasks:Tasks",
        "celery.worker.consumer.gossip:Gossip",
    )

    def __init__(self, consumer: Any, **options: Any) -> None:
        """Runs once per worker. Celery asks for a task handler at each new connection."""
        super().__init__(consumer, **options)
        make_handler = consumer.create_task_handler
        consumer.create_task_handler = lambda: _guard_tasks(consumer, make_handler())
        controller = consumer.controller
        controller._process_task = _guard_places(consumer, controller._process_task)
        # Celery makes this step in every worker, also in one that does not gossip.
        consumer.gossip.on_message = _guard_gossip(consumer, consumer.gossip.on_message)

    def start(self, consumer: Any) -> None:
        """Runs for each new connection, which has a transport of its own."""
        transport = consumer.connection.transport
        if isinstance(transport, virtual.Transport):
            _guard_transport(consumer, transport)


# 1. Where the transport reads a message


def _guard_transport(consumer: Any, transport: Any) -> None:
    deliver = transport._deliver
    trouble = _errors_of_the_connection(consumer)

    @wraps(deliver)
    def deliver_if_it_is_a_message(message: Any, queue: str) -> None:
        reason = _why_no_message(message)
        if reason is not None:
            return _dropped(reason)
        try:
            deliver(message, queue)
        except trouble:
            raise
        except _UNREADABLE as error:
            _dropped(f"kombu can make no message of it ({type(error).__name__})")

    transport._deliver = deliver_if_it_is_a_message
    # Celery reads from Redis with its event loop, from the others by drain_events().
    if transport.implements.asynchronous:
        transport.cycle.on_readable = _survive(consumer, transport.cycle.on_readable)
    transport.drain_events = _survive(consumer, transport.drain_events)


def _why_no_message(message: Any) -> str | None:
    """Why kombu cannot use what was read. None: it can.

    A message that the worker has to put back when it ends needs its place and its tag.
    """
    if not isinstance(message, dict) or not isinstance(message.get("properties"), dict):
        return "it is no mapping with properties"
    if not isinstance(message.get("headers", {}), dict):
        return "its headers are no mapping"
    properties = message["properties"]
    place = properties.get("delivery_info")
    if not isinstance(place, dict):
        return "it does not say where it was sent"
    if not all(isinstance(place.get(key), str) for key in ("exchange", "routing_key")):
        return "it does not say where it was sent"
    if not isinstance(properties.get("delivery_tag"), str | int):
        return "its delivery tag is no text"
    return None


def _survive(consumer: Any, read: Callable[..., Any]) -> Callable[..., Any]:
    """`read`, which takes something unreadable for nothing."""
    trouble = _errors_of_the_connection(consumer)

    @wraps(read)
    def read_on(*args: Any, **kwargs: Any) -> Any:
        try:
            return read(*args, **kwargs)
        except trouble:
            raise
        except _NO_JSON as error:
            return _dropped(f"it is no JSON ({type(error).__name__})")

    return read_on


# 2. Where Celery makes a task of it


def _guard_tasks(consumer: Any, make_task: Callable[[Any], Any]) -> Callable[[Any], Any]:
    trouble = _errors_of_the_connection(consumer)

    def on_message(message: Any) -> Any:
        reason = _why_no_task(message)
        try:
            if reason is None:
                return make_task(message)
            _dropped(reason)
        except trouble:
            raise
        except Exception as error:  # noqa: BLE001  whatever Celery does with what a stranger sent
            _dropped(f"Celery can make no task of it ({type(error).__name__})", exc_info=True)
        # Its place among the prefetched messages must become free.
        if not message.acknowledged:
            message.reject_log_error(logger, consumer.connection_errors)
        return None

    return on_message


def _why_no_task(message: Any) -> str | None:
    """Why this is no message of a task. None: Celery may try.

    Only what Celery takes without a look and falls over later, in its pool, timers or events.
    """
    headers = message.headers
    if not isinstance(headers, dict) or not isinstance(message.properties, dict):
        return "its headers or properties are no mapping"
    if "task" not in headers:
        return None  # the older protocol, which has all this in its body
    if not isinstance(headers["task"], str) or not isinstance(headers.get("id"), str):
        return "its task or id is no text"
    if not all(isinstance(headers.get(key), str | None) for key in _TEXTS):
        return "a header that must be a text is none"
    if not _has_usable_limits(headers):
        return "its time limits or retries are no numbers that can be used"
    if headers["task"] == TASK_NAME and len(message.body or b"") > _LONGEST_OWN_BODY:
        return "it is too long for a wake-up"
    return None


def _has_usable_limits(headers: dict[str, Any]) -> bool:
    limits = headers.get("timelimit") or (None, None)
    if not isinstance(limits, list | tuple) or len(limits) != 2:
        return False
    numbers = (*limits, headers.get("retries"))
    return all(
        n is None or (isinstance(n, int | float) and 0 <= n <= _MOST_SECONDS) for n in numbers
    )


# 3. Where Celery gives the task to its pool


def _guard_places(consumer: Any, give_to_pool: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Frees the place of the pool that Celery has taken for a task, if the pool cannot take it.

    Celery keeps the place, and with one such message for each place the worker does nothing more.
    """
    trouble = _errors_of_the_connection(consumer)

    def process_task(request: Any) -> None:
        try:
            give_to_pool(request)
        except trouble:
            raise
        except Exception as error:  # noqa: BLE001  whatever Celery does with what a stranger sent
            _dropped(f"the pool cannot take it ({type(error).__name__})", exc_info=True)
            request.reject(requeue=False)
            task_ready(request)
            # Without an event loop Celery counts no places.
            getattr(consumer.controller, "_quick_release", lambda: None)()

    return process_task


# 4. Where Celery reads what other workers say of themselves


def _guard_gossip(consumer: Any, listen: Callable[..., Any]) -> Callable[..., Any]:
    trouble = _errors_of_the_connection(consumer)

    def on_message(*args: Any) -> Any:
        try:
            return listen(*args)
        except trouble:
            raise
        except Exception as error:  # noqa: BLE001  it is only what another worker says of itself
            return _dropped(f"it is no event of a worker ({type(error).__name__})")

    return on_message


def _errors_of_the_connection(consumer: Any) -> tuple[type[BaseException], ...]:
    """The errors after which Celery connects again. It must see them.

    kombu names KeyError among those of Redis, for a race in its own code. Here it is an error of a
    message far more often. Taken for one of the connection, it would bring that message back.
    """
    return tuple(error for error in consumer.connection_errors if error is not KeyError)


def _dropped(reason: str, *, exc_info: bool = False) -> None:
    emit("message.dropped", reason=reason, exc_info=exc_info)
