"""When a worker looks for the runs of a slot that beat has announced.

Beat writes them some milliseconds after the slot. The message that follows takes as long again to
come, so the worker does not wait for it: it looks a few times by itself.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from scheduler.clock import Clock

# Beat is not as fast as this: an earlier look would find nothing and take a processor from it.
_FIRST_SECONDS: Final = 0.003
_EVERY_SECONDS: Final = 0.002
# Then the message has come, or something is in trouble.
_LONGEST_SECONDS: Final = 0.025
# A message that waited in its queue, or that nobody of ours has sent.
_FURTHEST: Final = timedelta(seconds=1)


class Expected:
    """`announce` may be called from any thread, all else from the one that looks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._announced: datetime | None = None
        self._next_at = self._until = math.inf

    def announce(self, slot_at: datetime) -> None:
        self._announced = slot_at

    def next_look(self) -> float:
        """On the monotonic clock. Infinite: nothing is expected."""
        announced, self._announced = self._announced, None
        if announced is not None:
            ahead = announced - self._clock.estimate()
            if abs(ahead) <= _FURTHEST:
                at = self._clock.monotonic() + ahead.total_seconds()
                self._next_at, self._until = at + _FIRST_SECONDS, at + _LONGEST_SECONDS
        return self._next_at

    def looked(self, *, found: bool) -> None:
        """A look is over, whatever it was for."""
        now = self._clock.monotonic()
        if now < self._next_at:
            return
        again_at = now + _EVERY_SECONDS
        self._next_at = math.inf if found or again_at > self._until else again_at
