"""Sends messages in a thread, so that recording slots never waits for the broker.

A broker may accept a connection and then say nothing, or its name may take long to resolve. No sum
of timeouts bounds that well. Only this thread touches the broker, and it has one errand at a time.

One other thread, that of the tick, calls the courier. It asks `is_busy` before it brings an errand,
which is safe only because nobody else brings one in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from queue import SimpleQueue
from typing import Final

from scheduler.clock import pause, since_boot
from scheduler.events import emit
from scheduler.wakeup_messages import Sender, format_error

#: So long workers that were woken have the processors for themselves.
WORKERS_FIRST_SECONDS: Final = 0.015
#: So long a worker that was told of the slot looks by itself, before a message disturbs it.
LOOKS_FIRST_SECONDS: Final = 0.006
_ANNOUNCED_SECONDS: Final = 0.1
#: How long the end of beat waits for the errand under way.
CLOSE_SECONDS: Final = 1.0


class Courier:
    """A Sender that returns at once. It calls `wake` after an errand that somebody waits for."""

    def __init__(self, sender: Sender, wake: Callable[[], None]) -> None:
        self._sender = sender
        self._wake = wake
        self._errands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_busy = False
        self._is_awaited = False
        self._announced_at = -_ANNOUNCED_SECONDS
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
        return not self.is_busy and self._sender.ready()

    def send(self, times: Mapping[str, int], slot_at: datetime | None = None) -> None:
        self.go(lambda: self._send(times, slot_at))

    def _send(self, times: Mapping[str, int], slot_at: datetime | None) -> None:
        if slot_at is not None:
            self._announced_at = since_boot()
        elif since_boot() - self._announced_at < _ANNOUNCED_SECONDS:
            # A worker looks by itself just now, perhaps on the same two processors.
            pause(LOOKS_FIRST_SECONDS)
        self._sender.send(dict.fromkeys(times, 1), slot_at)
        others = {queue: count - 1 for queue, count in times.items() if count > 1}
        if others:
            # The first one may be enough. Others would disturb whoever begins to work for it.
            pause(WORKERS_FIRST_SECONDS)
            self._sender.send(others, slot_at)

    def go(self, errand: Callable[[], None]) -> None:
        """Run `errand` in the courier's thread. Only when it is not busy."""
        with self._lock:
            self._is_busy = True
        self._errands.put(errand)
        # It begins now, and not when this thread has to wait for something.
        pause(0)

    def close(self) -> None:
        """Wait a moment for the errand under way."""
        done = threading.Event()
        self._errands.put(done.set)
        done.wait(CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            errand = self._errands.get()
            try:
                errand()
            # Without this thread beat would never send again.
            except Exception as error:  # noqa: BLE001
                emit("publish.failed", error=format_error(error))
            with self._lock:
                self._is_busy = False
                is_awaited, self._is_awaited = self._is_awaited, False
            if is_awaited:
                self._wake()
