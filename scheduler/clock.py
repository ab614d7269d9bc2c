"""Time is passed in. This is the only module that reads a clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The current instant, aware UTC."""

    def estimate(self) -> datetime:
        """The same without asking anybody: for the event loop and for threads of handlers."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""


class DatabaseClock:
    """The database's time, so that skew between hosts cannot matter.

    `read` asks the database. Between two readings the host's monotonic clock carries the time on; a
    reading older than `max_age_seconds` is renewed, so a step of the host's clock changes nothing,
    and a suspended host lags (which delays, and never fires early) for `max_age_seconds` at the
    most. `max_age_seconds=0` asks every time.
    """

    def __init__(self, read: Callable[[], datetime], max_age_seconds: float) -> None:
        self._read = read
        self._max_age_seconds = max_age_seconds
        self._lock = threading.Lock()
        self._reading: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """May block for one query. Database errors pass through."""
        with self._lock:
            reading = self._reading
        if reading is None or self.monotonic() - reading[1] >= self._max_age_seconds:
            # Stamped after the answer: the estimate then lags by the way back, and is never ahead.
            answer = self._read()
            reading = (answer, self.monotonic())
            with self._lock:
                self._reading = reading
            if self._max_age_seconds <= 0:
                return reading[0]
        return self._carried_on(reading)

    def estimate(self) -> datetime:
        """The last reading carried on, however old it is. Before the first one it must be read."""
        with self._lock:
            reading = self._reading
        return self.now() if reading is None else self._carried_on(reading)

    def _carried_on(self, reading: tuple[datetime, float]) -> datetime:
        return reading[0] + timedelta(seconds=self.monotonic() - reading[1])

    def monotonic(self) -> float:
        return time.monotonic()


def pause(seconds: float) -> None:
    """Block this thread. For back-off between tries only; a signal's exception ends it at once."""
    time.sleep(seconds)
