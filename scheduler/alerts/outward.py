"""Beat's step for what goes out of jobu by itself: check-ins, the dead-man switch, lost messages.

A fault in it is logged once and never stops a tick.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from django.db import Error

from scheduler.alert_states import MessageState
from scheduler.alerts.check_ins.reporting import Reporting
from scheduler.alerts.dead_man import DeadManSwitch
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.operations.alert_channels import queue_delivery
from scheduler.store import alert_messages
from scheduler.store.alert_messages import Stranded
from scheduler.transient import in_transaction, is_outage

_CHECK_SECONDS: Final = 1.0
_TIDY_SECONDS: Final = 30.0
_MOST_STRANDED: Final = 200


class Outward:
    """The step of one beat."""

    def __init__(self, clock: Clock, settings: Callable[[], SchedulerSettings]) -> None:
        self._clock = clock
        self._settings = settings
        self._reporting = Reporting(clock, settings)
        self._dead_man = DeadManSwitch(settings)
        self._next_look = 0.0
        self._next_tidy = 0.0
        self._is_failing = False

    def step(self) -> bool:
        """Looks, if it is time. Returns False: it makes no work for a next tick.

        Raises only when the database is away: then the whole tick is.
        """
        monotonic = self._clock.monotonic()
        if monotonic < self._next_look:
            return False
        self._next_look = monotonic + _CHECK_SECONDS
        try:
            self._look(self._clock.now(), monotonic)
        # Whatever is wrong here, beat goes on with the slots.
        except Exception as error:
            if isinstance(error, Error) and is_outage(error):
                raise
            if not self._is_failing:
                emit("alerts.failed", error=f"{type(error).__name__}: {error}", exc_info=True)
            self._is_failing = True
        else:
            self._is_failing = False
        return False

    def _look(self, now: datetime, monotonic: float) -> None:
        self._reporting.look(now)
        self._dead_man.look(now)
        if monotonic >= self._next_tidy:
            self._next_tidy = monotonic + _TIDY_SECONDS
            self._reporting.prune(now)
            channels = self._settings().alerts.channels
            for message in alert_messages.stranded(channels, _MOST_STRANDED) if channels else ():
                in_transaction(partial(_pick_up, message, now))


def _pick_up(message: Stranded, now: datetime) -> None:
    """Gives a message whose run was lost another one, unless a person has cancelled it."""
    locked = alert_messages.lock_stranded(message)
    if locked is None:
        return
    if not message.is_cancelled and message.tries <= alert_messages.MAX_RETRY:
        queue_delivery(locked, available_at=now, now=now)
        return
    text = message.error.strip().partition("\n")[0] or "the run that delivers it has ended"
    alert_messages.end_with_parts(message.message_id, MessageState.FAILED, now=now, error=text)
