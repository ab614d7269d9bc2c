"""The soft time limit of a Celery task that runs in a thread of ours."""

from __future__ import annotations

import contextvars
import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery.exceptions import SoftTimeLimitExceeded


@contextmanager
def soft_limit(seconds: float | None) -> Iterator[None]:
    """Raises SoftTimeLimitExceeded in this thread after `seconds`, inside the block.

    The task may catch it and clean up. A call into C, such as a query, ends first.
    """
    if not seconds:
        yield
        return
    thread = ctypes.c_ulong(threading.get_ident())
    lock = threading.Lock()
    is_over = False

    def strike() -> None:
        with lock:
            if not is_over:
                _raise_in(thread, ctypes.py_object(SoftTimeLimitExceeded))

    timer = threading.Timer(seconds, strike)
    timer.daemon = True
    # In an empty context: it is no thread that the task has started.
    contextvars.Context().run(timer.start)
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            is_over = True
        # Takes back what was raised and has not arrived yet.
        _raise_in(thread, None)


def _raise_in(thread: ctypes.c_ulong, error: object) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, error)
