"""What went over each channel last: the newest message that was sent, has failed or is tried."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from scheduler.alert_states import AlertEvent, MessageState
from scheduler.models import AlertMessage
from scheduler.store.connection import fetch_all

# By the index on (channel, state, created_at). What quiet hours hold back was not tried yet.
_NEWEST: Final = """
SELECT * FROM (
SELECT id FROM jobu_alert_messages
 WHERE channel = %s AND state = %s AND digest_of IS NULL AND (tries > 0 OR event = %s)
 ORDER BY created_at DESC, id DESC
 LIMIT 1) newest{number}
"""
_STATES: Final = (MessageState.SENT, MessageState.FAILED, MessageState.WAITING)
# SQLite takes 500 parts of a UNION.
_MOST_CHANNELS: Final = 100


def last_of(channels: Collection[str]) -> dict[str, AlertMessage]:
    """Returns the message that was tried last, by channel. A test counts before it is tried."""
    names = sorted(channels)
    ids: list[int] = []
    for first in range(0, len(names), _MOST_CHANNELS):
        parts = [(n, s) for n in names[first : first + _MOST_CHANNELS] for s in _STATES]
        statement = "UNION ALL".join(_NEWEST.format(number=at) for at in range(len(parts)))
        values = [value for name, state in parts for value in (name, state, AlertEvent.TEST)]
        ids += [id_ for (id_,) in fetch_all(statement, values)]
    found = AlertMessage.objects.filter(id__in=ids).order_by("created_at", "id")
    return {message.channel: message for message in found}
