"""Ends this process when its interpreter is held: no Python has to run for that.

A handler can hold the GIL for ever (a regular expression, a C library). Then no thread runs: no
timeout, no renewal of a lease, no signal handler. A timer of faulthandler, which is no Python
thread, then writes all stacks to the log and ends the process. A thread that does nothing else
winds the timer up again. The supervisor or the pool starts another process, and beat rescues the
runs. The stack names the run: handlers/named_frame.py.

The same thread ends a process that was frozen for longer than a lease, because its runs are
somebody else's by now.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from scheduler.clock import since_boot
from scheduler.events import emit

# Shorter leases are for tests. A loaded machine may let no thread run for so long.
_SHORTEST_SECONDS = 5.0
_WINDS_PER_LEASE = 8


class Ring:
    """The timer of this process and the thread that winds it up. Made after the fork."""

    def __init__(
        self, lease_seconds: Callable[[], float], end_process: Callable[[str], NoReturn]
    ) -> None:
        self._lease_seconds = lease_seconds
        self._end_process = end_process
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._wind, name="jobu-ring", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(1)
        faulthandler.cancel_dump_traceback_later()

    def _wind(self) -> None:
        wound_at = since_boot()
        log = stderr_descriptor()
        if log is None:
            # The process still has to end. Only the stacks are lost.
            emit("worker.no_stderr")
            log = os.open(os.devnull, os.O_WRONLY)
        while True:
            seconds = max(_SHORTEST_SECONDS, self._lease_seconds())
            # The clock counts the time in which the host was suspended, too.
            frozen = since_boot() - wound_at
            if frozen > seconds:
                emit("worker.frozen", seconds=frozen)
                self._end_process(f"this process was frozen for {frozen:.0f} s")
            faulthandler.dump_traceback_later(seconds, exit=True, file=log)
            wound_at = since_boot()
            if self._stopped.wait(seconds / _WINDS_PER_LEASE):
                return


def stderr_descriptor() -> int | None:
    """Returns the descriptor of Python's own stderr. None: this process has none.

    Celery puts another object into sys.stderr, which has no descriptor.
    """
    try:
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ is not None else None
        if descriptor is not None:
            os.fstat(descriptor)
    except (OSError, ValueError):
        return None
    return descriptor
