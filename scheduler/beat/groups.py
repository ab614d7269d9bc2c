"""Groups of jobs with limits: beat writes those of the configuration, and is the net for runs that
wait for a place.
"""

from __future__ import annotations

from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.store import limited_jobs, places
from scheduler.store.jobs import disable_job

_LOOK_SECONDS = 60.0
_AT_ONCE = 100


class Groups:
    """What beat does for groups now and then."""

    def __init__(self) -> None:
        self._are_written = False
        self._look_at = 0.0

    def write(self, clock: Clock, settings: SchedulerSettings) -> None:
        """The groups of the configuration, once, before any run needs them."""
        if not self._are_written:
            wanted = {name: each.model_dump() for name, each in settings.concurrency_groups.items()}
            limited_jobs.take_from_settings(wanted, clock.now())
            self._are_written = True

    def step(self, clock: Clock) -> set[str]:
        """Returns the queues of runs that may start now."""
        limited_jobs.count_going_on(clock.now())
        queues = places.release_awaited(clock.now())
        if clock.monotonic() >= self._look_at:
            self._look_at = clock.monotonic() + _LOOK_SECONDS
            self._disable_lost(clock)
        return queues

    def _disable_lost(self, clock: Clock) -> None:
        """Jobs whose group SQL has deleted. Their runs start without it; no slot is to follow."""
        for job_id, name, group in limited_jobs.jobs_without_their_group(_AT_ONCE):
            reason = f"concurrency_group: there is no group {group!r}"
            now = clock.now()
            if disable_job(job_id, now=now, error=reason, missed_from=now):
                emit("job.disabled", job=name, job_id=job_id, reason=reason)
