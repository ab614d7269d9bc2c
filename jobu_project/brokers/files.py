"""`jobufs://`, a Celery broker in a folder. It needs no installation and serves one machine.

With kombu's own `filesystem://` a consumer may read a message that is still being written, and then
the worker ends (https://github.com/celery/kombu/issues/1551). Here each step is one atomic call of
the file system:

    publish   write `tmp/<id>`, then rename it to `queues/<queue>/<rank>-<time_ns>-<id>.json`
    consume   read the first file, then unlink it; of several consumers one unlink succeeds
    bind      rewrite `exchanges/<exchange>.json` by rename, under flock
    wake      write a byte into the named pipes in `queues/<queue>/bells`, where consumers sleep

If named pipes do not work, or a wake-up is lost, the next poll finds the message. Priorities are
those of RabbitMQ, 0 to 9, and a higher one comes first; the rank is 9 minus the priority. When a
consumer is killed, its message is lost, and jobu needs none to find a run: the truth is in the
database. So the folder may be deleted at any time, also while processes run.
"""

# kombu marks itself as typed, but most of its functions are not.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import selectors
import shutil
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any, ClassVar
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.log import get_logger
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from jobu_project.brokers.folder import (
    POLLING_INTERVAL_SECONDS,
    SCHEME,
    SECOND_NS,
    SWEEP_INTERVAL_SECONDS,
    VOLATILE_TTL_SECONDS,
    Bell,
    Binding,
    Folder,
    is_volatile,
    published_ns,
)

#: How long a listing of a busy queue is used. A new message of higher priority waits that long.
RELIST_SECONDS = 0.2

logger = get_logger(__name__)


class Channel(virtual.Channel):
    """kombu's channel on a Folder. Most names with an underscore are kombu's, for subclasses."""

    supports_fanout = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.folder: Folder = connection.folder
        self._backlogs: dict[str, tuple[float, deque[str]]] = {}
        self._refused: set[str] = set()

    # Publish

    def _put(self, queue: str, message: Mapping[str, Any], **kwargs: Any) -> None:
        rank = self._get_message_priority(message, reverse=True)
        name = f"{rank}-{time.time_ns():020d}-{uuid4().hex}.json"
        path = self.folder.queue(queue) / name
        content = dumps(message).encode()
        try:
            try:
                self.folder.write(path, content)
            except FileNotFoundError:
                if is_volatile(queue):
                    return  # its owner is gone; only an owner makes such a queue
                self.folder.add_queue(queue)
                self.folder.write(path, content)
            self.folder.ring_bells(queue)
        except OSError as error:
            raise ChannelError(f"cannot publish to queue {queue!r}: {error}") from error

    def _put_fanout(
        self, exchange: str, message: Mapping[str, Any], routing_key: str, **kwargs: Any
    ) -> None:
        for queue in {binding.queue for binding in self.get_table(exchange)}:
            self._put(queue, message, **kwargs)

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> Any:
        queues = super()._lookup(exchange, routing_key, default)
        if not queues and self._rebind_exchange(exchange):
            queues = super()._lookup(exchange, routing_key, default)
        return queues

    # Consume

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        self.connection.sweep_now_and_then()
        backlog = self._backlog(queue)
        oldest_ns = time.time_ns() - VOLATILE_TTL_SECONDS * SECOND_NS if is_volatile(queue) else 0
        while backlog:
            name = backlog.popleft()
            content = self._take(self.folder.queue(queue) / name)
            if content is not None and published_ns(name) >= oldest_ns:
                message = self._parse(content, queue, name)
                if message is not None:
                    return message
        raise Empty

    def _backlog(self, queue: str) -> deque[str]:
        """Returns the names to try next. A long queue is not listed for each of its messages."""
        listed_at, names = self._backlogs.get(queue, (0.0, deque()))
        if not names or time.monotonic() - listed_at > RELIST_SECONDS:
            try:
                names = deque(self.folder.message_names(queue))
            except FileNotFoundError:
                # Somebody deleted the folder, or this consumer stood still and was swept.
                self._rebind_queue(queue)
                names = deque()
            self._backlogs[queue] = (time.monotonic(), names)
        return names

    def _take(self, path: Path) -> bytes | None:
        """Takes the message and returns its content. None if another consumer was quicker."""
        try:
            content = path.read_bytes()
            path.unlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            if path.name not in self._refused:
                self._refused.add(path.name)
                logger.error("cannot take message %s: %s", path, error)
            return None
        return content

    def _parse(self, content: bytes, queue: str, name: str) -> dict[str, Any] | None:
        """Returns the message, or None if kombu cannot use it: it would end the worker."""
        try:
            message: dict[str, Any] = loads(content)
            self.Message(message, channel=self)
            message["properties"]["delivery_info"]["routing_key"]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            logger.error("dropped unreadable message %s of queue %s: %r", name, queue, error)
            return None
        return message

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> None:
        super().basic_consume(queue, *args, **kwargs)
        self.connection.hang_bell(queue)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        # Another thread may be asleep in drain_events() because of the prefetch limit.
        self.connection.wake()

    # Queues and bindings

    def get_table(self, exchange: str) -> list[Binding]:
        return self.folder.table(exchange)

    def _queue_bind(
        self, exchange: str, routing_key: str | None, pattern: str | None, queue: str
    ) -> None:
        self.folder.bind(exchange, Binding(routing_key or "", pattern or "", queue))

    def _rebind_queue(self, queue: str) -> None:
        """Restores the queue's directory, its bell, and the bindings that this process has made."""
        self.folder.add_queue(queue)
        if queue in self._active_queues:
            self.connection.hang_bell(queue)
        for exchange, routing_key, arguments in list(self.state.queue_bindings(queue)):
            meta = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
            self._queue_bind(exchange, *meta)

    def _rebind_exchange(self, exchange: str) -> bool:
        """Restores this process's bindings to `exchange`. Returns whether there are any."""
        queues = {key.queue for key in list(self.state.bindings) if key.exchange == exchange}
        lasting = [queue for queue in queues if not is_volatile(queue)]
        for queue in lasting:
            self._rebind_queue(queue)
        return bool(lasting)

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        if self.folder.add_queue(queue):
            self._rebind_queue(queue)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self.folder.queue(queue).is_dir()

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any
    ) -> None:
        self.folder.unbind(exchange, Binding(routing_key or "", pattern or "", queue))
        shutil.rmtree(self.folder.queue(queue), ignore_errors=True)

    def _size(self, queue: str) -> int:
        try:
            return len(self.folder.message_names(queue))
        except FileNotFoundError:
            return 0

    def _purge(self, queue: str) -> int:
        count = 0
        with suppress(FileNotFoundError):
            for name in self.folder.message_names(queue):
                with suppress(FileNotFoundError):
                    (self.folder.queue(queue) / name).unlink()
                    count += 1
        return count

    def touch_volatile_queues(self) -> None:
        """Marks the queues that this channel consumes, so that no process sweeps them."""
        for queue in filter(is_volatile, list(self._active_queues)):
            with suppress(FileNotFoundError):
                os.utime(self.folder.queue(queue))


class Transport(virtual.Transport):
    """The transport of `jobufs://`. The transport option `folder` is the path of the folder."""

    Channel = Channel
    driver_type = "filesystem"
    driver_name = SCHEME
    polling_interval = POLLING_INTERVAL_SECONDS
    implements = virtual.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset(["direct", "topic", "fanout"])
    )
    #: A full disk or a missing mount is an outage: the worker tries again instead of ending.
    connection_errors = (OSError,)
    #: What this process declared, per folder. Shared by its connections: kombu relies on that.
    states: ClassVar[dict[str, virtual.BrokerState]] = {}

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        root = client.transport_options.get("folder")
        if not root:
            raise ValueError(f"{SCHEME}:// needs the transport option 'folder'")
        self.folder = Folder(Path(root))
        self.state = self.states.setdefault(str(root), virtual.BrokerState())
        self._swept_at = time.monotonic()
        self._bells: dict[str, Bell] = {}

    @property
    def default_connection_params(self) -> dict[str, Any]:
        return {}

    def establish_connection(self) -> Any:
        self.folder.create()
        return super().establish_connection()

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Waits for a message and delivers it. Raises TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for bell in list(self._bells.values()):
                bell.clear()
            with suppress(Empty):
                self.cycle.get(self._deliver, timeout=timeout)  # type: ignore[union-attr]
                return
            left = self.polling_interval
            if deadline is not None:
                left = min(left, deadline - time.monotonic())
                if left <= 0:
                    raise TimeoutError
            self._sleep(left)

    def _sleep(self, seconds: float) -> None:
        """Returns when a bell rings, or after `seconds`."""
        with selectors.DefaultSelector() as selector:
            for bell in list(self._bells.values()):
                selector.register(bell.fd, selectors.EVENT_READ)
            selector.select(seconds)

    def hang_bell(self, queue: str) -> None:
        with suppress(OSError):
            self._bells[queue] = Bell(self.folder, queue)

    def wake(self) -> None:
        for bell in list(self._bells.values())[:1]:
            bell.ring()

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        self._bells.clear()

    def sweep_now_and_then(self) -> None:
        if time.monotonic() - self._swept_at < SWEEP_INTERVAL_SECONDS:
            return
        self._swept_at = time.monotonic()
        for channel in list(self.channels):
            channel.touch_volatile_queues()
        gone = self.folder.sweep(time.time_ns())
        if gone:
            logger.info("removed %d abandoned control and event queues", len(gone))

    def driver_version(self) -> str:
        return "1"
