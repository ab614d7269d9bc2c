"""Which threads belong to which run.

A thread that is started in a run, or in another thread of that run, carries the mark of the run.
Threads that are started with `_thread`, or by a library in C, carry none and are not seen.
"""

from __future__ import annotations

import concurrent.futures.thread
import functools
import sys
import threading

from handlers.context import running

_MARK = "_jobu_run_mark"


def track_threads() -> None:
    """Mark the threads of runs from now on. A repeated call does nothing."""
    start = threading.Thread.start
    if hasattr(start, "_marks_threads"):
        return

    @functools.wraps(start)
    def marked_start(thread: threading.Thread) -> None:
        mark = current_mark()
        if mark is not None:
            setattr(thread, _MARK, mark)
        start(thread)

    marked_start._marks_threads = True  # type: ignore[attr-defined]
    threading.Thread.start = marked_start  # type: ignore[assignment, method-assign]


def current_mark() -> str | None:
    """The mark of the run that this code belongs to. None: it belongs to no run."""
    run = running.get(None)
    if run is not None:
        return run.mark
    # A new thread does not inherit the context variables of the thread that starts it.
    mark: str | None = getattr(threading.current_thread(), _MARK, None)
    return mark


def threads_of(mark: str) -> list[threading.Thread]:
    """The threads of a run that are alive and can still do something by themselves."""
    return [
        thread
        for thread in threading.enumerate()
        if getattr(thread, _MARK, None) == mark and not _waits_for_work(thread)
    ]


def _waits_for_work(thread: threading.Thread) -> bool:
    """True for a thread of a ThreadPoolExecutor that has no work.

    A module's own executor often starts its threads in the first run that uses it.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code is _IDLE_CODE


_IDLE_CODE = concurrent.futures.thread._worker.__code__
