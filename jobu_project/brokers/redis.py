"""kombu's Redis transport, without an error that ends a worker when Redis goes away.

When a connection breaks, Celery drops its transport and then closes it. Closing puts unacknowledged
messages back, which needs the transport, so that an AttributeError ends the worker. Here such a
message stays in Redis's set of unacknowledged messages. beat sends those of jobu again; the others
return after the visibility timeout.

The worker's guard drops whatever is no message (scheduler/worker/message_guard.py).
"""

from __future__ import annotations

from typing import Any

from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import QoS as RedisQoS
from kombu.transport.redis import Transport as RedisTransport


class QoS(RedisQoS):
    def restore_unacked(self, client: Any = None) -> None:
        # kombu's method needs both. They are gone when the transport was dropped.
        if self.channel.connection is None or self.channel.connection.client is None:
            self._delivered.clear()
            return
        super().restore_unacked(client)  # type: ignore[no-untyped-call]


class Channel(RedisChannel):
    QoS = QoS


class Transport(RedisTransport):
    Channel = Channel
