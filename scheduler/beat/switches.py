"""Beat goes on with switches of jobs that nobody goes on with: a web process or a command has died.

Only where jobu writes into the old system, and finds it without being told. Every other switch
needs a person, and after five minutes an alert says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.db import Error, connections

from scheduler.alerts.errands import Errands
from scheduler.clock import Clock
from scheduler.events import emit
from scheduler.models import JobSwitch
from scheduler.operations.actor import Actor
from scheduler.operations.errors import NotPossible
from scheduler.operations.switches import SwitchControl
from scheduler.store import switches

_LOOK_SECONDS: Final = 10.0
#: Whoever began the switch does the next step himself, if he is still there.
_LEFT: Final = timedelta(seconds=20)
_MOST: Final = 50


class Switches:
    """The step of one beat. Any number of beats may do the same step: it harms nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The old system may be slow or away. One thread, and the next look is later.
        self._errands = Errands(1)
        self._next_look = 0.0

    def step(self) -> bool:
        """Looks, if it is time: one statement where no switch is under way.

        Returns False: it makes no work for a next tick. Raises only errors of the database.
        """
        monotonic = self._clock.monotonic()
        if monotonic < self._next_look:
            return False
        self._next_look = monotonic + _LOOK_SECONDS
        left = switches.left_alone(self._clock.now() - _LEFT, _MOST)
        if left:
            self._errands.go(lambda: self._go_on_with_all(left))
        return False

    def _go_on_with_all(self, left: Sequence[JobSwitch]) -> None:
        try:
            for switch in left:
                self._go_on(switch)
        finally:
            # Of this thread: the old system may be another alias of Django.
            connections.close_all()

    def _go_on(self, switch: JobSwitch) -> None:
        # What reads other systems is large, and most beats never need it.
        from scheduler.moving.old_sides import place_of
        from scheduler.moving.switching import Switching

        was = (switch.state, switch.error)
        # The history names the person who began it.
        control = SwitchControl(actor=Actor(name=switch.who), clock=self._clock)
        switching = Switching(control=control)
        try:
            if not place_of(switch.source):
                return
            moved = switching.step(switch)
        except NotPossible as error:
            # Its row and the alert say it. Said here when it is new.
            if str(error)[: switches.LONGEST_ERROR] != was[1]:
                emit("switch.stands", job_id=switch.job_id, state=switch.state, error=str(error))
        except (Error, JobSwitch.DoesNotExist) as error:
            emit("switch.stands", job_id=switch.job_id, state=switch.state, error=str(error))
        else:
            if moved.state != was[0]:
                emit("switch.went_on", job_id=switch.job_id, state=moved.state)
