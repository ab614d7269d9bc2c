"""Sends messages in a thread, so that recording slots never waits for the broker.

A broker may accept a connection and then say nothing, or its name may take long to resolve. No sum
of timeouts bounds that well. Only this thread touches the broker, and it has one errand at a time.

One other thread, that of the tick, calls the courier. It asks `is_busy` before it brings an errand,
which is safe only because nobody else brings one in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final

from scheduler.beat.publisher import Publisher
from scheduler.events import emit
from scheduler.store.publishing import Hint

#: How long the end of beat waits for the errand under way.
CLOSE_SECONDS: Final = 1.0


class Courier:
    """A Publisher that returns at once. It calls `wake` after an errand that somebody waits for."""

    def __init__(self, publisher: Publisher, wake: Callable[[], None]) -> None:
        self._publisher = publisher
        self._wake = wake
        self._errands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_busy = False
        self._is_awaited = False
        self._in_hand: list[int] = []
        self._unsent: list[int] = []
        self._thread = threading.Thread(target=self._run, name="beat-courier", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether an errand is under way. If so, `wake` is called at its end."""
        with self._lock:
            self._is_awaited = self._is_busy
            return self._is_busy

    def is_here(self) -> bool:
        """Whether the caller is the courier's own thread."""
        return threading.current_thread() is self._thread

    def ready(self) -> bool:
        return not self.is_busy and self._publisher.ready()

    def publish(self, hints: Sequence[Hint]) -> list[int]:
        """Take the hints and return at once. What could not be sent: `take_back`."""
        self._in_hand = [hint.execution_id for hint in hints]

        def errand() -> None:
            refused = self._publisher.publish(hints)
            with self._lock:
                self._unsent += refused
                self._in_hand = []

        self.go(errand)
        return []

    def take_back(self) -> list[int]:
        with self._lock:
            taken, self._unsent = self._unsent, []
        return taken

    def go(self, errand: Callable[[], None]) -> None:
        """Run `errand` in the courier's thread. Only when it is not busy."""
        with self._lock:
            self._is_busy = True
        self._errands.put(errand)

    def close(self) -> list[int]:
        """Wait a moment for the errand under way. Returns what may not have been sent."""
        done = threading.Event()
        self._errands.put(done.set)
        done.wait(CLOSE_SECONDS)
        with self._lock:
            return [*self._unsent, *self._in_hand]

    def _run(self) -> None:
        while True:
            errand = self._errands.get()
            try:
                errand()
            # Without this thread beat would never send again. What it had in hand is sent later.
            except Exception as error:  # noqa: BLE001
                emit("publish.failed", error=f"{type(error).__name__}: {error}")
            with self._lock:
                self._is_busy = False
                self._unsent += self._in_hand
                self._in_hand = []
                is_awaited = self._is_awaited or bool(self._unsent)
                self._is_awaited = False
            if is_awaited:
                self._wake()
