"""When a worker looks for the runs of a slot that beat has announced.

Beat commits them a millisecond after the slot, or some where it could not begin early. The message
that follows takes longer to come, so the worker does not wait for it: it looks a few times by
itself. A look that finds nothing takes a processor from beat, so the first one comes about when the
runs of earlier slots were there.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from scheduler.clock import Clock

# After the slot.
_EARLIEST_SECONDS: Final = 0.001
# Then the message has come, or something is in trouble.
_LATEST_SECONDS: Final = 0.025
_EVERY_SECONDS: Final = 0.0015
# How far the next first look moves when this one has found runs, or has come too early. So one of
# four comes too early, which costs as much as a little waiting each time.
_SOONER_SECONDS: Final = 0.0003
_LATER_SECONDS: Final = 0.001
# A message that waited in its queue, or that nobody of ours has sent.
_FURTHEST: Final = timedelta(seconds=1)


class Expected:
    """`announce` may be called from any thread, all else from the one that looks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._announced: datetime | None = None
        self._slot_at = self._next_at = math.inf
        self._first_seconds = _EARLIEST_SECONDS
        self._is_first = False

    def announce(self, slot_at: datetime) -> None:
        self._announced = slot_at

    def next_look(self) -> float:
        """On the monotonic clock. Infinite: nothing is expected."""
        announced, self._announced = self._announced, None
        if announced is not None:
            ahead = announced - self._clock.estimate()
            if abs(ahead) <= _FURTHEST:
                self._slot_at = self._clock.monotonic() + ahead.total_seconds()
                self._next_at = self._slot_at + self._first_seconds
                self._is_first = True
        return self._next_at

    def looked(self, begun_at: float, *, found: bool) -> None:
        """A look is over that began at `begun_at`, whatever it was for."""
        if self._next_at == math.inf or begun_at < self._slot_at:
            return
        if self._is_first and (found or begun_at >= self._next_at):
            moved = self._first_seconds + (-_SOONER_SECONDS if found else _LATER_SECONDS)
            self._first_seconds = min(max(moved, _EARLIEST_SECONDS), _LATEST_SECONDS)
            self._is_first = False
        again_at = max(self._next_at, self._clock.monotonic() + _EVERY_SECONDS)
        is_over = found or again_at - self._slot_at > _LATEST_SECONDS
        self._next_at = math.inf if is_over else again_at
