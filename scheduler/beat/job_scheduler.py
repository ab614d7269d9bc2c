"""`celery -A jobu_project beat`: Celery's beat with our tick in place of its in-memory schedule.

Static entries of `beat_schedule` still work, through Celery's own tick. Each beat sends them, so
what must run once belongs in a job. An entry that is due while the broker is away is sent when the
broker is back, and delays no job until then.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from typing import Any

from celery import beat
from celery.signals import beat_init
from django.db import Error, close_old_connections, connection
from kombu.exceptions import OperationalError

from scheduler import service_manager
from scheduler.alerts.watchers import HostReadings
from scheduler.alerts.watching import BeatWatch, disk_of_database
from scheduler.beat.clock_watch import ClockWatch
from scheduler.beat.courier import Courier
from scheduler.beat.dispatcher import Dispatcher
from scheduler.beat.stopping import Stopping
from scheduler.clock import DatabaseClock
from scheduler.conf import current
from scheduler.events import emit
from scheduler.limits import limit_connection
from scheduler.states import ProcessKind
from scheduler.store import processes
from scheduler.store.connection import database_now
from scheduler.transient import is_transient
from scheduler.wakeup_messages import CelerySender

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 5.0
_HEARTBEAT_SECONDS = 5.0
# How long a static entry waits that is due while the broker is away.
_ENTRY_WAITS_SECONDS = 5.0
# The same while another message is under way.
_COURIER_WAITS_SECONDS = 0.1
# A reading of the database's clock serves for so long: a slot need not wait for another one.
_CLOCK_SECONDS = 0.1
# So long before a slot beat gets ready for it. A process that has slept is slow at first.
_READY_SECONDS = 0.022
# A connection that was there is taken for granted for so long.
_CONNECTED_SECONDS = 0.5


class JobScheduler(beat.Scheduler):  # type: ignore[misc]
    """Ticks the dispatcher, survives outages of database and broker, writes the heartbeat."""

    def __init__(self, app: Any, *args: Any, lazy: bool = False, **kwargs: Any) -> None:
        super().__init__(app, *args, lazy=lazy, **kwargs)
        self._clock = DatabaseClock(database_now, max_age_seconds=_CLOCK_SECONDS)
        self._sender = CelerySender(app, self._clock)
        self._wake = threading.Event()
        self._stopping = Stopping(on_stop=self._wake.set)
        self._dispatcher = Dispatcher(
            clock=self._clock, sender=self._sender, stopping=lambda: bool(self._stopping)
        )
        self._name = f"beat@{socket.gethostname()}:{os.getpid()}"
        self._started_at: Any = None
        self._next_heartbeat = 0.0
        self._failed_since: float | None = None
        self._backoff_seconds = _FIRST_BACKOFF_SECONDS
        self._sleeps = False
        self._is_connected_until = 0.0
        self._clock_watch = ClockWatch()
        self._watch = BeatWatch(self._clock.monotonic)
        self._courier: Courier | None = None
        # Static entries that the courier could not send.
        self._unsent_entries: deque[Any] = deque()

    def begin(self) -> None:
        """This process is a beat: it ends in order on a signal, keeps no lock for long, and does
        not wait for the broker.
        """
        limit_connection(in_constant_use=True, plans_freely=True)
        self._courier = Courier(self._sender, wake=self._wake.set)
        self._dispatcher.sender = self._courier
        self._sleeps = self._stopping.listen()
        service_manager.notify("READY=1")

    @property
    def info(self) -> str:
        return f"    . jobs -> {connection.vendor} database, any number of beats"

    def setup_schedule(self) -> None:
        # Only the user's entries: Celery's default ones clean a result backend, which jobu has not.
        self.merge_inplace(self.app.conf.beat_schedule)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One tick, and in a process that is a beat the sleep after it. Returns what is left of it.

        An exception here would end the process, but only a signal may end beat. It ends here, so
        that it finds no query under way.
        """
        seconds = self._tick(*args, **kwargs)
        if not self._sleeps:
            return seconds
        self._sleep(seconds)
        self._wake.clear()
        if self._stopping:
            raise SystemExit
        return 0.0

    def _sleep(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        if seconds > _READY_SECONDS and self._dispatcher.awaits_slot:
            if self._wake.wait(seconds - _READY_SECONDS):
                return
            until -= self._get_ready()
        self._wake.wait(max(0.0, until - self._clock.monotonic()))

    def _get_ready(self) -> float:
        """Look whether the connection is there, and do without a write what the tick will do.

        Returns how many seconds before the slot the tick is to begin.
        """
        try:
            close_old_connections()
            early_seconds = self._dispatcher.get_ready()
            self._is_connected_until = self._clock.monotonic() + _CONNECTED_SECONDS
        # The tick that follows meets the same trouble, and reports it.
        except Exception:  # noqa: BLE001
            connection.close()
            return 0.0
        return early_seconds

    def _tick(self, *args: Any, **kwargs: Any) -> float:
        # While the database is away beat works on, and must not be ended for it.
        service_manager.notify("WATCHDOG=1")
        try:
            if self._clock.monotonic() >= self._is_connected_until:
                # Django asks the server before the next statement.
                close_old_connections()
            wait = self._dispatcher.tick()
            self._heartbeat()
            self._take_entries_back()
            if self.schedule:
                wait = min(wait, super().tick(*args, **kwargs))
        # Beat survives every error of a tick. The event reports it, once per outage.
        except Exception as error:  # noqa: BLE001
            return self._fail(error)
        if self._failed_since is not None:
            emit("tick.recovered", outage_seconds=self._clock.monotonic() - self._failed_since)
            self._failed_since = None
            self._backoff_seconds = _FIRST_BACKOFF_SECONDS
        return wait

    @property
    def producer(self) -> Any:
        """The producer of Celery's tick.

        Celery's own producer tries to connect for ever when an entry is due. Meanwhile beat would
        record no slot. None while the broker is away, and outside of the courier's thread.
        """
        if self._courier is not None and not self._courier.is_here():
            return None
        return self._sender.producer()

    def is_due(self, entry: Any) -> Any:
        """Whether the entry is due. Celery's tick asks just before it sends it."""
        due = super().is_due(entry)
        if not due[0]:
            return due
        if self._courier is None:
            return due if self.producer is not None else (False, _ENTRY_WAITS_SECONDS)
        if self._courier.is_busy:
            return False, _COURIER_WAITS_SECONDS
        return due if self._courier.ready() else (False, _ENTRY_WAITS_SECONDS)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        if self._courier is None:
            super().apply_entry(entry, producer=producer)
        else:
            self._courier.go(lambda: self._send_entry(entry))

    def _send_entry(self, entry: Any) -> None:
        """Send a static entry, in the courier's thread."""
        producer = self.producer
        if producer is None:
            self._unsent_entries.append(entry)
        else:
            super().apply_entry(entry, producer=producer)

    def _take_entries_back(self) -> None:
        """Entries that could not be sent are due again. Celery has marked them as sent."""
        while self._unsent_entries:
            entry = self._unsent_entries.popleft()
            self.schedule[entry.name] = entry
            self._heap = None  # Celery makes it again from the schedule

    def apply_async(
        self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Send a static entry. If it fails, try once more, and then take back that it was sent.

        Celery's tick has marked the entry as sent already, and would only log the failure.
        """
        try:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        except beat.SchedulingError as error:
            if not isinstance(error.__context__, OperationalError):
                raise
            # The broker is away or refuses this message: kombu raises the same error for both.
            self._sender.close()
            fresh = self.producer
            if fresh is None:
                self._unsent_entries.append(entry)
                raise
        return super().apply_async(entry, producer=fresh, advance=advance, **kwargs)

    def close(self) -> None:
        try:
            if self._started_at is not None:
                # Whatever the last tick has left of the old connection: the goodbye has a new one.
                connection.close()
                if self._courier is not None:
                    self._courier.close()
                processes.forget_process(self._name)
            if self._courier is None:
                self._sender.close()
        # The process ends in any case, and a row that stays goes stale by itself.
        except Exception:  # noqa: BLE001
            pass
        super().close()

    def _heartbeat(self) -> None:
        if self._stopping:
            return
        monotonic = self._clock.monotonic()
        if monotonic < self._next_heartbeat:
            return
        self._next_heartbeat = monotonic + _HEARTBEAT_SECONDS
        if self._sender.away_seconds is not None and self._courier and not self._courier.is_busy:
            self._courier.go(self._sender.look)
        now = self._clock.now()
        clock = self._clock_watch.look(now)
        self._started_at = self._started_at or now
        processes.heartbeat(
            name=self._name,
            kind=ProcessKind.BEAT,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            running=0,
            now=now,
        )
        self._watch.look(
            now,
            lambda: HostReadings(
                host=socket.gethostname(),
                clock=clock,
                clock_off_seconds=self._clock_watch.off_seconds,
                clock_jumped_seconds=self._clock_watch.jumped_seconds,
                broker_away_seconds=self._sender.away_seconds,
                disk=disk_of_database(),
            ),
        )

    def _fail(self, error: Exception) -> float:
        # A deadlock is no outage: it must not delay the rescue by a whole lease.
        if not is_transient(error):
            self._dispatcher.interrupted()
        connection.close()
        if self._failed_since is None:
            self._failed_since = self._clock.monotonic()
            emit("tick.failed", error=f"{type(error).__name__}: {error}", exc_info=True)
        if isinstance(error, Error):
            seconds = self._clock.monotonic() - self._failed_since
            self._watch.database_is_away(seconds, f"{type(error).__name__}: {error}")
        wait = self._backoff_seconds
        self._backoff_seconds = min(wait * 2, _LONGEST_BACKOFF_SECONDS)
        return min(wait, current().max_sleep_seconds)


@beat_init.connect  # type: ignore[untyped-decorator]
def _begin(sender: Any, **_: Any) -> None:
    """Celery has installed its own handlers of signals just before. Ours must come later."""
    if isinstance(sender.scheduler, JobScheduler):
        sender.scheduler.begin()
