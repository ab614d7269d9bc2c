"""Pings from the ticks of beat for an outside service, which alarms when they stop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from scheduler.alert_settings import DeadMan
from scheduler.alerts import outgoing
from scheduler.alerts.channels.base import DeliveryError
from scheduler.alerts.errands import Errands
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.store import alerts
from scheduler.transient import in_transaction

CURSOR: Final = "dead_man"
_SEND_SECONDS: Final = 10.0


class DeadManSwitch:
    """The step of one beat, at the end of a tick that did all its work."""

    def __init__(self, settings: Callable[[], SchedulerSettings]) -> None:
        self._settings = settings
        self._errands = Errands(1)
        self._next_at: datetime | None = None
        self._is_failing = False

    def look(self, now: datetime) -> None:
        """Sends a ping in a thread if none of the beats has sent one in this interval."""
        wanted = self._settings().alerts.dead_man
        if wanted is None or (self._next_at is not None and now < self._next_at):
            return
        every = timedelta(seconds=wanted.every_seconds)
        cursor = alerts.cursor(CURSOR, now=now - every)
        assert cursor.at is not None
        self._next_at = cursor.at + every
        if now < self._next_at and cursor.at <= now:
            return
        self._next_at = now + every
        if in_transaction(lambda: alerts.advance(cursor, now, {})):
            self._errands.go(lambda: self._ping(wanted))

    def _ping(self, wanted: DeadMan) -> None:
        try:
            outgoing.request(
                "GET",
                wanted.url.get_secret_value(),
                allow_private=wanted.allow_private,
                allow_http=wanted.allow_http,
                deadline_seconds=_SEND_SECONDS,
            )
        except DeliveryError as error:
            if not self._is_failing:
                emit("dead_man.failed", error=error.reason)
            self._is_failing = True
        else:
            self._is_failing = False
