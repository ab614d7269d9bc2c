"""Bodies of the backfills."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import (
    Field,
)

from scheduler.api.schemas.base import In, Instant, InstantIn, JsonObject, PageOut, WholeNumber
from scheduler.states import (
    BackfillOrder,
    BackfillState,
)


class BackfillIn(In):
    since: InstantIn = Field(description="start of the range, included")
    until: InstantIn = Field(description="end of the range, included")
    order: BackfillOrder = BackfillOrder.OLDEST_FIRST
    parallelism: WholeNumber = Field(
        default=1, ge=1, le=100, description="the most unfinished runs at a time"
    )
    params: JsonObject | None = Field(
        default=None, description="replace the job's; {slot} in a text becomes the slot"
    )


class BackfillPreview(Schema):
    total: int
    slots: list[Instant] = Field(description="the first 100 slots")
    params_of_first: Any = Field(description="secrets are masked; null: you may not see them")


class BackfillPreviewBrief(Schema):
    """The preview for a caller who may not see jobs."""

    total: int


BackfillPreviewAnswer = BackfillPreview | BackfillPreviewBrief


class BackfillOut(Schema):
    id: int
    job_id: int
    since: Instant
    until: Instant
    order: BackfillOrder
    parallelism: int
    params: Any = Field(description="secrets are masked; null: you may not see them")
    state: BackfillState
    cursor: Instant | None = Field(description="the slot of the newest run")
    total: int
    made: int
    error: str
    requested_by: str
    created_at: Instant
    ended_at: Instant | None


class BackfillDetail(BackfillOut):
    progress: dict[str, int] = Field(description="status -> number of executions")


class BackfillBrief(Schema):
    """The answer to a verb for a caller who may not see jobs."""

    id: int
    state: BackfillState


BackfillAnswer = BackfillDetail | BackfillBrief


class BackfillPage(PageOut):
    items: list[BackfillOut]
