"""SIGTERM and SIGINT end beat between two steps, and within a bound wherever it is.

A signal may arrive inside a query, on a connection whose lock its thread holds. Whatever a handler
does with the database may then wait for ever. So the handler does nothing. A thread reads of the
signal from a pipe, tells the loop, and ends the process if the loop is stuck for too long.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Final

from scheduler.clock import pause
from scheduler.events import emit

#: From the signal to the end of the process. Less than the 10 s that Docker waits before it kills.
STOP_SECONDS: Final = 8.0
_STOPPING: Final = frozenset({signal.SIGTERM, signal.SIGINT})


class Stopping:
    """Whether beat is to end. `on_stop` is called once, in a thread, when the signal has come."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._is_set = False

    def __bool__(self) -> bool:
        return self._is_set

    def listen(self) -> bool:
        """Replace the handlers of the signals. False outside of the main thread, which has them."""
        if threading.current_thread() is not threading.main_thread():
            return False
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        # Written by the handler in C. That of Python runs only when a call into a driver returns.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader,), name="beat-stop", daemon=True).start()
        for number in _STOPPING:
            signal.signal(number, _nothing)
        return True

    def _watch(self, reader: int) -> None:
        while _STOPPING.isdisjoint(os.read(reader, 64)):
            pass
        self._is_set = True
        self._on_stop()
        pause(STOP_SECONDS)
        # As whole as the usual end: the server rolls the open transaction back.
        emit("beat.cut_off", seconds=STOP_SECONDS)
        os._exit(0)


def _nothing(*_: Any) -> None:
    """Python needs some handler, or the signal would end the process."""
