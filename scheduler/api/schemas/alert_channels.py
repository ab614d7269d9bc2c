"""Bodies of /alerts/channels."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field

from scheduler.alert_states import MessageState
from scheduler.api.schemas.base import Instant


class LastDeliveryOut(Schema):
    event: str
    state: MessageState
    at: Instant = Field(description="when it was sent; if it was not: when it was made")
    tries: int
    error: str


class ChannelOut(Schema):
    name: str
    kind: str
    is_default: bool
    address: str = Field(description="masked")
    min_interval_seconds: float
    max_per_hour: int
    last: LastDeliveryOut | None = Field(description="the message that was tried last")


class ChannelList(Schema):
    items: list[ChannelOut]


class SentTest(Schema):
    id: int
    channel: str
    state: MessageState
    execution_id: int
