"""What a person may do with the channels of alerts: see which there are, and try one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from django.utils.translation import gettext

from dbpools.nearest import nearest
from scheduler.alert_settings import AppriseChannel, Channel, MailChannel, WebhookChannel
from scheduler.alert_states import MessageState
from scheduler.conf import current
from scheduler.models import AlertMessage
from scheduler.operations.base import Operations
from scheduler.operations.errors import InvalidJob
from scheduler.operations.masking import MASK
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import alert_messages
from scheduler.store.channel_deliveries import last_of
from scheduler.transient import in_transaction
from scheduler.wakeups import became_runnable

_MOST_ADDRESSES: Final = 3


@dataclass(frozen=True, kw_only=True)
class ChannelFacts:
    """A channel without its secrets. `address`: as much as tells it from others."""

    name: str
    kind: str
    is_default: bool
    address: str
    min_interval_seconds: float
    max_per_hour: int
    last: LastDelivery | None


@dataclass(frozen=True, kw_only=True)
class LastDelivery:
    """What became of the message that was tried last. `at`: when it was sent, else made."""

    event: str
    state: MessageState
    at: datetime
    tries: int
    error: str


@dataclass(frozen=True, kw_only=True)
class ChannelOperations(Operations):
    """The operations on channels."""

    def channels(self) -> list[ChannelFacts]:
        """Returns the channels of the settings, by name."""
        alerts = self.settings.alerts
        last = last_of(alerts.channels)
        return [
            ChannelFacts(
                name=name,
                kind=channel.kind,
                is_default=name in alerts.default_channels,
                address=_masked_address(channel),
                min_interval_seconds=channel.min_interval_seconds,
                max_per_hour=channel.max_per_hour,
                last=_delivery_of(last[name]) if name in last else None,
            )
            for name, channel in sorted(alerts.channels.items())
        ]

    def send_test(self, channel: str) -> AlertMessage:
        """Sends a message over a channel, as alerts are sent. InvalidJob: there is none.

        The message says later whether it was sent: `state` and `error`.
        """
        known = self.settings.alerts.channels
        if channel not in known:
            hint = nearest(channel, known)
            text = gettext("there is no channel %(name)s") % {"name": repr(channel)}
            raise InvalidJob({"channel": [f"{text}: {hint}?" if hint else text]})

        def work() -> AlertMessage:
            now = self.clock.now()
            message = alert_messages.insert_test(channel, (self.actor.name or channel)[:150], now)
            queue_delivery(message, available_at=now, now=now)
            self._remember(
                ActivityVerb.TESTED,
                TargetKind.CHANNEL,
                None,
                channel,
                now,
                {"message_id": message.pk},
            )
            return message

        return in_transaction(work)

    def message(self, message_id: int) -> AlertMessage:
        """Returns a message as it is now. Raises AlertMessage.DoesNotExist."""
        return AlertMessage.objects.get(pk=message_id)


def _delivery_of(message: AlertMessage) -> LastDelivery:
    return LastDelivery(
        event=message.event,
        state=MessageState(message.state),
        at=message.sent_at or message.created_at,
        tries=message.tries,
        error=message.error,
    )


def _masked_address(channel: Channel) -> str:
    match channel:
        case MailChannel():
            more = len(channel.to) - _MOST_ADDRESSES
            shown = [_masked_mail(address) for address in channel.to[:_MOST_ADDRESSES]]
            return ", ".join([*shown, *([f"+{more}"] if more > 0 else [])])
        case WebhookChannel():
            parts = urlsplit(channel.url.get_secret_value())
            host = parts.netloc.rpartition("@")[2]
            return f"{parts.scheme}://{host}/{MASK}"
        case AppriseChannel():
            # What stands for the host is a token with many services.
            return f"{urlsplit(channel.url.get_secret_value()).scheme}://{MASK}"


def _masked_mail(address: str) -> str:
    name, _at, domain = address.rpartition("@")
    return f"{name[:1]}{MASK}@{domain}"


def queue_delivery(message: AlertMessage, *, available_at: datetime, now: datetime) -> None:
    """Inserts the run that delivers a message, in the caller's transaction."""
    queue = current().alerts.queue
    alert_messages.deliver_by_run(message, queue=queue, available_at=available_at, now=now)
    if available_at <= now:
        became_runnable(queue)
