"""Beat's part in freezes: those that SQL has changed decide anew about the runs that they hold.

A door does so in the transaction of its change. Then beat finds nothing to do.
"""

from __future__ import annotations

from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.operations.held_runs import decide_anew
from scheduler.store import freezes
from scheduler.transient import ROW_ERRORS, in_transaction, is_outage


class Freezes:
    """The freezes as this beat has seen them last. Any number of beats may look at once."""

    def __init__(self) -> None:
        self._known: freezes.Stored | None = None

    def step(self, clock: Clock, settings: SchedulerSettings) -> None:
        """One small statement if nothing has changed."""
        found = freezes.stored()
        if found == self._known:
            return
        known = self._known or {}
        if not known and not freezes.may_hold_runs():
            self._known = found
            return

        def work() -> None:
            now = clock.now()
            ended = freezes.held_then(known, found, now, settings.default_timezone)
            decide_anew(now, settings, ended=ended)

        try:
            in_transaction(work)
        except ROW_ERRORS as error:
            if is_outage(error):
                raise
            # A row that cannot be read must not stop beat: these runs start when they were to.
            emit("freezes.not_applied", error=str(error))
        self._known = found
