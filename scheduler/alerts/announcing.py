"""Who is told of an alert, and when. Tells nobody while no channel is configured.

A message is a row, and what delivers it is a run of the handler `jobu.alert` (delivery.py) that is
inserted with it. What comes in quiet hours, or too fast, joins a digest, which has one run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from scheduler.alert_states import WATCHERS, AlertEvent
from scheduler.alerts import direct, holding, recipients
from scheduler.alerts.condition import Condition
from scheduler.alerts.holding import Recent
from scheduler.alerts.recipients import Reader
from scheduler.conf import current
from scheduler.models import Alert, AlertMessage
from scheduler.operations.alert_channels import queue_delivery
from scheduler.store import alert_messages
from scheduler.store.alert_messages import Route

_AN_HOUR: Final = timedelta(hours=1)


def announce(
    alerts: Sequence[Alert],
    event: AlertEvent,
    *,
    channels: Mapping[int, Sequence[str]],
    now: datetime,
) -> None:
    """Within the caller's transaction: one AlertMessage per alert, channel and recipient.

    UNIQUE, so each once; and what delivers them. `channels`: by the alert's id, the names that its
    rules have. An alert that is missing there is told over its owner's channels, else over the
    default ones. An end is told to those who were told of the beginning.
    """
    if not alerts or not current().alerts.channels:
        return
    readers = recipients.readers({alert.owner for alert in alerts})
    routes = (
        _told_before(alerts) if event == AlertEvent.CLOSED else _routes(alerts, channels, readers)
    )
    by_id = {alert.pk: alert for alert in alerts}
    groups: defaultdict[tuple[str, str, bool], list[AlertMessage]] = defaultdict(list)
    for message in alert_messages.insert(routes, event, now):
        alert = by_id[message.alert_id or 0]
        groups[message.channel, message.recipient, alert.kind in WATCHERS].append(message)
    for (_, recipient, is_urgent), messages in groups.items():
        reader = readers.get(recipient) or recipients.reader_of(recipient)
        is_direct = any(by_id[each.alert_id or 0].kind in direct.KINDS for each in messages)
        _tell(messages, now, quiet=None if is_urgent else reader, is_direct=is_direct)


def tell_directly(condition: Condition, *, opened: bool) -> None:
    """For trouble with workers, claiming or the database: a bounded thread of this process.

    Returns at once and raises nothing.
    """
    direct.tell(condition, opened=opened)


def _routes(
    alerts: Iterable[Alert], channels: Mapping[int, Sequence[str]], readers: Mapping[str, Reader]
) -> list[Route]:
    return [
        Route(alert_id=alert.pk, channel=channel, recipient=owner.name if owner else channel)
        for alert in alerts
        for owner in [readers.get(alert.owner)]
        for channel in recipients.channels_for(channels.get(alert.pk, ()), owner, current().alerts)
    ]


def _told_before(alerts: Iterable[Alert]) -> list[Route]:
    known = current().alerts.channels
    told = alert_messages.told_before({alert.pk for alert in alerts})
    return [route for route in told if route.channel in known]


def _tell(
    messages: Sequence[AlertMessage], now: datetime, *, quiet: Reader | None, is_direct: bool
) -> None:
    """Gives new messages to one recipient over one channel their runs, or their digest.

    `quiet`: whose quiet hours hold them back; None: nobody's. `is_direct`: workers would not
    deliver them.
    """
    channel, recipient = messages[0].channel, messages[0].recipient
    limits = current().alerts.channels[channel]
    until = holding.quiet_until(now, quiet.quiet_hours, quiet.zone) if quiet else None
    # Not one that waits for the end of quiet hours, if these messages do not.
    latest = until or now + holding.longest_wait(limits)
    digest = alert_messages.open_digest(channel, recipient, not_before=until or now, latest=latest)
    if digest is None:
        count, last_at = alert_messages.recent(channel, recipient, since=now - _AN_HOUR, now=now)
        hold = holding.hold(
            len(messages),
            now=now,
            recent=Recent(count=count, last_at=last_at),
            limits=limits,
            quiet_until=until,
        )
        if not hold.is_digest:
            _deliver_each(messages, now, is_direct=is_direct)
            return
        digest = alert_messages.insert_digest(channel, recipient, hold.not_before, now)
        queue_delivery(digest, available_at=hold.not_before, now=now)
    alert_messages.join([message.pk for message in messages], digest)


def _deliver_each(messages: Sequence[AlertMessage], now: datetime, *, is_direct: bool) -> None:
    for message in messages:
        # This process sends it after the commit. If that fails, a run does when there are workers.
        wait = direct.FALLBACK_AFTER if is_direct else timedelta()
        queue_delivery(message, available_at=now + wait, now=now)
    if is_direct:
        direct.deliver_after_commit([message.pk for message in messages])
