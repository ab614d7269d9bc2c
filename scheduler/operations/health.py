"""Whether the database and the broker answer right now.

Each check opens its own connection in its own thread. If the server is frozen (it accepts a
connection and never answers), the caller waits `timeout` seconds and no longer. While a check
hangs, later callers wait for the answer of the same check.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from copy import deepcopy
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, Error, connection, connections

from scheduler.operations.celery_app import own_app
from scheduler.operations.liveness import ClockState, clock_of
from scheduler.store.connection import database_now

TIMEOUT_SECONDS: Final = 2.0
# A check older than this is abandoned, and the next caller starts a new one.
_GIVEN_UP_AFTER_SECONDS: Final = 15.0
# The error codes and words of a server that runs but refuses: it has too many connections or is
# starting up (PostgreSQL, MySQL), the file is locked (SQLite), or it does not answer (drivers).
_BUSY_STATES: Final = frozenset({"53300", "57P03", 1040, 1203})
_BUSY_WORDS: Final = ("too many", "starting up", "is locked", "timeout", "timed out")


class DatabaseState(StrEnum):
    CONNECTED = "connected"
    BUSY = "busy"  # it runs, but does not answer in time or accepts no more connections
    DISCONNECTED = "disconnected"


def check_database(timeout: float = TIMEOUT_SECONDS) -> str | None:
    """Returns what is wrong, within about `timeout` seconds. None: the database has answered."""
    return _problem(_database.answer(timeout), timeout)


def database_state(timeout: float = TIMEOUT_SECONDS) -> DatabaseState:
    """Returns how the database answers, within about `timeout` seconds."""
    error = _database.answer(timeout)
    if error is None:
        return DatabaseState.CONNECTED
    return DatabaseState.BUSY if _is_busy(error) else DatabaseState.DISCONNECTED


def clock_state(timeout: float = TIMEOUT_SECONDS) -> ClockState | None:
    """Returns what is known of the database's clock. None: it was not answered in time."""
    error = _clock.answer(timeout)
    if error is None:
        return ClockState.OK
    return error.state if isinstance(error, _WrongClock) else None


def check_broker(timeout: float = TIMEOUT_SECONDS) -> str | None:
    """Returns what is wrong, within about `timeout` seconds. None: the broker let us connect."""
    return _problem(_broker.answer(timeout), timeout)


class Question:
    """A check in a thread. A second one starts only when the first takes too long."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self._name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._answer: Future[None] | None = None
        self._asked_at = 0.0

    def answer(self, timeout: float) -> BaseException | None:
        """Returns what went wrong, or None. TimeoutError: there was no answer in time."""
        with self._lock:
            now = time.monotonic()
            found = self._answer
            if found is None or found.done() or now - self._asked_at > _GIVEN_UP_AFTER_SECONDS:
                found = self._answer = Future()
                self._asked_at = now
                threading.Thread(
                    target=self._run, args=(found,), name=f"ask-{self._name}", daemon=True
                ).start()
        try:
            return found.exception(timeout)
        except FutureTimeoutError:
            return TimeoutError()

    def _run(self, answer: Future[None]) -> None:
        try:
            self._ask()
        # Whatever a driver or a broker's client raises is the answer.
        except Exception as error:  # noqa: BLE001
            answer.set_exception(error)
        else:
            answer.set_result(None)


def _ask_database() -> None:
    fresh = connections.create_connection(DEFAULT_DB_ALIAS)
    fresh.settings_dict = deepcopy(fresh.settings_dict)
    options: dict[str, Any] = fresh.settings_dict["OPTIONS"]
    if fresh.vendor == "sqlite":
        path = str(fresh.settings_dict["NAME"])
        # SQLite would make an empty file of this name.
        if path and ":memory:" not in path and "mode=memory" not in path:
            Path(path).stat()
    else:
        options["connect_timeout"] = int(TIMEOUT_SECONDS)
    if fresh.vendor == "mysql":
        options["read_timeout"] = options["write_timeout"] = int(TIMEOUT_SECONDS)
    try:
        with fresh.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    finally:
        fresh.close()


class _WrongClock(Exception):
    def __init__(self, state: ClockState) -> None:
        super().__init__(state.value)
        self.state = state


def _ask_clock() -> None:
    try:
        found = clock_of(database_now())
    finally:
        connection.close()  # of this thread
    if found.state != ClockState.OK:
        raise _WrongClock(found.state)


def _ask_broker() -> None:
    with own_app().connection_for_write() as fresh:
        options = fresh.transport_options
        if "socket_timeout" in options:
            limit = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
            fresh.transport_options = options | limit
        fresh.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
        folder = options.get("folder")
        if folder:  # jobufs: a disk that is full or read-only refuses only the write
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0" * 4096)


_database = Question("database", _ask_database)
_clock = Question("clock", _ask_clock)
_broker = Question("broker", _ask_broker)


def _problem(error: BaseException | None, timeout: float) -> str | None:
    if error is None:
        return None
    if isinstance(error, TimeoutError) and not error.args:
        return f"no answer within {timeout:g} s"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_busy(error: BaseException) -> bool:
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, Error):
        return False
    cause = error.__cause__ or error
    code = getattr(cause, "sqlstate", None) or (cause.args[0] if cause.args else None)
    return code in _BUSY_STATES or any(word in str(error).lower() for word in _BUSY_WORDS)
