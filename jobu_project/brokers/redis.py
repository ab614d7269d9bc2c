"""kombu's Redis transport, without an error that ends a worker when Redis goes away.

Celery drops the transport of a connection that broke and then closes the connection. With a message
still unacknowledged, closing wants to put it back, for which there is no transport any more: an
AttributeError that nothing expects ends the worker. Such a message stays in the set of
unacknowledged messages in Redis: beat sends those of jobu again, others come back after the
visibility timeout.

What is no message is dropped by the guard of the worker (scheduler/worker/message_guard.py).
"""

from __future__ import annotations

from typing import Any

from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import QoS as RedisQoS
from kombu.transport.redis import Transport as RedisTransport


class QoS(RedisQoS):
    def restore_unacked(self, client: Any = None) -> None:
        # What kombu's method needs of the connection; gone once its transport was dropped.
        if self.channel.connection is None or self.channel.connection.client is None:
            self._delivered.clear()
            return
        super().restore_unacked(client)  # type: ignore[no-untyped-call]


class Channel(RedisChannel):
    QoS = QoS


class Transport(RedisTransport):
    Channel = Channel
