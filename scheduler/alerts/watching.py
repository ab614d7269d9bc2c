"""Beats and workers look after each other. What they see opens one alert among all of them.

A look reads first, and takes a transaction only when something has changed. A fault in it is logged
once and disturbs nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.db import Error, connection

from scheduler.alerts import watchers
from scheduler.alerts.announcing import tell_directly
from scheduler.alerts.condition import Condition
from scheduler.alerts.episodes import settle_conditions
from scheduler.alerts.late_queues import late_queues
from scheduler.alerts.watchers import HostReadings
from scheduler.conf import current
from scheduler.events import emit
from scheduler.operations.liveness import STALE_AFTER
from scheduler.states import AlertKind, ProcessKind
from scheduler.store import alerts, processes, retention, switches
from scheduler.transient import in_transaction, is_outage

_OF_BEATS: Final = (
    AlertKind.NO_WORKER,
    AlertKind.CLAIMING_STANDS,
    AlertKind.RETENTION_BEHIND,
    AlertKind.SWITCH_STANDS,
)
_OF_HOST: Final = (AlertKind.CLOCK, AlertKind.PUBLISHING_STANDS, AlertKind.DISK)
_OF_WORKERS: Final = (AlertKind.NO_BEAT,)
#: An alert of a host that no process has confirmed for so long is over: the host is gone.
_FORGOTTEN_AFTER: Final = timedelta(minutes=10)
_CONFIRMED_AFTER: Final = timedelta(minutes=1)
_LOOK_SECONDS: Final = 10.0
_LIMIT: Final = 1000
# The database does not answer for so long: people are told without it.
_OUTAGE_SECONDS: Final = 30.0
# A worker that has just started waits so long for the first beat.
_BEFORE_BEATS: Final = timedelta(seconds=50)


def settle(
    seen: Collection[Condition], kinds: Collection[AlertKind], now: datetime, *, host: str = ""
) -> None:
    """Opens and closes the alerts of `kinds`, of this host alone if one is named."""
    subject = f"host:{host}"

    def is_mine(subject_key: str, last_seen_at: datetime) -> bool:
        return not host or subject_key == subject or now - last_seen_at > _FORGOTTEN_AFTER

    found = alerts.open_of(kinds, _LIMIT)
    there = [alert for alert in found if is_mine(alert.subject_key, alert.last_seen_at)]
    wanted = {condition.open_key for condition in seen}
    known = {str(alert.open_key) for alert in there}
    confirmed = [
        alert.pk
        for alert in there
        if alert.open_key in wanted and now - alert.last_seen_at > _CONFIRMED_AFTER
    ]
    if confirmed:
        alerts.confirm(confirmed, now)
    if wanted == known:
        return
    gone = [alert.pk for alert in there if alert.open_key not in wanted]
    new = [condition for condition in seen if condition.open_key not in known]
    in_transaction(lambda: settle_conditions(new, gone, now=now))


class _Guarded:
    """A look whose faults are logged once. An outage of the database is left to the caller."""

    def __init__(self) -> None:
        self._is_failing = False

    def run(self, look: Callable[[], None]) -> None:
        try:
            look()
        # Whatever is wrong with alerts, the process goes on with its work.
        except Exception as error:
            if isinstance(error, Error) and is_outage(error):
                raise
            if not self._is_failing:
                emit("alerts.failed", error=f"{type(error).__name__}: {error}", exc_info=True)
            self._is_failing = True
        else:
            self._is_failing = False


class BeatWatch:
    """What a beat watches, every 10 seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next_look = 0.0
        self._guarded = _Guarded()
        self._outage = Outage()

    def look(self, now: datetime, readings: Callable[[], HostReadings]) -> None:
        """Looks, if it is time. Raises only when the database is away."""
        self._outage.over()
        monotonic = self._monotonic()
        if monotonic >= self._next_look:
            self._next_look = monotonic + _LOOK_SECONDS
            self._guarded.run(lambda: _look_of_beat(now, readings()))

    def database_is_away(self, seconds: float, error: str) -> None:
        """The database has not answered for so long. People are told once, without it."""
        self._outage.is_there(seconds, error)


class Outage:
    """Tells of the database being away, by this process alone: no row can say who has told it."""

    def __init__(self) -> None:
        self._told: Condition | None = None

    def is_there(self, seconds: float, error: str) -> None:
        if self._told is None and seconds >= _OUTAGE_SECONDS:
            facts = {"seconds": round(seconds), "error": error.split("\n", 1)[0][:300]}
            self._told = Condition(kind=AlertKind.DATABASE, subject_key="database", facts=facts)
            tell_directly(self._told, opened=True)

    def over(self) -> None:
        if self._told is not None:
            told, self._told = self._told, None
            tell_directly(told, opened=False)


class WorkerWatch:
    """What the main process of a worker watches, at each heartbeat: that a beat ticks."""

    def __init__(self) -> None:
        self._started_at: datetime | None = None
        self._missing_since: datetime | None = None
        self._has_seen_a_beat = False
        self._guarded = _Guarded()

    def look(self, now: datetime) -> None:
        """Looks. Raises only when the database is away."""
        self._guarded.run(lambda: self._look(now))

    def _look(self, now: datetime) -> None:
        self._started_at = self._started_at or now
        newest = processes.newest_heartbeat(ProcessKind.BEAT)
        # A beat that has ended in order leaves no row.
        self._missing_since = None if newest else self._missing_since or now
        since = newest or self._missing_since or now
        if not self._has_seen_a_beat:
            # This worker may have come before the beats.
            since = max(since, self._started_at + _BEFORE_BEATS)
        found = watchers.no_beat(now, since, poll_seconds=current().poll_interval_seconds)
        self._has_seen_a_beat |= newest is not None and now - newest < STALE_AFTER
        settle([found] if found else [], _OF_WORKERS, now)


def _look_of_beat(now: datetime, readings: HostReadings) -> None:
    late = late_queues(now)
    live = processes.live_workers(now - STALE_AFTER) if late else []
    seen: list[Condition] = watchers.workers(now, late, live)
    seen += watchers.switches(now, switches.unfinished_jobs(_LIMIT))
    old = watchers.retention(now, retention.oldest_end(), current().retention_days)
    settle([*seen, old] if old else seen, _OF_BEATS, now)
    settle(watchers.of_host(readings), _OF_HOST, now, host=readings.host)


def disk_of_database() -> tuple[int, int] | None:
    """Returns total and free bytes of the disk with the database's file. None: it is a server."""
    if connection.vendor != "sqlite":
        return None
    path = Path(str(connection.settings_dict["NAME"]))
    if not path.is_file():
        return None  # in memory
    usage = shutil.disk_usage(path.parent)
    return usage.total, usage.free
