"""The last answer of /metrics: made by one request at a time, and kept for some seconds.

However many programs ask, and however often, a web process reads the tables once in this time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

#: A request that waits for longer makes an answer of its own: the one before it may hang.
_WAIT_SECONDS: Final = 30.0


class Kept:
    """Thread-safe. An error is not kept."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._answer: tuple[float, object, bytes] | None = None

    def get(self, make: Callable[[], bytes], *, seconds: float, of: object) -> bytes:
        """Returns the answer of the last `seconds`, else that of `make`. `of`: what it is made of;
        an answer that was made of something else is not the same.
        """
        if (known := self._known(seconds, of)) is not None:
            return known
        has_lock = self._lock.acquire(timeout=_WAIT_SECONDS)
        try:
            # Whoever was before this request may have made it meanwhile.
            if (known := self._known(seconds, of)) is not None:
                return known
            made = make()
            self._answer = self._monotonic(), of, made
            return made
        finally:
            if has_lock:
                self._lock.release()

    def forget(self) -> None:
        self._answer = None

    def _known(self, seconds: float, of: object) -> bytes | None:
        answer = self._answer
        if answer is None or answer[1] != of or self._monotonic() - answer[0] >= seconds:
            return None
        return answer[2]
