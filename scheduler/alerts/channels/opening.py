"""Sends over the channel of a name."""

from __future__ import annotations

from scheduler.alert_settings import AppriseChannel, Channel, MailChannel, WebhookChannel
from scheduler.alerts.channels.apprise import AppriseSender
from scheduler.alerts.channels.base import DeliveryError, Rendered, Sender
from scheduler.alerts.channels.mail import MailSender
from scheduler.alerts.channels.webhook import WebhookSender
from scheduler.conf import current


def send(name: str, message: Rendered, *, deadline_seconds: float) -> None:
    """Blocks for `deadline_seconds` at most. Raises DeliveryError, whatever goes wrong."""
    channel = current().alerts.channels.get(name)
    if channel is None:
        raise DeliveryError(f"there is no channel {name!r} in the settings", permanent=True)
    try:
        _open(channel).send(message, deadline_seconds=deadline_seconds)
    except DeliveryError:
        raise
    # Libraries raise what they like. The text may hold a secret: a URL, the password of an account.
    except Exception as error:
        words = error.strerror if isinstance(error, OSError) else ""
        raise DeliveryError(words or f"it fails with {type(error).__name__}") from error


def _open(channel: Channel) -> Sender:
    match channel:
        case MailChannel():
            return MailSender(channel)
        case WebhookChannel():
            return WebhookSender(channel)
        case AppriseChannel():
            return AppriseSender(channel)
