"""Bodies of /jobs and /events."""

from __future__ import annotations

from typing import Annotated, Any

from ninja import Schema
from pydantic import (
    Field,
    StrictFloat,
    StrictStr,
)

from scheduler.api.schemas.base import (
    DespiteFreeze,
    Id,
    In,
    Instant,
    InstantIn,
    JsonObject,
    PageOut,
)
from scheduler.states import (
    ApprovalState,
    AttemptOutcome,
    ParamSource,
    RunStatus,
)


class ExecutionOut(Schema):
    id: int
    job_id: int | None
    job_name: str
    handler_name: str
    scheduled_time: Instant
    logical_time: Instant | None = Field(description="the slot that a run of a backfill stands for")
    slot_at: Instant | None = Field(
        description="the slot that it stands for; null: a person or an event asked for it"
    )
    status: RunStatus
    reason_code: str | None = Field(description="why it waits, was skipped, cancelled or failed")
    param_source: ParamSource
    requested_by: str
    backfill_id: int | None
    parent_id: int | None = Field(description="the run that this is a shard of")
    shard: int | None = Field(description="which shard it is; 0 is the first")
    shard_count: int | None = Field(description="how many shards its run is divided into")
    attempt: int = Field(description="how often a worker has claimed it")
    retry_count: int = Field(description="attempts that count towards max_retry")
    max_retry: int
    started_at: Instant | None
    finished_at: Instant | None
    duration_seconds: float | None
    progress: float | None
    progress_message: str
    created_at: Instant


class ApprovalOut(Schema):
    state: ApprovalState
    expires_at: Instant = Field(description="until when a person can decide")
    decided_by: str
    decided_at: Instant | None
    note: str
    digest: str = Field(description="of the parameters as they are now: send it with the decision")


class DecideIn(DespiteFreeze):
    digest: StrictStr = Field(max_length=64, description="as the execution's `approval` shows it")
    note: StrictStr = Field(default="", max_length=500)


class ExecutionDetail(ExecutionOut):
    params: Any = Field(description="secrets are masked; null: you may not see them")
    result: Any = Field(description="secrets are masked; null: none, or you may not see it")
    error_message: str | None
    reason_facts: Any = Field(description="what the code is about")
    idempotency_key: str | None
    queue: str
    priority: int
    timeout_seconds: int
    available_at: Instant
    worker: str | None
    lease_expires_at: Instant | None
    deadline_at: Instant | None
    cancel_requested_at: Instant | None
    overran: bool
    shards: dict[RunStatus, int] = Field(description="how many shards it has, by status")
    approval: ApprovalOut | None = Field(description="null: it needs none")
    explanation: str = Field(
        description="for people: what it waits for, how many of its shards have ended, why it was "
        "not run; empty: nothing holds it back"
    )


class ExecutionBrief(Schema):
    """The answer to a verb for a caller who may not see executions."""

    id: int
    status: RunStatus


ExecutionAnswer = ExecutionDetail | ExecutionBrief


class ExecutionPage(PageOut):
    items: list[ExecutionOut]


class ShardPage(Schema):
    items: list[ExecutionOut]
    counts: dict[RunStatus, int] = Field(description="of all shards, by status")
    next_from: int | None = Field(description="ask again from this shard; null: there are no more")


class CancelIn(In):
    reason: StrictStr = Field(default="", max_length=500)


class AttemptOut(Schema):
    attempt: int
    outcome: AttemptOutcome
    worker: str
    started_at: Instant
    ended_at: Instant
    duration_seconds: float
    error: str
    exception_class: str | None = Field(
        description="the path of the exception's class; null if none was raised, or not kept"
    )
    traceback: str | None = Field(description="null: you may not see it")


class AttemptList(Schema):
    items: list[AttemptOut]


class LogLineOut(Schema):
    attempt: int
    seq: int
    at: Instant
    level: str
    message: str


class LogPage(Schema):
    items: list[LogLineOut]
    next_cursor: str | None = Field(
        description="for the lines after these; while the execution runs, ask again with it"
    )
    is_complete: bool = Field(description="the execution has ended; no more lines follow")


class EventIn(DespiteFreeze):
    handler_name: StrictStr = Field(default="", max_length=255)
    handler: StrictStr = Field(default="", max_length=255, description="short for handler_name")
    params: JsonObject = Field(default_factory=dict, description="merged into the job's")
    job_id: Id | None = Field(
        default=None, description="the job of the run; its handler is the default"
    )
    idempotency_key: Annotated[StrictStr, Field(min_length=1, max_length=255)] | None = Field(
        default=None,
        description="a second event with the same key makes no run; the header Idempotency-Key "
        "does the same",
    )
    at: InstantIn | None = Field(default=None, description="the run does not start before")
    after_seconds: Annotated[StrictFloat, Field(ge=0)] | None = Field(
        default=None, description="the run does not start before so many seconds from now"
    )
