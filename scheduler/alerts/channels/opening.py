"""Opens the channel of a name."""

from __future__ import annotations

from scheduler.alert_settings import AppriseChannel, Channel, MailChannel, WebhookChannel
from scheduler.alerts.channels.apprise import AppriseSender
from scheduler.alerts.channels.base import DeliveryError, Sender
from scheduler.alerts.channels.mail import MailSender
from scheduler.alerts.channels.webhook import WebhookSender
from scheduler.conf import current


def sender_of(name: str) -> Sender:
    """Returns the channel. Raises DeliveryError where the settings name it no longer."""
    channel = current().alerts.channels.get(name)
    if channel is None:
        raise DeliveryError(f"there is no channel {name!r} in the settings", permanent=True)
    return _open(channel)


def _open(channel: Channel) -> Sender:
    match channel:
        case MailChannel():
            return MailSender(channel)
        case WebhookChannel():
            return WebhookSender(channel)
        case AppriseChannel():
            return AppriseSender(channel)
