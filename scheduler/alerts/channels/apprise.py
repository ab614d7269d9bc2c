"""The services that the library apprise knows."""

from __future__ import annotations

from scheduler.alert_settings import APPRISE_MISSING, AppriseChannel
from scheduler.alerts.channels.base import DeliveryError, Rendered, within


class AppriseSender:
    """A Sender. The library says only whether a message was sent; its own log says why not."""

    def __init__(self, channel: AppriseChannel) -> None:
        self._channel = channel

    def send(self, message: Rendered, *, deadline_seconds: float) -> None:
        if not within(deadline_seconds, "the service", lambda: self._notify(message)):
            raise DeliveryError("apprise could not send it; the log of this process says more")

    def _notify(self, message: Rendered) -> bool:
        # It takes a third of a second to import, and few projects have it.
        try:
            from apprise import Apprise
        except ImportError:
            raise DeliveryError(APPRISE_MISSING, permanent=True) from None
        service = Apprise()
        service.add(self._channel.url.get_secret_value())
        return bool(service.notify(body=message.text, title=message.subject))
