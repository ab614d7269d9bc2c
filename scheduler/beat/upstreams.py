"""Beat's part in dependencies: runs that wait go on, or are skipped when their time is over."""

from __future__ import annotations

from scheduler.clock import Clock
from scheduler.events import emit
from scheduler.store import waits


class Waits:
    """How far the look at the waiting runs has come. Any number of beats may do this at once."""

    def __init__(self) -> None:
        self._after = 0

    def settle(self, clock: Clock) -> frozenset[str]:
        """One step. Returns the queues of runs that may start now. One probe if nothing waits."""
        done = waits.settle(clock.now(), after=self._after)
        self._after = done.after
        if done.released or done.skipped:
            emit("upstreams.settled", released=done.released, skipped=done.skipped)
        return done.queues
