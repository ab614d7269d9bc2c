"""Beat watches the database's clock, because that clock alone decides when a slot is due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from scheduler.clock import host_now, since_boot
from scheduler.events import emit
from scheduler.operations.liveness import CLOCK_TOLERANCE, ClockState, clock_of

#: A jump is over in an instant. It shows for so long, so that whoever looks now and then sees it.
_JUMP_SHOWS_SECONDS: Final = 60.0


class ClockWatch:
    """Compares readings of the database's clock with each other, with rows and with the host."""

    def __init__(
        self,
        *,
        host_now: Callable[[], datetime] = host_now,
        since_boot: Callable[[], float] = since_boot,
    ) -> None:
        self._host_now = host_now
        self._since_boot = since_boot
        self._last: tuple[datetime, float] | None = None
        self._latest: datetime | None = None
        self._problem = ClockState.OK
        # The last jump ahead: by how much, and when.
        self._jump: tuple[float, float] | None = None
        #: How far it is off, if it is: behind its own latest time, or from the host's.
        self.off_seconds = 0.0

    @property
    def jumped_seconds(self) -> float:
        """By how much the clock has jumped ahead in the last minute. 0: not at all."""
        if self._jump is None or self._since_boot() - self._jump[1] > _JUMP_SHOWS_SECONDS:
            return 0.0
        return self._jump[0]

    def look(self, now: datetime) -> ClockState:
        """Compare the database's `now`. Says once what is wrong, and once that it is right."""
        elapsed = self._since_boot()
        if self._last is not None:
            gained = (now - self._last[0]).total_seconds() - (elapsed - self._last[1])
            if gained > CLOCK_TOLERANCE.total_seconds():
                self._jump = (gained, elapsed)
                emit("clock.jumped", seconds=gained)
        self._last = (now, elapsed)
        self._latest = max(now, self._latest or now)
        found = clock_of(now, host_now=self._host_now(), latest=self._latest)
        is_behind = found.state == ClockState.BEHIND
        self.off_seconds = found.behind_seconds if is_behind else found.offset_seconds
        if found.state != self._problem:
            self._problem = found.state
            if found.state == ClockState.BEHIND:
                emit("clock.behind", seconds=found.behind_seconds)
            elif found.state == ClockState.DIFFERS:
                emit("clock.differs", seconds=found.offset_seconds)
            else:
                emit("clock.right")
        return found.state
