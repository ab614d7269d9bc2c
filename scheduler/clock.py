"""Time is passed in. This is the only module that reads a clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The current instant, aware UTC."""

    def estimate(self) -> datetime:
        """The same without a query, for the event loop and for threads of handlers."""

    def monotonic(self) -> float:
        """Seconds that never go back. Only differences between two readings mean something."""


class DatabaseClock:
    """The database's time, so that skew between hosts cannot matter.

    `read` asks the database. Between two readings the time is the last reading plus what the host's
    monotonic clock has counted since. A reading older than `max_age_seconds` is renewed; 0 asks
    each time. A step of the host's clock changes nothing. A host that was suspended is late for
    `max_age_seconds` at most, which delays runs but never starts one early.
    """

    def __init__(self, read: Callable[[], datetime], max_age_seconds: float) -> None:
        self._read = read
        self._max_age_seconds = max_age_seconds
        self._lock = threading.Lock()
        self._reading: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """The current instant. May block for one query and raise the database's errors."""
        with self._lock:
            reading = self._reading
        if reading is None or self.monotonic() - reading[1] >= self._max_age_seconds:
            # The monotonic time after the answer: the estimate may be late, but is never early.
            answer = self._read()
            reading = (answer, self.monotonic())
            with self._lock:
                self._reading = reading
            if self._max_age_seconds <= 0:
                return reading[0]
        return self._since(reading)

    def estimate(self) -> datetime:
        """The time by the last reading, however old it is. Without one, the database is asked."""
        with self._lock:
            reading = self._reading
        return self.now() if reading is None else self._since(reading)

    def _since(self, reading: tuple[datetime, float]) -> datetime:
        return reading[0] + timedelta(seconds=self.monotonic() - reading[1])

    def monotonic(self) -> float:
        return time.monotonic()


def host_now() -> datetime:
    """The time of this host, aware UTC. Only to be compared with the database's."""
    return datetime.now(UTC)


def host_timestamp() -> float:
    """The same as seconds since 1970, as Celery stamps its events. Nothing is decided by it."""
    return time.time()


def since_boot() -> float:
    """Seconds that never go back. On Linux they go on while the host is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def pause(seconds: float) -> None:
    """Block this thread, for back-off between tries only. A signal's exception ends it at once."""
    time.sleep(seconds)
