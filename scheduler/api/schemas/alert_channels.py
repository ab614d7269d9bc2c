"""Bodies of /alerts/channels."""

from __future__ import annotations

from ninja import Schema

from scheduler.states import MessageState


class ChannelOut(Schema):
    name: str
    kind: str
    is_default: bool


class ChannelList(Schema):
    items: list[ChannelOut]


class SentTest(Schema):
    id: int
    channel: str
    state: MessageState
    execution_id: int
