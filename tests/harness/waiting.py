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

# The longer a wait takes, the rarer are the looks: a look at a database costs a connection.
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.02, 0.3
# Beside other runs (tests/run.py) everything takes longer. Alone, timeouts are as written.
PATIENCE = 6 if os.environ.get("JOBU_TEST_SIDE_BY_SIDE") else 1
# A shorter timeout is not patience: it is the time that something must, or must not, take.
LEAST_PATIENT_SECONDS = 10


class WaitedTooLongError(AssertionError):
    """The event that a test waited for did not happen in time."""


def wait_until(
    predicate: Callable[[], Answer],
    timeout: float,
    what: str,
    *,
    details: Callable[[], str] = lambda: "",
) -> Answer:
    """Returns the predicate's first true answer. After `timeout` seconds raises with `details()`.

    Beside other runs it waits PATIENCE times as long. It asks every 20 to 300 ms, because other
    processes do not report when they are ready. Inside the test's own process use events instead.
    """
    patience = threading.Event()  # never set
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


def patient(seconds: float) -> float:
    """Returns how long to wait for the end of a process, which may take `seconds`."""
    return seconds * PATIENCE if seconds >= LEAST_PATIENT_SECONDS else seconds


def wait_patiently_for_processes() -> None:
    """Makes every wait of subprocess for the end of a process equally patient."""
    for name in ("wait", "communicate"):
        setattr(subprocess.Popen, name, _with_patience(getattr(subprocess.Popen, name)))


def _with_patience(method: Callable[..., Answer]) -> Callable[..., Answer]:
    @functools.wraps(method)
    def wait(process: Any, *arguments: Any, **options: Any) -> Answer:
        bound = inspect.signature(method).bind(process, *arguments, **options)
        seconds = bound.arguments.get("timeout")
        if seconds is not None:
            bound.arguments["timeout"] = patient(seconds)
        return method(*bound.args, **bound.kwargs)

    return wait
