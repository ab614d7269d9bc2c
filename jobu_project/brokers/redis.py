"""kombu's Redis transport, without two errors that end a worker: Redis goes away, and what arrives
is no message.

Celery drops the transport of a connection that broke and then closes the connection. With a message
still unacknowledged, closing wants to put it back, for which there is no transport any more: an
AttributeError that nothing expects ends the worker. Such a message stays in the set of
unacknowledged messages in Redis: beat sends those of jobu again, others come back after the
visibility timeout.

Whoever reaches Redis may put anything into a queue. What is no message, or no task to Celery, is
dropped with a line in the log.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from kombu.transport import virtual
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import QoS as RedisQoS
from kombu.transport.redis import Transport as RedisTransport

# What reading JSON, base64 and the fields of a message raises on something else.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)

logger = logging.getLogger(__name__)


class UnreadableMessage(Exception):
    """What arrived is no message."""


class QoS(RedisQoS):
    def restore_unacked(self, client: Any = None) -> None:
        # What kombu's method needs of the connection; gone once its transport was dropped.
        if self.channel.connection is None or self.channel.connection.client is None:
            self._delivered.clear()
            return
        super().restore_unacked(client)  # type: ignore[no-untyped-call]


class Message(virtual.Message):
    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **kwargs)  # type: ignore[no-untyped-call]
        except _UNREADABLE as error:
            raise UnreadableMessage(f"{type(error).__name__} in its fields") from error
        fields = (self.headers, self.properties, self.delivery_info)
        if not all(isinstance(field, dict) for field in fields):
            raise UnreadableMessage("its headers or properties are no mapping")
        if not {"exchange", "routing_key"} <= set(self.delivery_info):
            raise UnreadableMessage("it does not say where it was sent")
        if not _has_usable_limits(self.headers):
            raise UnreadableMessage("its time limits or retries are no numbers")
        if not isinstance(self.delivery_tag, str):
            raise UnreadableMessage("its delivery tag is no text")


def _has_usable_limits(headers: dict[str, Any]) -> bool:
    """True for time limits and retries that the pool can use. Others end the worker's process."""
    limits = headers.get("timelimit") or (None, None)
    if not isinstance(limits, list | tuple) or len(limits) != 2:
        return False
    numbers = (*limits, headers.get("retries"))
    return all(n is None or (isinstance(n, int | float) and n >= 0) for n in numbers)


class Channel(RedisChannel):
    QoS = QoS
    Message = Message

    def _brpop_read(self, **options: Any) -> Any:
        self.connection.is_delivering = False
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except _UNREADABLE as error:
            if self.connection.is_delivering:
                raise  # it was a message; whatever went wrong is somebody else's to know
            _dropped(f"{type(error).__name__} in its JSON")
            return None


class Transport(RedisTransport):
    Channel = Channel
    is_delivering = False

    def _deliver(self, message: Any, queue: str) -> None:
        self.is_delivering = True
        try:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        except UnreadableMessage as error:
            _dropped(str(error))
        except _UNREADABLE as error:
            # Celery could make no task of it. By now it counts as delivered: its place must become
            # free, or a few of them would leave the worker without one.
            tag = message["properties"]["delivery_tag"]
            for channel in self.channels:
                with suppress(KeyError):  # another channel's
                    channel.qos.get(tag)
                    channel.basic_reject(tag, requeue=False)
            logger.warning("a message of which no task can be made was dropped", exc_info=error)


def _dropped(reason: str) -> None:
    logger.warning("something that is no message was dropped from a queue: %s", reason)
