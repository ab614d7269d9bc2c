"""What is told of attempts to whoever traces them. spans.py does it for OpenTelemetry."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence

from handlers.runner import Outcome
from scheduler.store.claims import Claimed
from scheduler.worker.lease import HeldRun


class NoTracing:
    """Does nothing."""

    def begin(self, started: Sequence[Claimed]) -> None:
        """Open a span for each of these attempts. Before they begin; may use the database."""

    def enter(self, claimed: Claimed, context: contextvars.Context) -> None:
        """Make the span of the attempt the current one in the context of its handler."""

    def end(self, held: HeldRun, outcome: Outcome) -> None:
        """The attempt has ended. From any thread."""
