"""Bodies of the backfills."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import (
    Field,
    StrictInt,
)

from scheduler.api.schemas.base import In, Instant, InstantIn, JsonObject, PageOut
from scheduler.states import (
    BackfillOrder,
    BackfillState,
)


class BackfillIn(In):
    since: InstantIn = Field(description="the first instant that belongs to it")
    until: InstantIn = Field(description="the last instant that belongs to it")
    order: BackfillOrder = BackfillOrder.OLDEST_FIRST
    parallelism: StrictInt = Field(default=1, ge=1, le=100, description="unfinished at a time")
    params: JsonObject | None = Field(
        default=None, description="instead of the job's; {slot} in a text becomes the slot"
    )


class BackfillPreview(Schema):
    total: int
    slots: list[Instant] = Field(description="the first 100")
    params_of_first: Any = Field(description="secrets masked; null: you may not see it")


class BackfillOut(Schema):
    id: int
    job_id: int
    since: Instant
    until: Instant
    order: BackfillOrder
    parallelism: int
    params: Any = Field(description="secrets masked; null: you may not see it")
    state: BackfillState
    cursor: Instant | None = Field(description="the slot made last")
    total: int
    made: int
    error: str
    requested_by: str
    created_at: Instant
    ended_at: Instant | None


class BackfillDetail(BackfillOut):
    progress: dict[str, int] = Field(description="executions by status")


class BackfillPage(PageOut):
    items: list[BackfillOut]
