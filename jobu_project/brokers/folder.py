"""The directories of the broker in files, and the atomic steps on them. It knows queues and bytes.

files.py explains the steps.
"""

# kombu marks itself as typed, but most of its functions are not.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from kombu.exceptions import ChannelError

try:
    import fcntl
except ImportError:  # Windows; the rest of jobu runs there with Redis or RabbitMQ
    fcntl = None  # type: ignore[assignment]

SCHEME = "jobufs"
POLLING_INTERVAL_SECONDS = 0.2
#: Messages and queues of remote control and events are dropped when nobody has fetched them for so
#: long: their owner was killed. kombu has no x-expires and no x-message-ttl for such transports.
VOLATILE_TTL_SECONDS = 60
SWEEP_INTERVAL_SECONDS = 20

MESSAGE_NAME = re.compile(r"\A\d-(\d{20})-[0-9a-f]{32}\.json\Z")
SECOND_NS = 10**9


class Binding(NamedTuple):
    """A row of an exchange's table, in the order that kombu's exchange types expect."""

    routing_key: str
    pattern: str
    queue: str


def transport_options(
    folder: Path, polling_interval_seconds: float = POLLING_INTERVAL_SECONDS
) -> dict[str, Any]:
    """Returns `broker_transport_options`. Creates `folder`, which only this user may read."""
    Folder(folder).create()
    return {"folder": str(folder), "polling_interval": polling_interval_seconds}


def wipe(folder: Path) -> None:
    """Deletes all messages and bindings. Safe at any time, because beat publishes again."""
    shutil.rmtree(folder, ignore_errors=True)
    Folder(folder).create()


def file_name(name: str) -> str:
    """Returns a file name for the name of a queue or an exchange, in this folder and unique.

    Lower case letters, digits, `_`, `-` and inner dots stay. All else becomes `%xx`, upper case
    letters as well, because some file systems ignore the case.
    """
    encoded = "".join(
        char if re.match(r"[a-z0-9_.-]", char) else "".join(f"%{b:02x}" for b in char.encode())
        for char in name
    )
    if encoded.startswith("."):
        encoded = f"%2e{encoded[1:]}"
    if not 0 < len(encoded) <= 200:
        raise ChannelError(f"not usable as the name of a queue or exchange: {name!r}")
    return encoded


def is_volatile(queue: str) -> bool:
    """Whether `queue`, or its file name, carries events or remote control: useless when old."""
    return queue.startswith("celeryev") or queue.endswith(".pidbox")


class Bell:
    """A named pipe on which one consumer of one queue sleeps, so that publishers can wake it."""

    def __init__(self, folder: Folder, queue: str) -> None:
        """Raises OSError where the file system has no named pipes."""
        path = folder.tmp / uuid4().hex
        os.mkfifo(path, mode=0o600)
        # Opened for writing as well: without a writer it would always be readable, at its end.
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        # Closed with the last reference, never sooner: another thread may be about to ring.
        weakref.finalize(self, os.close, self.fd)
        # Moved there only now that it has a reader: without one its consumer would count as dead.
        os.replace(path, folder.queue(queue) / "bells" / path.name)

    def ring(self) -> None:
        with suppress(BlockingIOError):
            os.write(self.fd, b"!")

    def clear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.fd, 65536)


def ring(pipe: str) -> None:
    """Wakes the consumer that sleeps on `pipe`. Deletes the pipe of a dead consumer."""
    try:
        fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            with suppress(OSError):
                os.unlink(pipe)
        return
    try:
        # A full pipe has already woken its consumer. That of a broken one has just ended.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(fd, b"!")
    finally:
        os.close(fd)


class Folder:
    """The broker's directories and the atomic steps on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queues = root / "queues"
        self.exchanges = root / "exchanges"
        self.tmp = root / "tmp"

    def create(self) -> None:
        if fcntl is None:
            raise ChannelError(
                f"{SCHEME}:// needs a POSIX system (flock); "
                "set JOBU_BROKER_URL to a Redis or RabbitMQ server"
            )
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.queues, self.exchanges, self.tmp):
            folder.mkdir(mode=0o700, exist_ok=True)

    def queue(self, queue: str) -> Path:
        return self.queues / file_name(queue)

    def add_queue(self, queue: str) -> bool:
        """Creates the queue's directory. Returns whether it was missing."""
        bells = self.queue(queue) / "bells"
        if bells.is_dir():
            return False
        self.create()
        bells.parent.mkdir(mode=0o700, exist_ok=True)
        bells.mkdir(mode=0o700, exist_ok=True)
        return True

    def ring_bells(self, queue: str) -> None:
        with suppress(FileNotFoundError):
            for pipe in os.scandir(self.queue(queue) / "bells"):
                ring(pipe.path)

    def write(self, path: Path, content: bytes) -> None:
        """Writes `path` atomically. Raises FileNotFoundError if its directory is gone."""
        tmp = self.tmp / uuid4().hex
        try:
            try:
                tmp.write_bytes(content)
            except FileNotFoundError:
                self.create()
                tmp.write_bytes(content)
            os.replace(tmp, path)
        except OSError:
            with suppress(OSError):
                tmp.unlink()
            raise

    def message_names(self, queue: str) -> list[str]:
        """Returns the waiting messages in order. Raises FileNotFoundError without such a queue."""
        return sorted(name for name in os.listdir(self.queue(queue)) if MESSAGE_NAME.match(name))

    def table(self, exchange: str) -> list[Binding]:
        try:
            content = (self.exchanges / f"{file_name(exchange)}.json").read_bytes()
        except FileNotFoundError:
            return []
        return [Binding(*row) for row in json.loads(content)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of the tables. The kernel frees the lock of a killed process."""
        try:
            file = (self.exchanges / ".lock").open("a")
        except FileNotFoundError:
            self.create()
            file = (self.exchanges / ".lock").open("a")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def bind(self, exchange: str, binding: Binding) -> None:
        with self.locked():
            rows = self.table(exchange)
            if binding not in rows:
                self._write_table(file_name(exchange), [*rows, binding])

    def unbind(self, exchange: str, binding: Binding) -> None:
        with self.locked():
            rows = self.table(exchange)
            if binding in rows:
                self._write_table(file_name(exchange), [row for row in rows if row != binding])

    def _write_table(self, exchange_file: str, rows: list[Binding]) -> None:
        path = self.exchanges / f"{exchange_file}.json"
        self.write(path, json.dumps(rows).encode())

    def sweep(self, now_ns: int) -> list[str]:
        """Removes volatile queues and half-written files of killed processes.

        Returns the file names of the removed queues.
        """
        horizon_ns = now_ns - VOLATILE_TTL_SECONDS * SECOND_NS
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.tmp):
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime_ns < horizon_ns:
                        os.unlink(entry.path)
        try:
            names = [name for name in os.listdir(self.queues) if is_volatile(name)]
        except FileNotFoundError:
            return []
        gone = [name for name in names if self._is_abandoned(self.queues / name, horizon_ns)]
        if gone:
            self._forget_queues(set(gone))
        return gone

    @staticmethod
    def _is_abandoned(queue: Path, horizon_ns: int) -> bool:
        """Whether nobody consumes it: its directory is old, or a message in it."""
        try:
            stamps = [published_ns(name) for name in os.listdir(queue) if MESSAGE_NAME.match(name)]
            return min([queue.stat().st_mtime_ns, *stamps]) < horizon_ns
        except FileNotFoundError:
            return False

    def _forget_queues(self, queue_files: set[str]) -> None:
        with self.locked():
            for path in self.exchanges.glob("*.json"):
                rows = [Binding(*row) for row in json.loads(path.read_bytes())]
                kept = [row for row in rows if file_name(row.queue) not in queue_files]
                if kept != rows:
                    self._write_table(path.stem, kept)
        for name in queue_files:
            shutil.rmtree(self.queues / name, ignore_errors=True)


def published_ns(message_name: str) -> int:
    return int(message_name.split("-")[1])
