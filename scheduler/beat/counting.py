"""What has ended is counted for metrics, some thousand ends a step."""

from __future__ import annotations

from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.store import counters

# After so long a tick goes on with its other steps: due jobs come first.
_SECONDS = 0.1


def count_ends(clock: Clock, settings: SchedulerSettings) -> None:
    """Count what has ended since the last step of any beat."""
    until = clock.monotonic() + _SECONDS
    while counters.count(clock.now(), lease_seconds=settings.lease_seconds):
        if clock.monotonic() >= until:
            return
