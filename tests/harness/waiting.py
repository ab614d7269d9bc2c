"""The one place where a test may wait for the outside world."""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")

# Looks are rarer the longer it takes: a look at a database costs a connection.
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.02, 0.3
# Beside other runs (tests/run.py) all takes longer; alone, the times stand as they are written.
PATIENCE = 6 if os.environ.get("JOBU_TEST_SIDE_BY_SIDE") else 1
# Less is not patience: it is what a test says that a thing must take, or must not.
LEAST_PATIENT_SECONDS = 10


class WaitedTooLongError(AssertionError):
    """What a test waited for did not happen in time."""


def wait_until(
    predicate: Callable[[], Answer],
    timeout: float,
    what: str,
    *,
    details: Callable[[], str] = lambda: "",
) -> Answer:
    """The predicate's first true answer. After `timeout` seconds raises with `details()`; beside
    other runs after PATIENCE times as long.

    Other processes do not tell us when they are done, so this looks again every 20 to 300 ms.
    Everything inside the test's own process is waited for with events, not with this.
    """
    patience = threading.Event()  # never set: a sleep that reads as what it is
    pause = FIRST_LOOK_SECONDS
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise WaitedTooLongError(
                f"waited {timeout * PATIENCE:g} s for {what}\n{details()}".rstrip()
            )
        patience.wait(pause)
        pause = min(1.3 * pause, LAST_LOOK_SECONDS)


def wait_patiently_for_processes() -> None:
    """Ends of processes are waited for with the same patience, wherever subprocess is used."""
    for name in ("wait", "communicate"):
        setattr(subprocess.Popen, name, _with_patience(getattr(subprocess.Popen, name)))


def _with_patience(method: Callable[..., Answer]) -> Callable[..., Answer]:
    @functools.wraps(method)
    def patient(process: Any, *arguments: Any, **options: Any) -> Answer:
        bound = inspect.signature(method).bind(process, *arguments, **options)
        seconds = bound.arguments.get("timeout")
        if seconds is not None and seconds >= LEAST_PATIENT_SECONDS:
            bound.arguments["timeout"] = seconds * PATIENCE
        return method(*bound.args, **bound.kwargs)

    return patient
