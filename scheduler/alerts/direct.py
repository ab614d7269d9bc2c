"""Messages that the process sends which has seen the trouble: workers would not deliver them.

Each is sent in a thread of its own, in which every wait has a limit, and never in a tick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from scheduler.alert_states import AlertEnd, AlertEvent, AlertKind
from scheduler.alerts import recipients, texts
from scheduler.alerts.channels.base import DeliveryError
from scheduler.alerts.channels.opening import send
from scheduler.alerts.condition import Condition
from scheduler.alerts.delivery import SEND_SECONDS, deliver
from scheduler.alerts.errands import Errands
from scheduler.clock import host_now, since_boot
from scheduler.conf import current
from scheduler.events import emit
from scheduler.models import Alert
from scheduler.operations.health import DatabaseState, database_state
from scheduler.store.connection import database_now

#: What keeps workers from delivering messages.
KINDS: Final = frozenset({AlertKind.NO_WORKER, AlertKind.CLAIMING_STANDS, AlertKind.DATABASE})
#: A run delivers what this process could not, if there is a worker by then.
FALLBACK_AFTER: Final = timedelta(seconds=60)
_MOST_THREADS: Final = 4
# One process tells of the same trouble no more often than this while the database is away.
_AGAIN_AFTER_SECONDS: Final = 600.0

# These threads hang if all are busy: what they were told is what could be told now.
_errands = Errands(_MOST_THREADS)
_told_at: dict[tuple[str, bool], float] = {}


def deliver_after_commit(message_ids: Sequence[int]) -> None:
    """Sends messages when the transaction that is open is committed. Their rows say so after it."""
    ids = list(message_ids)
    transaction.on_commit(lambda: _errands.go(lambda: _deliver_all(ids)), robust=True)


def tell(condition: Condition, *, opened: bool) -> None:
    """Tells of a condition over the default channels, if no row can: the database is away.

    Where it answers, the alert has messages, and `announce` has sent them. Returns at once.
    """
    _errands.go(lambda: _tell(condition, opened))


def _deliver_all(message_ids: Sequence[int]) -> None:
    for message_id in message_ids:
        failed = deliver(message_id, database_now, only_first=True)
        if failed is not None:
            emit("alert.not_told", error=failed.reason)


def _tell(condition: Condition, opened: bool) -> None:
    if condition.kind != AlertKind.DATABASE and database_state() == DatabaseState.CONNECTED:
        return
    key, now = (condition.open_key, opened), since_boot()
    if now - _told_at.get(key, -_AGAIN_AFTER_SECONDS) < _AGAIN_AFTER_SECONDS:
        return
    if not opened and (condition.open_key, True) not in _told_at:
        return  # this process has not told of the beginning
    _told_at[key] = now
    if not opened:
        _told_at.pop((condition.open_key, True), None)
    at = host_now()
    alert, event = (
        _alert_of(condition, opened, at),
        AlertEvent.OPENED if opened else AlertEvent.CLOSED,
    )
    reader = recipients.anybody()
    rendered = texts.of_alert(alert, event, reader, key=_key(condition, opened, at))
    for channel in recipients.channels_for((), None, current().alerts):
        try:
            send(channel, rendered, deadline_seconds=SEND_SECONDS)
        except DeliveryError as error:
            emit("alert.not_told", error=f"{channel}: {error.reason}")


def _alert_of(condition: Condition, opened: bool, at: datetime) -> Alert:
    """An alert that no table has."""
    return Alert(
        kind=condition.kind.value,
        subject_key=condition.subject_key,
        queue=condition.queue,
        opened_at=at,
        closed_at=None if opened else at,
        close_reason="" if opened else AlertEnd.CONDITION_GONE.value,
        facts=dict(condition.facts),
    )


def _key(condition: Condition, opened: bool, at: datetime) -> str:
    """The same in all processes that see it in this hour: a receiver may drop the others."""
    text = f"{condition.open_key} {opened} {at:%Y%m%d%H}"
    return "jobu-direct-" + hashlib.sha256(text.encode()).hexdigest()[:24]
