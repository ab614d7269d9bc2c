"""What goes in and what comes out, as pydantic models; the OpenAPI document is made from them.

Ranges come from the tables' own limits. What only the whole of a job can tell (does the expression
ever fire?) is Control's to say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from scheduler.models import LIMITS, CronJob
from scheduler.operations.validation import instant_problem, text_problem
from scheduler.states import (
    AttemptOutcome,
    BackfillOrder,
    BackfillState,
    MisfirePolicy,
    OverlapPolicy,
    ParamSource,
    ProcessKind,
    RunStatus,
)

LARGEST_ID = 2**63 - 1
MANY = 500


def utc_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _usable(instant: datetime) -> datetime:
    problem = instant_problem(instant)
    if problem:
        raise ValueError(f"{problem}; right is 2026-01-31T18:00:00+09:00, or with Z")
    return instant


def _no_number(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError("must be a text such as 2026-01-31T18:00:00Z")
    return value


#: Out: UTC with microseconds. In: with its zone.
Instant = Annotated[
    datetime,
    PlainSerializer(utc_text, return_type=str, when_used="always"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
InstantIn = Annotated[
    datetime,
    BeforeValidator(_no_number),
    AfterValidator(_usable),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Id = Annotated[StrictInt, Field(ge=1, le=LARGEST_ID)]
JsonObject = dict[StrictStr, Any]


def _speakable(text: str) -> str:
    problem = text_problem(text, len(text))
    if problem:
        raise ValueError(problem)
    return text


#: Of a query: PostgreSQL takes no NUL, not even to look for it.
Text = Annotated[str, AfterValidator(_speakable)]


class In(Schema):
    """A body. Unknown names are refused: a typo would otherwise change nothing, silently."""

    model_config = ConfigDict(extra="forbid")


def _whole(name: str, description: str) -> Any:
    low, high = LIMITS[name]
    default = getattr(CronJob._meta.get_field(name), "default", None)
    return Field(default=default, ge=low, le=high, description=description)


def _without_defaults(schema: dict[str, Any]) -> None:
    """What a change leaves out stays as it is."""
    for each in schema["properties"].values():
        each.pop("default", None)


# --- errors ------------------------------------------------------------------------------------


class ErrorBody(Schema):
    code: str = Field(description="stable, for programs")
    message: str = Field(description="for people, in the language of Accept-Language")
    fields: dict[str, list[str]] | None = Field(
        default=None, description="what is wrong with each field"
    )


class ErrorOut(Schema):
    error: ErrorBody


# --- pages -------------------------------------------------------------------------------------


class PageOut(Schema):
    """A page by number has total, page and pages; one by cursor has only its items."""

    total: int | None = Field(description="of all pages, counted up to a limit")
    total_is_capped: bool = Field(description="there are more than `total`")
    page: int | None
    size: int
    pages: int | None
    next_cursor: str | None = Field(description="for what follows; null: nothing does")


# --- jobs --------------------------------------------------------------------------------------


class JobState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    PAUSED = "paused"
    ERROR = "error"


class CronFields(In):
    """What may be set on a job. Left out: as it is, or the default."""

    description: Annotated[StrictStr, Field(max_length=500)] | None = None
    timezone: StrictStr = Field(default="", max_length=64, description="empty: the configured one")
    calendar: StrictStr = Field(default="", max_length=100)
    start_at: InstantIn | None = None
    end_at: InstantIn | None = None
    handler_params: JsonObject = Field(default_factory=dict, description="checked by the handler")
    is_enabled: StrictBool = True
    overlap_policy: OverlapPolicy = OverlapPolicy.ALLOW
    allow_overlap: StrictBool = Field(
        default=True, description="short for overlap_policy: true is allow, false is skip"
    )
    misfire_policy: MisfirePolicy = MisfirePolicy.LATEST
    misfire_grace_seconds: StrictInt = _whole("misfire_grace_seconds", "late, yet on time")
    max_catchup: StrictInt = _whole("max_catchup", "most missed slots that are run")
    max_retry: StrictInt = _whole("max_retry", "further tries after the first")
    retry_backoff_seconds: StrictInt = _whole("retry_backoff_seconds", "before the first retry")
    retry_backoff_max_seconds: StrictInt = _whole("retry_backoff_max_seconds", "the longest")
    timeout_seconds: StrictInt = _whole("timeout_seconds", "of one attempt")
    queue: StrictStr = Field(default="", max_length=100)
    priority: StrictInt = _whole("priority", "9 first")
    jitter_seconds: StrictInt = _whole("jitter_seconds", "spreads the start")


_NAME = Field(min_length=1, max_length=100)
_EXPRESSION = Field(min_length=1, max_length=100, examples=["*/5 * * * *"])


class CronNew(CronFields):
    name: StrictStr = _NAME
    cron_expression: StrictStr = _EXPRESSION
    handler_name: StrictStr = Field(min_length=1, max_length=255)


class CronChange(CronFields):
    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_defaults)

    name: StrictStr = Field(default="", min_length=1, max_length=100)
    cron_expression: StrictStr = Field(default="", min_length=1, max_length=100)
    handler_name: StrictStr = Field(default="", min_length=1, max_length=255)
    tick_seq: StrictInt | None = Field(
        default=None,
        ge=0,
        le=LARGEST_ID,
        description="as you read it: a change made meanwhile gives 409. The header If-Match does"
        " the same",
    )


class CronOut(Schema):
    id: int
    name: str
    description: str
    cron_expression: str
    timezone: str
    calendar: str
    start_at: Instant | None
    end_at: Instant | None
    handler_name: str
    handler_params: Any = Field(description="secrets masked; null: you may not see it")
    is_enabled: bool
    state: JobState
    overlap_policy: str
    allow_overlap: bool
    misfire_policy: str
    misfire_grace_seconds: int
    max_catchup: int
    max_retry: int
    retry_backoff_seconds: int
    retry_backoff_max_seconds: int
    timeout_seconds: int
    queue: str
    priority: int
    jitter_seconds: int
    pause_reason: str
    paused_until: Instant | None
    next_run_at: Instant | None = Field(description="null: beat has yet to compute it, or never")
    schedule_error: str
    last_run_at: Instant | None
    last_status: str
    tick_seq: int = Field(description="moves with every slot and every edit")
    created_at: Instant
    updated_at: Instant


class CronSaved(CronOut):
    warnings: list[str] = Field(description="what may keep it from running here")


class CronPage(PageOut):
    items: list[CronOut]


class Pause(In):
    reason: StrictStr = Field(default="", max_length=500)
    until: InstantIn | None = Field(default=None, description="comes back by itself then")


class EnableIn(In):
    missed: Literal["none", "latest", "all"] = Field(
        default="none", description="which of the slots missed meanwhile are run"
    )


class MissedOut(Schema):
    count: int
    first: Instant | None
    last: Instant | None
    more: bool = Field(description="counting stopped; there are more")


class CloneIn(In):
    name: StrictStr = _NAME


class RunNow(In):
    params: JsonObject | None = Field(
        default=None, description="instead of the job's; null or left out: the job's"
    )


class PreviewIn(In):
    cron_expression: StrictStr = _EXPRESSION
    timezone: StrictStr = Field(default="", max_length=64)
    calendar: StrictStr = Field(default="", max_length=100)
    start_at: InstantIn | None = None
    end_at: InstantIn | None = None
    count: StrictInt = Field(default=20, ge=1, le=100)


class SlotOut(Schema):
    utc: Instant
    local: str = Field(description="in the schedule's zone, with its offset")


class PreviewOut(Schema):
    words: str = Field(description="what the expression says, in plain words")
    warnings: list[str]
    timezone: str
    slots: list[SlotOut]


# --- executions --------------------------------------------------------------------------------


class ExecutionOut(Schema):
    id: int
    job_id: int | None
    job_name: str
    handler_name: str
    scheduled_time: Instant
    logical_time: Instant | None = Field(description="the slot that a backfilled run stands for")
    status: RunStatus
    param_source: ParamSource
    requested_by: str
    backfill_id: int | None
    attempt: int = Field(description="claims so far")
    retry_count: int = Field(description="attempts that were charged")
    max_retry: int
    started_at: Instant | None
    finished_at: Instant | None
    duration_seconds: float | None
    progress: float | None
    progress_message: str
    created_at: Instant


class ExecutionDetail(ExecutionOut):
    params: Any = Field(description="secrets masked; null: you may not see it")
    result: Any = Field(description="secrets masked; null: none, or you may not see it")
    error_message: str | None
    idempotency_key: str | None
    queue: str
    priority: int
    timeout_seconds: int
    available_at: Instant
    publish_at: Instant | None
    publish_count: int
    worker: str | None
    lease_expires_at: Instant | None
    deadline_at: Instant | None
    cancel_requested_at: Instant | None
    overran: bool


class ExecutionPage(PageOut):
    items: list[ExecutionOut]


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
        description="for the lines after these; while the run goes on, ask again with it"
    )
    is_complete: bool = Field(description="the execution has ended, and these are its last lines")


class EventIn(In):
    handler_name: StrictStr = Field(default="", max_length=255)
    handler: StrictStr = Field(default="", max_length=255, description="short for handler_name")
    params: JsonObject = Field(default_factory=dict, description="laid over the job's")
    job_id: Id | None = Field(default=None, description="whose parameters lie below; its handler")
    idempotency_key: Annotated[StrictStr, Field(min_length=1, max_length=255)] | None = Field(
        default=None, description="the same key twice makes one run. Or the header Idempotency-Key"
    )


# --- several at once ---------------------------------------------------------------------------


class Ids(In):
    ids: list[Id] = Field(min_length=1, max_length=MANY)


class PauseMany(Ids):
    reason: StrictStr = Field(default="", max_length=500)
    until: InstantIn | None = None


class CancelMany(Ids):
    reason: StrictStr = Field(default="", max_length=500)


class Outcome(Schema):
    id: int
    ok: bool
    execution_id: int | None = Field(default=None, description="of a run that was made")
    status: str | None = Field(default=None, description="of an execution, afterwards")
    error: ErrorBody | None = None


class Outcomes(Schema):
    done: int
    refused: int
    items: list[Outcome]


# --- backfills ---------------------------------------------------------------------------------


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


# --- the rest ----------------------------------------------------------------------------------


class HandlerOut(Schema):
    name: str
    description: str
    databases: list[str]
    params_schema: JsonObject = Field(description="JSON Schema of its parameters")


class HandlerList(Schema):
    items: list[HandlerOut]


class ProcessOut(Schema):
    name: str
    kind: ProcessKind
    host: str
    pid: int
    started_at: Instant
    heartbeat_at: Instant
    running: int
    is_alive: bool


class LivenessOut(Schema):
    beat_age_seconds: float | None
    beats_alive: int
    workers_alive: int
    oldest_unpublished_seconds: float | None
    pending: int
    running: int


class ProcessList(Schema):
    items: list[ProcessOut]
    liveness: LivenessOut


class MeOut(Schema):
    user: str
    token: str | None
    scopes: list[Literal["read", "operate", "write"]] | None
    expires_at: Instant | None
    may: list[str]
