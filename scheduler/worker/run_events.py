"""Runs as Celery's events of tasks, so that Flower and `celery events` show them.

The worker process sends them itself. A child of the prefork pool writes them into a pipe, and its
parent sends them: so a child needs no connection to the broker for this.

No value of a parameter or result leaves the process. Texts of errors come here without secrets.
While nobody wants events, each function only looks at one byte.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from celery import Celery

from scheduler.clock import host_timestamp
from scheduler.worker.board import Board
from scheduler.worker.event_sender import Event, EventSender

_PIPE_BYTES: Final = 1024 * 1024
_ERROR_CHARACTERS: Final = 1000
_TRACEBACK_CHARACTERS: Final = 3000
_HIDDEN: Final = "'***'"
_MOST_NAMES: Final = 20
_SIGTERM: Final = 15


def run_uuid(execution_id: int, attempt: int) -> str:
    """The id by which Celery and Flower know an attempt of an execution."""
    return f"jobu-{execution_id}-{attempt}"


class RunEvents:
    """The events of all runs of a worker. Make it before the pool forks, start it after that.

    The functions that report a run may be called by any thread, also in a child of the pool. They
    never block and never raise. An event that cannot be sent is lost.

    `page_of`: the address of a run's page, by its number; "" where none is known.
    """

    def __init__(self, board: Board, *, page_of: Callable[[str], str] = lambda number: "") -> None:
        self._board = board
        self._page_of = page_of
        self._main_pid: int | None = None
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        with suppress(OSError, AttributeError):  # Linux alone lets a pipe grow
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._sender: EventSender | None = None
        self._reader: threading.Thread | None = None
        self._closes = False

    # --- in the main process ----------------------------------------------------------------------

    def start(
        self, app: Celery, hostname: str, *, monotonic: Callable[[], float], has_children: bool
    ) -> None:
        """Start the thread that sends and, if there are children, the one that listens to them."""
        self._main_pid = os.getpid()
        self._sender = EventSender(app, hostname, monotonic=monotonic)
        if has_children:
            self._reader = threading.Thread(
                target=self._read_children, name="jobu-child-events", daemon=True
            )
            self._reader.start()

    def broker_returned(self) -> None:
        """Send final events again that Flower may have missed. Never blocks."""
        if self._sender is not None:
            self._sender.broker_returned()

    def close(self) -> None:
        """Send what waits, and end the threads. Blocks for at most a few seconds."""
        self._closes = True
        if self._reader is not None:
            with suppress(OSError):  # a full pipe wakes the reader as well
                os.write(self._write_end, b"\n")
            self._reader.join(1)
        if self._sender is not None:
            self._sender.close()

    # --- what happens to a run --------------------------------------------------------------------

    def received(
        self, uuid: str, name: str, params: Callable[[], object], attempt: int, queue: str
    ) -> None:
        """A worker has claimed the run. Only the names of `params()` are shown."""
        if self._board.events_on:
            self._report(
                "task-received",
                uuid,
                lambda: {
                    "name": name,
                    "args": self._args(_execution(uuid)),
                    "kwargs": _without_values(params()),
                    "root_id": uuid,
                    "parent_id": None,
                    "retries": attempt - 1,
                    "eta": None,
                    "expires": None,
                    "routing_key": queue,
                },
            )

    def started(self, uuid: str) -> None:
        if self._board.events_on:
            self._report("task-started", uuid, dict)

    def succeeded(self, uuid: str, runtime: float) -> None:
        """`runtime` in seconds. Where to find the result is shown instead of the result."""
        if self._board.events_on:
            self._report(
                "task-succeeded",
                uuid,
                lambda: {"result": self._result(_execution(uuid)), "runtime": runtime},
            )

    def failed(self, uuid: str, error: str, traceback: str, runtime: float) -> None:
        """The attempt has failed, whether or not the run is tried again. Both texts are shown."""
        if self._board.events_on:
            self._report(
                "task-failed",
                uuid,
                lambda: {
                    "exception": error[:_ERROR_CHARACTERS],
                    "traceback": traceback[-_TRACEBACK_CHARACTERS:],
                    "runtime": runtime,
                },
            )

    def revoked(self, uuid: str) -> None:
        """The attempt was cancelled, or handed back."""
        if self._board.events_on:
            self._report(
                "task-revoked",
                uuid,
                lambda: {"terminated": True, "signum": _SIGTERM, "expired": False},
            )

    def _args(self, number: str) -> str:
        """The number of the execution, and where its page is: Flower has no other way back."""
        page = self._page_of(number)
        return f"({number}, {page!r})" if page else f"({number},)"

    def _result(self, number: str) -> str:
        return repr(f"see {self._page_of(number) or f'execution {number}'}")

    # --- ways to the broker -----------------------------------------------------------------------

    def _report(self, kind: str, uuid: str, fields: Callable[[], Mapping[str, Any]]) -> None:
        pid = os.getpid()
        try:
            event = {
                "type": kind,
                "uuid": uuid,
                "timestamp": host_timestamp(),
                "pid": pid,
                **fields(),
            }
            if pid != self._main_pid:
                os.write(self._write_end, _line(event))
            elif self._sender is not None:
                self._sender.put(event)
        # No run fails because somebody could not see it: a full pipe, params from SQL.
        except Exception:  # noqa: BLE001
            pass

    def _read_children(self) -> None:
        assert self._sender is not None
        rest = b""
        while not self._closes:
            *lines, rest = (rest + os.read(self._read_end, 65536)).split(b"\n")
            for line in filter(None, lines):
                # A child writes whole lines. One that it could not write is not worth this thread.
                with suppress(ValueError):
                    self._sender.put(json.loads(line))


def _without_values(params: object) -> str:
    """The names of the params, as Flower shows arguments."""
    if not isinstance(params, Mapping):
        return "{}"
    names = [f"{str(name)[:100]!r}: {_HIDDEN}" for name in list(params)[:_MOST_NAMES]]
    return "{" + ", ".join(names) + ("}" if len(params) <= _MOST_NAMES else ", ...}")


def _execution(uuid: str) -> str:
    return uuid.split("-")[1]


def _line(event: Event) -> bytes:
    """The event as one line, short enough to be written at once. Its longest texts are cut for it.

    Longer lines of several children would be mixed up.
    """
    while True:
        line = json.dumps(event, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
        texts = [key for key, value in event.items() if isinstance(value, str)]
        longest = max(texts, key=lambda key: len(event[key]))
        half = len(event[longest]) // 2
        if len(line) <= select.PIPE_BUF or not half:
            return line
        # The end of a traceback says most.
        event[longest] = event[longest][-half:] if longest == "traceback" else event[longest][:half]
