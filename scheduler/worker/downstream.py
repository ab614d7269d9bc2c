"""A run that has succeeded lets the runs go on at once that wait for it.

Beat does so, too, within a second: this is only sooner, so its errors are nobody's concern.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from django.db import Error, connection

from scheduler.clock import Clock
from scheduler.store import upstreams, waits

# How old the knowledge of who is waited for may be. Runs of other jobs cost nothing.
_KNOWN_SECONDS: Final = 5.0


class Downstream:
    """`on_runnable` is called with the queues of runs that may start now."""

    def __init__(self, clock: Clock, on_runnable: Callable[[frozenset[str]], None]) -> None:
        self._clock = clock
        self._on_runnable = on_runnable
        self._upstreams: frozenset[int] = frozenset()
        self._next_look = 0.0

    def succeeded(self, job_ids: Collection[int]) -> None:
        """Runs of these jobs have succeeded, and their ends are committed."""
        try:
            awaited = self._known().intersection(job_ids)
            queues = waits.release_after(awaited, self._clock.now()) if awaited else frozenset()
        except Error:
            connection.close()
            return
        if queues:
            self._on_runnable(queues)

    def _known(self) -> frozenset[int]:
        monotonic = self._clock.monotonic()
        if monotonic >= self._next_look:
            self._next_look = monotonic + _KNOWN_SECONDS
            self._upstreams = upstreams.upstream_ids()
        return self._upstreams
