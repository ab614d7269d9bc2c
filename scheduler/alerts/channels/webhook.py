"""A POST of JSON, signed so that its receiver knows who has sent it and when."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime

from scheduler.alert_settings import WebhookChannel
from scheduler.alerts import outgoing
from scheduler.alerts.channels.base import Rendered
from scheduler.clock import host_now


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of Jobu-Signature: HMAC-SHA256 of `timestamp.body`."""
    signed = timestamp.encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class WebhookSender:
    """A Sender."""

    def __init__(
        self, channel: WebhookChannel, *, host_now: Callable[[], datetime] = host_now
    ) -> None:
        self._channel = channel
        self._host_now = host_now

    def send(self, message: Rendered, *, deadline_seconds: float) -> None:
        channel = self._channel
        facts = {**message.facts, "id": message.key}
        facts |= {"subject": message.subject, "text": message.text}
        body = json.dumps(facts, allow_nan=False, separators=(",", ":")).encode()
        # Of this host, as receivers compare it with theirs and refuse what is old.
        timestamp = str(int(self._host_now().timestamp()))
        outgoing.request(
            "POST",
            channel.url.get_secret_value(),
            body=body,
            headers={
                **{name: text.get_secret_value() for name, text in channel.headers.items()},
                "Content-Type": "application/json",
                "Idempotency-Key": message.key,
                "Jobu-Timestamp": timestamp,
                "Jobu-Signature": signature(channel.secret.get_secret_value(), timestamp, body),
            },
            allow_private=channel.allow_private,
            allow_http=channel.allow_http,
            deadline_seconds=deadline_seconds,
        )
