"""Bodies of /queues."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field, StrictStr

from scheduler.api.schemas.base import In, Instant, InstantIn


class QueuePauseOut(Schema):
    reason: str
    until: Instant | None = Field(description="it ends by itself then; null: when it is resumed")
    who: str
    at: Instant


class QueueOut(Schema):
    name: str = Field(description="as jobs name it; empty: the default queue")
    waiting: int = Field(description="runs that could begin now, counted up to 10,000")
    oldest_at: Instant | None = Field(description="since when the first of them waits")
    running: int
    in_per_second: float = Field(description="runs made, in the last five minutes")
    out_per_second: float = Field(description="runs ended, in the last five minutes")
    empty_in_seconds: float | None = Field(description="null: at this speed it never is")
    workers: list[str] = Field(description="workers that serve it and are alive")
    pause: QueuePauseOut | None


class QueueList(Schema):
    items: list[QueueOut]


class QueueName(In):
    queue: StrictStr = Field(max_length=100, description="empty: the default queue")


class PauseQueue(QueueName):
    reason: StrictStr = Field(max_length=500)
    until: InstantIn | None = Field(default=None, description="it ends by itself then")


class QueuePauseAnswer(QueuePauseOut):
    queue: str
