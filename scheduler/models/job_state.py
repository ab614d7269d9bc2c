"""Whether a job is enabled, paused, disabled or in error: one rule, for one job and for queries.

It stands beside the tables, because the statements of the store count by it and every door shows
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

from django.db.models import Q

from scheduler.states import JobState


class _Switched(Protocol):
    """The columns that decide the state."""

    @property
    def is_enabled(self) -> bool: ...
    @property
    def schedule_error(self) -> str: ...
    @property
    def pause_reason(self) -> str: ...
    @property
    def paused_until(self) -> datetime | None: ...


def state_of(job: _Switched) -> JobState:
    """Returns the state of a job. An error outweighs a pause: the pause would not end it."""
    if job.is_enabled:
        return JobState.ENABLED
    if job.schedule_error:
        return JobState.ERROR
    return JobState.PAUSED if job.pause_reason or job.paused_until else JobState.DISABLED


_IS_OFF: Final = Q(is_enabled=False)
_IS_BROKEN: Final = ~Q(schedule_error="")
_IS_PAUSED: Final = ~Q(pause_reason="") | Q(paused_until__isnull=False)

#: The same rule as conditions on the table of jobs.
IN_STATE: Final[Mapping[JobState, Q]] = {
    JobState.ENABLED: Q(is_enabled=True),
    JobState.ERROR: _IS_OFF & _IS_BROKEN,
    JobState.PAUSED: _IS_OFF & ~_IS_BROKEN & _IS_PAUSED,
    JobState.DISABLED: _IS_OFF & ~_IS_BROKEN & ~_IS_PAUSED,
}
