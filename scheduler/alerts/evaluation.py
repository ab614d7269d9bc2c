"""Beat's step for the rules of jobs. All beats together look every 2 seconds.

It reads what the rows say and writes alerts in transactions of its own, after everything else of
the tick. A fault in it is logged once and never stops a tick.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from django.db import Error

from scheduler.alerts import ended_runs, standing
from scheduler.alerts.standing import Durations
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.models import AlertCursor
from scheduler.store import alerts
from scheduler.transient import is_outage

_EVERY: Final = timedelta(seconds=2)
_CHECK_SECONDS: Final = 1.0
# A look that takes long, because much waits, comes less often: this part of the time at most.
_LARGEST_PART: Final = 0.1
_LONGEST_SECONDS: Final = 30.0
_PRUNE_SECONDS: Final = 60.0
_PRUNE_BATCH: Final = 500


class Evaluation:
    """The step of one beat. It remembers only when it may look again."""

    def __init__(self, clock: Clock, settings: Callable[[], SchedulerSettings]) -> None:
        self._clock = clock
        self._settings = settings
        self._durations = Durations(clock.monotonic)
        self._next_look = 0.0
        self._next_prune = 0.0
        self._next_leftovers = 0.0
        self._is_failing = False

    def step(self) -> bool:
        """Looks, if it is time. Returns whether there is more to read at once.

        Raises only when the database is away: then the whole tick is.
        """
        monotonic = self._clock.monotonic()
        if monotonic < self._next_look:
            return False
        self._next_look = monotonic + _CHECK_SECONDS
        try:
            has_more = self._look(self._clock.now())
        # Whatever is wrong with alerts, beat goes on with the slots. The event reports it once.
        except Exception as error:
            if isinstance(error, Error) and is_outage(error):
                raise
            if not self._is_failing:
                emit("alerts.failed", error=f"{type(error).__name__}: {error}", exc_info=True)
            self._is_failing = True
            return False
        self._is_failing = False
        took = self._clock.monotonic() - monotonic
        self._next_look = monotonic + min(
            max(_CHECK_SECONDS, took / _LARGEST_PART), _LONGEST_SECONDS
        )
        if has_more:
            self._next_look = monotonic
        return has_more

    def _look(self, now: datetime) -> bool:
        settings = self._settings()
        has_more = False
        if settings.alerts.are_on:
            ends = alerts.cursor(ended_runs.CURSOR, now=now)
            if _is_due(ends, now, _EVERY):
                has_more = ended_runs.look(ends, settings.alerts, now=now)
        if settings.alerts.are_on or self._has_leftovers():
            stands = alerts.cursor(standing.CURSOR, now=now - standing.EVERY)
            if _is_due(stands, now, standing.EVERY):
                standing.look(stands, settings.alerts, self._durations, now)
        self._prune(now, settings)
        return has_more

    def _has_leftovers(self) -> bool:
        """Alerts from before the channels were taken out of the settings still end."""
        monotonic = self._clock.monotonic()
        if monotonic < self._next_leftovers:
            return False
        self._next_leftovers = monotonic + _PRUNE_SECONDS
        return alerts.any_open()

    def _prune(self, now: datetime, settings: SchedulerSettings) -> None:
        monotonic = self._clock.monotonic()
        if monotonic >= self._next_prune:
            self._next_prune = monotonic + _PRUNE_SECONDS
            alerts.prune(now - timedelta(days=settings.retention_days), _PRUNE_BATCH)


def _is_due(cursor: AlertCursor, now: datetime, every: timedelta) -> bool:
    assert cursor.at is not None
    # A clock that was set back: the windows begin anew there.
    return cursor.at <= now - every or cursor.at > now + every
