"""A Celery app with a broker in the memory of the test process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.transport import memory


@contextmanager
def memory_app() -> Iterator[Celery]:
    made = Celery("tested", broker="memory://", set_as_current=False)
    made.conf.broker_transport_options = {"polling_interval": 0.01}
    yield made
    made.close()
    memory.Channel.queues.clear()  # it is one for all apps of a process


def messages(app: Celery, queue: str = "celery") -> list[Any]:
    """Takes all messages that wait in the queue."""
    found = []
    with app.connection_for_read() as broker:
        simple = broker.SimpleQueue(queue)
        while simple.qsize():
            found.append(simple.get_nowait())
        for message in found:
            message.ack()
        simple.close()
    return found


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
