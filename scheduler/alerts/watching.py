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

from scheduler.alert_states import AlertKind
from scheduler.alerts import watchers
from scheduler.alerts.announcing import tell_directly
from scheduler.alerts.condition import Condition
from scheduler.alerts.episodes import settle_conditions
from scheduler.alerts.late_queues import late_queues
from scheduler.alerts.watchers import HostReadings
from scheduler.conf import current
from scheduler.events import emit
from scheduler.operations.liveness import STALE_AFTER
from scheduler.states import ProcessKind
from scheduler.store import alerts, processes, retention, switches
from scheduler.transient import in_transaction, is_outage

_OF_QUEUES: Final = (AlertKind.NO_WORKER, AlertKind.CLAIMING_STANDS)
_OF_ROWS: Final = (AlertKind.RETENTION_BEHIND, AlertKind.SWITCH_STANDS)
_OF_HOST: Final = (AlertKind.CLOCK, AlertKind.PUBLISHING_STANDS, AlertKind.DISK)
_OF_WORKERS: Final = (AlertKind.NO_BEAT,)
#: An alert of a host that no process has confirmed for so long is over: the host is gone.
_FORGOTTEN_AFTER: Final = timedelta(minutes=10)
_CONFIRMED_AFTER: Final = timedelta(minutes=1)
_LOOK_SECONDS: Final = 10.0
#: Beats of one host see it with different eyes: one may be away from the broker that another one
#: has not asked yet. What none of them has seen in so many looks is over.
_UNSEEN_LOOKS: Final = 3
_LIMIT: Final = 1000
# The database does not answer for so long: people are told without it.
_OUTAGE_SECONDS: Final = 30.0
# A worker that has just started waits so long for the first beat.
_BEFORE_BEATS: Final = timedelta(seconds=50)
# A worker looks every few seconds. If it did not for so long, it was frozen.
_BLIND_AFTER: Final = timedelta(seconds=2 * watchers.BEAT_INTERVAL_SECONDS)
# After its start, and after an outage of the database, a beat waits so long for the heartbeats of
# workers: they could not write any.
_BEFORE_WORKERS_SECONDS: Final = STALE_AFTER.total_seconds()


def settle(
    seen: Collection[Condition], kinds: Collection[AlertKind], now: datetime, *, host: str = ""
) -> None:
    """Opens and closes the alerts of `kinds`, of this host alone if one is named.

    An alert of a host ends when no beat of the host has seen its cause for some looks. The causes
    of others are the same for all who look, so those alerts end at once.
    """
    subject = f"host:{host}"
    look = timedelta(seconds=max(_LOOK_SECONDS, current().poll_interval_seconds))
    confirmed_after = look / 2 if host else _CONFIRMED_AFTER
    unseen_after = look * _UNSEEN_LOOKS if host else timedelta()

    def is_seen_within(span: timedelta, last_seen_at: datetime) -> bool:
        return now - last_seen_at < span

    def needs_to_be_confirmed(open_key: str | None, last_seen_at: datetime) -> bool:
        # A clock that was set back has left a time in the future: the looks are counted from now.
        if last_seen_at > now:
            return True
        return open_key in wanted and not is_seen_within(confirmed_after, last_seen_at)

    def is_mine(subject_key: str, last_seen_at: datetime) -> bool:
        return not host or subject_key == subject or now - last_seen_at > _FORGOTTEN_AFTER

    found = alerts.open_of(kinds, _LIMIT)
    there = [alert for alert in found if is_mine(alert.subject_key, alert.last_seen_at)]
    wanted = {condition.open_key for condition in seen}
    known = {str(alert.open_key) for alert in there}
    confirmed = [
        alert.pk for alert in there if needs_to_be_confirmed(alert.open_key, alert.last_seen_at)
    ]
    if confirmed:
        alerts.confirm(confirmed, now)
    gone = [
        alert.pk
        for alert in there
        if alert.open_key not in wanted
        and not (host and is_seen_within(unseen_after, alert.last_seen_at))
    ]
    new = [condition for condition in seen if condition.open_key not in known]
    if gone or new:
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
        self._knows_workers_from = monotonic() + _BEFORE_WORKERS_SECONDS
        self._guarded = _Guarded()
        self._outage = Outage()

    def look(self, now: datetime, readings: Callable[[], HostReadings]) -> None:
        """Looks, if it is time. Raises only when the database is away."""
        self._outage.over()
        monotonic = self._monotonic()
        if monotonic >= self._next_look:
            self._next_look = monotonic + _LOOK_SECONDS
            knows_workers = monotonic >= self._knows_workers_from
            self._guarded.run(lambda: _look_of_beat(now, readings(), knows_workers=knows_workers))

    def database_is_away(self, seconds: float, error: str) -> None:
        """The database has not answered for so long. People are told once, without it."""
        self._knows_workers_from = self._monotonic() + _BEFORE_WORKERS_SECONDS
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
        self._looked_at: datetime | None = None
        self._sees_since: datetime | None = None
        self._missing_since: datetime | None = None
        self._has_seen_a_beat = False
        self._guarded = _Guarded()

    def look(self, now: datetime) -> None:
        """Looks. Raises only when the database is away."""
        self._guarded.run(lambda: self._look(now))

    def database_is_away(self) -> None:
        """Beats cannot write heartbeats either, so this time does not count."""
        self._looked_at = None

    def _look(self, now: datetime) -> None:
        self._started_at = self._started_at or now
        # Or this process was frozen, perhaps with all of its host.
        if self._looked_at is None or now - self._looked_at > _BLIND_AFTER:
            self._sees_since = now
        self._looked_at = now
        newest = processes.newest_heartbeat(ProcessKind.BEAT)
        # A beat that has ended in order leaves no row.
        self._missing_since = None if newest else self._missing_since or now
        since = max(newest or self._missing_since or now, self._sees_since or now)
        poll_seconds = current().poll_interval_seconds
        if newest and not watchers.no_beat(now, newest, poll_seconds=poll_seconds):
            self._has_seen_a_beat = True
            settle([], _OF_WORKERS, now)
            return
        if not self._has_seen_a_beat:
            # This worker may have come before the beats.
            since = max(since, self._started_at + _BEFORE_BEATS)
        found = watchers.no_beat(now, since, poll_seconds=poll_seconds)
        self._has_seen_a_beat |= newest is not None and now - newest < STALE_AFTER
        # Only a beat that ticks ends the alert. A worker that cannot tell yet says nothing.
        if found:
            settle([found], _OF_WORKERS, now)


def _look_of_beat(now: datetime, readings: HostReadings, *, knows_workers: bool) -> None:
    seen = watchers.switches(now, switches.unfinished_jobs(_LIMIT))
    old = watchers.retention(now, retention.oldest_end(), current().retention_days)
    seen += [old] if old else []
    if knows_workers:
        late = late_queues(now)
        live = processes.live_workers(now - STALE_AFTER) if late else []
        settle([*seen, *watchers.workers(now, late, live)], (*_OF_QUEUES, *_OF_ROWS), now)
    else:
        settle(seen, _OF_ROWS, now)
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
