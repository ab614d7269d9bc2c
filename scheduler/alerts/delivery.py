"""One try at one message: what is still to be told of it, the send, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.alert_states import AlertEvent, AlertState, MessageState
from scheduler.alerts import recipients, texts
from scheduler.alerts.channels.base import DeliveryError, Rendered
from scheduler.alerts.channels.opening import send
from scheduler.models import AlertMessage
from scheduler.store import alert_messages
from scheduler.transient import in_transaction

#: One send takes no longer.
SEND_SECONDS: Final = 10.0
_FIRST_WAIT_SECONDS: Final = 10.0
_LONGEST_WAIT_SECONDS: Final = 1800.0


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The try has failed. `again_in_seconds`: None: it was the last one."""

    reason: str
    again_in_seconds: float | None


def deliver(
    message_id: int, now: Callable[[], datetime], *, only_first: bool = False
) -> Failed | None:
    """Sends a message that waits. None: it is sent, or nothing is to be sent any more.

    Blocks for SEND_SECONDS and a few statements. Each of its steps commits. `only_first`: only if
    nobody has tried before.
    """
    message = in_transaction(lambda: alert_messages.begin(message_id, only_first=only_first))
    if message is None:
        return None
    is_digest = message.event == AlertEvent.DIGEST
    parts = alert_messages.members(message) if is_digest else [message]
    told = _still_to_tell(parts)
    gone = [part.pk for part in parts if part not in told]
    if gone:
        alert_messages.end(gone, MessageState.DROPPED, now=now())
    ids = {message.pk, *(part.pk for part in told)}
    if not told:
        alert_messages.end(ids, MessageState.DROPPED, now=now())
        return None
    try:
        send(message.channel, _rendered(message, told), deadline_seconds=SEND_SECONDS)
    except DeliveryError as error:
        return _failed(message, ids, error, now())
    alert_messages.end(ids, MessageState.SENT, now=now())
    return None


def _still_to_tell(parts: list[AlertMessage]) -> list[AlertMessage]:
    """Without what nobody needs any more.

    Where the end of an alert is told as well, that message says both. Of a snoozed alert nobody
    wants to hear.
    """
    ends = alert_messages.ends_told(parts)
    return [
        part
        for part in parts
        if part.alert is None
        or part.event == AlertEvent.CLOSED
        or not (
            part.alert.state == AlertState.SNOOZED
            or (part.alert_id, part.channel, part.recipient) in ends
        )
    ]


def _rendered(message: AlertMessage, told: list[AlertMessage]) -> Rendered:
    reader = recipients.reader_of(message.recipient)
    key = f"jobu-message-{message.pk}-{message.created_at:%Y%m%d%H%M%S}"
    if message.event == AlertEvent.TEST:
        return texts.of_test(message.channel, reader, key=key)
    pairs = [(part.alert, AlertEvent(part.event)) for part in told if part.alert is not None]
    if len(pairs) == 1:
        return texts.of_alert(*pairs[0], reader, key=key)
    return texts.of_digest(pairs, reader, key=key)


def _failed(message: AlertMessage, ids: set[int], error: DeliveryError, now: datetime) -> Failed:
    is_last = error.permanent or message.tries > alert_messages.MAX_RETRY
    if is_last:
        alert_messages.end(ids, MessageState.FAILED, now=now, error=error.reason)
        return Failed(reason=error.reason, again_in_seconds=None)
    alert_messages.note_error(message.pk, error.reason)
    wait = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** (message.tries - 1))
    return Failed(reason=error.reason, again_in_seconds=wait)
