"""Bodies of the backfills."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import Field, StrictBool

from scheduler.api.schemas.base import (
    DespiteFreeze,
    Instant,
    InstantIn,
    JsonObject,
    PageOut,
    WholeNumber,
)
from scheduler.states import (
    BackfillOrder,
    BackfillState,
)


class BackfillIn(DespiteFreeze):
    since: InstantIn = Field(description="start of the range, included")
    until: InstantIn = Field(description="end of the range, included")
    order: BackfillOrder = BackfillOrder.OLDEST_FIRST
    parallelism: WholeNumber = Field(
        default=1, ge=1, le=100, description="the most unfinished runs at a time"
    )
    only_missing: StrictBool = Field(
        default=False, description="leave out slots that have succeeded, wait or run"
    )
    ignores_overlap: StrictBool = Field(
        default=False, description="the job's overlap policy does not hold for its runs"
    )
    per_minute: WholeNumber | None = Field(
        default=None, ge=1, le=6000, description="the most runs that begin to wait in a minute"
    )
    with_downstream: StrictBool = Field(
        default=False,
        description="also the jobs that wait for this one: the run of a slot waits for that of its"
        " upstream job",
    )
    params: JsonObject | None = Field(
        default=None, description="replace the job's; {slot} in a text becomes the slot"
    )


class BackfillRun(Schema):
    slot: Instant
    params: Any = Field(description="secrets are masked; null: you may not see them")


class BackfillOfJob(Schema):
    job_id: int
    name: str
    total: int
    runs: list[BackfillRun] = Field(description="the first 100 slots with the params of each")


class BackfillPreview(Schema):
    total: int
    slots: list[Instant] = Field(description="the first 100 slots")
    params_of_first: Any = Field(description="secrets are masked; null: you may not see them")
    runs: list[BackfillRun] = Field(description="the first 100 slots with the params of each")
    downstream: list[BackfillOfJob] = Field(description="of the jobs that wait for this one")


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
    only_missing: bool
    ignores_overlap: bool
    per_minute: int | None
    group_id: int | None = Field(
        description="the id of the first backfill of a chain of jobs; null: it stands alone"
    )
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
