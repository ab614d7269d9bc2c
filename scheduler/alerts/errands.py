"""Work that waits for other hosts, in threads of its own: never in a tick, never in a run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection

from scheduler.events import emit
from scheduler.limits import limit_connection


class Errands:
    """At most `most` at once. Whoever comes when all are under way is refused."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    def go(self, work: Callable[[], None]) -> bool:
        """Starts `work`, which must not take for ever. False: not now. Returns at once."""
        if not self._free.acquire(blocking=False):
            return False

        def run() -> None:
            try:
                limit_connection()
                work()
            # Nobody waits for this thread, so nobody else would see the error.
            except Exception as error:  # noqa: BLE001
                emit("alert.not_told", error=f"{type(error).__name__}: {error}")
            finally:
                connection.close()
                self._free.release()

        threading.Thread(target=run, name="jobu-alert", daemon=True).start()
        return True
