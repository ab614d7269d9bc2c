"""Who is told of an alert. Tells nobody while no channel is configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from scheduler.alerts.condition import Condition
from scheduler.models import Alert
from scheduler.states import AlertEvent


def announce(
    alerts: Sequence[Alert],
    event: AlertEvent,
    *,
    channels: Mapping[int, Sequence[str]],
    now: datetime,
) -> None:
    """Within the caller's transaction: one AlertMessage per alert, channel and recipient.

    UNIQUE, so each once; and what delivers them. `channels`: by the alert's id, the names that its
    rules have. An alert that is missing there is told over the default channels.
    """


def tell_directly(condition: Condition, *, opened: bool) -> None:
    """For trouble with workers, claiming or the database: a bounded thread of this process.

    Returns at once and raises nothing.
    """
