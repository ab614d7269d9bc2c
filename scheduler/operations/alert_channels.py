"""What a person may do with the channels of alerts: see which there are, and try one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext

from dbpools.nearest import nearest
from scheduler.conf import current
from scheduler.models import AlertMessage
from scheduler.operations.base import Operations
from scheduler.operations.errors import InvalidJob
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import alert_messages
from scheduler.transient import in_transaction
from scheduler.wakeups import became_runnable


@dataclass(frozen=True, kw_only=True)
class ChannelFacts:
    """A channel without its addresses and secrets."""

    name: str
    kind: str
    is_default: bool


@dataclass(frozen=True, kw_only=True)
class ChannelOperations(Operations):
    """The operations on channels."""

    def channels(self) -> list[ChannelFacts]:
        """Returns the channels of the settings, by name."""
        alerts = self.settings.alerts
        return [
            ChannelFacts(name=name, kind=channel.kind, is_default=name in alerts.default_channels)
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
            message = alert_messages.insert_test(channel, self.actor.name or channel, now)
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


def queue_delivery(message: AlertMessage, *, available_at: datetime, now: datetime) -> None:
    """Inserts the run that delivers a message, in the caller's transaction."""
    queue = current().alerts.queue
    alert_messages.deliver_by_run(message, queue=queue, available_at=available_at, now=now)
    if available_at <= now:
        became_runnable(queue)
