"""Do the database and the broker answer just now, and who is alive? Asked anew each time.

Nothing that is kept between calls is believed: each question takes a connection of its own, in a
thread of its own, so that a server that is frozen (it accepts, and never answers) costs the caller
`timeout` seconds and not for ever. While a question hangs, the callers after it share it.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from celery import current_app
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.models import Max

from scheduler.models import JobExecution, SchedulerProcess
from scheduler.states import ProcessKind, RunStatus

TIMEOUT_SECONDS: Final = 2.0
# Beats and workers report every 5 seconds.
STALE_AFTER: Final = timedelta(seconds=30)
# Asked every few seconds by machines: a million that wait need not be counted to the last one.
COUNTED_UP_TO: Final = 100_000
# A question older than this is left to itself, and asked anew.
_GIVEN_UP_AFTER_SECONDS: Final = 15.0
# What servers say when they are there but take no more: PostgreSQL's and MySQL's too many
# connections and starting up, SQLite's lock, and the drivers' own "it accepted, and then nothing".
_BUSY_STATES: Final = frozenset({"53300", "57P03", 1040, 1203})
_BUSY_WORDS: Final = ("too many", "starting up", "is locked", "timeout", "timed out")


class DatabaseState(StrEnum):
    CONNECTED = "connected"
    BUSY = "busy"  # it is there, and does not answer in time or takes nobody in
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, kw_only=True)
class Liveness:
    """What of jobu is at work. Ages in seconds; None where there is nothing to measure."""

    #: Since the newest heartbeat of any beat.
    beat_age_seconds: float | None
    beats_alive: int
    workers_alive: int
    #: How late the publication that is due for the longest time is; None: nothing is due.
    oldest_unpublished_seconds: float | None
    #: Both are counted up to COUNTED_UP_TO.
    pending: int
    running: int


def check_database(timeout: float = TIMEOUT_SECONDS) -> str | None:
    """None: it answered just now. Else what is wrong, within about `timeout` seconds."""
    return _problem(_database.answer(timeout), timeout)


def database_state(timeout: float = TIMEOUT_SECONDS) -> DatabaseState:
    error = _database.answer(timeout)
    if error is None:
        return DatabaseState.CONNECTED
    return DatabaseState.BUSY if _is_busy(error) else DatabaseState.DISCONNECTED


def check_broker(timeout: float = TIMEOUT_SECONDS) -> str | None:
    """None: it let us connect just now. Else what is wrong, within about `timeout` seconds."""
    return _problem(_broker.answer(timeout), timeout)


def liveness(now: datetime) -> Liveness:
    """Read from the tables, by their indexes. Database errors pass through."""
    last = {
        row["kind"]: row["last"]
        for row in SchedulerProcess.objects.values("kind").annotate(last=Max("heartbeat_at"))
    }
    alive = SchedulerProcess.objects.filter(heartbeat_at__gte=now - STALE_AFTER)
    waiting = JobExecution.objects.filter(status=RunStatus.PENDING)
    oldest = (
        waiting.filter(publish_at__lte=now)
        .order_by("publish_at")
        .values_list("publish_at", flat=True)
        .first()
    )
    return Liveness(
        beat_age_seconds=_seconds_since(last.get(ProcessKind.BEAT), now),
        beats_alive=alive.filter(kind=ProcessKind.BEAT).count(),
        workers_alive=alive.filter(kind=ProcessKind.WORKER).count(),
        oldest_unpublished_seconds=_seconds_since(oldest, now),
        pending=waiting.order_by()[:COUNTED_UP_TO].count(),
        running=JobExecution.objects.filter(status=RunStatus.RUNNING)
        .order_by()[:COUNTED_UP_TO]
        .count(),
    )


def _seconds_since(then: datetime | None, now: datetime) -> float | None:
    return None if then is None else max(0.0, (now - then).total_seconds())


class _Question:
    """Asked in a thread; at most one is under way, unless it has been for too long."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self._name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._answer: Future[None] | None = None
        self._asked_at = 0.0

    def answer(self, timeout: float) -> BaseException | None:
        """None, or what went wrong; TimeoutError when there was no answer in time."""
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


def _ask_broker() -> None:
    with current_app.connection_for_write() as fresh:
        options = fresh.transport_options
        if "socket_timeout" in options:
            limit = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
            fresh.transport_options = options | limit
        fresh.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
        folder = options.get("folder")
        if folder:  # jobufs: a full disk or one that became read-only lets connect, and no more
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0" * 4096)


_database = _Question("database", _ask_database)
_broker = _Question("broker", _ask_broker)


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
    if not isinstance(error, DatabaseError):
        return False
    cause = error.__cause__ or error
    code = getattr(cause, "sqlstate", None) or (cause.args[0] if cause.args else None)
    return code in _BUSY_STATES or any(word in str(error).lower() for word in _BUSY_WORDS)
