"""The soft time limit of a Celery task that runs in a thread of ours."""

from __future__ import annotations

import contextvars
import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded


class _Waiting(threading.local):
    """The task of this thread whose body has not begun yet."""

    task: Any = None


_waiting = _Waiting()


@contextmanager
def soft_limit_of(task: Task) -> Iterator[None]:
    """In the block, the soft limit of the task applies to its body, once `limit_body` has seen it.

    Celery's own steps before and after the body have no limit: Celery swallows an error that
    strikes in a receiver of its signals, and the body would run without a limit.
    """
    _waiting.task = task
    try:
        yield
    finally:
        _waiting.task = None


def limit_body(task: Task) -> None:
    """Puts the limit around the function of the task, inside Celery's automatic retries."""
    name = "_orig_run" if hasattr(task, "_orig_run") else "run"
    body = getattr(task, name)

    @wraps(body)
    def limited(*args: Any, **kwargs: Any) -> Any:
        if _waiting.task is not task:
            return body(*args, **kwargs)
        _waiting.task = None
        with _soft_limit(task.soft_time_limit):
            return body(*args, **kwargs)

    setattr(task, name, limited)


@contextmanager
def _soft_limit(seconds: float | None) -> Iterator[None]:
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
