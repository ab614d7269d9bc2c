"""Bodies of /crons. Ranges come from the limits of the table.

What only a whole job can tell (does the expression ever fire?) is checked by operations.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
)

from scheduler.api.schemas.base import (
    DespiteFreeze,
    In,
    Instant,
    InstantIn,
    JsonObject,
    PageOut,
    WholeNumber,
)
from scheduler.models import LARGEST_ID, LIMITS, CronJob
from scheduler.schedule.kinds import MAX_LENGTH
from scheduler.states import (
    JobState,
    MisfirePolicy,
    OverlapPolicy,
)


def _whole(name: str, description: str) -> Any:
    low, high = LIMITS[name]
    column: Any = CronJob._meta.get_field(name)
    return Field(default=column.get_default(), ge=low, le=high, description=description)


def _without_defaults(schema: dict[str, Any]) -> None:
    """What a change leaves out stays as it is."""
    for each in schema["properties"].values():
        each.pop("default", None)


class CronFields(In):
    """What may be set on a job. Left out: as it is, or the default."""

    description: Annotated[StrictStr, Field(max_length=500)] | None = None
    owner: StrictStr = Field(default="", max_length=150, description="who answers for it")
    tags: list[Annotated[StrictStr, Field(min_length=1, max_length=100)]] = Field(
        default_factory=list, max_length=50, description="in place of those that there are"
    )
    alert_rules: JsonObject = Field(
        default_factory=dict, description="what people are told of it (docs/alerts.md)"
    )
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
    misfire_grace_seconds: WholeNumber = _whole("misfire_grace_seconds", "late, yet on time")
    max_catchup: WholeNumber = _whole("max_catchup", "most missed slots that are run")
    max_retry: WholeNumber = _whole("max_retry", "further tries after the first")
    retry_backoff_seconds: WholeNumber = _whole("retry_backoff_seconds", "before the first retry")
    retry_backoff_max_seconds: WholeNumber = _whole("retry_backoff_max_seconds", "the longest")
    timeout_seconds: WholeNumber = _whole("timeout_seconds", "of one attempt")
    queue: StrictStr = Field(default="", max_length=100)
    priority: WholeNumber = _whole("priority", "9 first")
    jitter_seconds: WholeNumber = _whole("jitter_seconds", "spreads the start")
    max_running: WholeNumber | None = _whole("max_running", "most runs at once; null: no limit")
    concurrency_group: StrictStr = Field(
        default="", max_length=100, description="its limits count the runs of all its jobs"
    )
    concurrency_key: StrictStr = Field(
        default="",
        max_length=200,
        description="such as params.tenant: each value has limits of its own",
    )
    shards: WholeNumber | None = _whole("shards", "divides a run into so many; null: it does not")
    upstreams: list[Annotated[StrictStr, Field(min_length=1, max_length=255)]] = Field(
        default_factory=list,
        max_length=50,
        description="names of the jobs whose success for the same slot it waits for, in place of"
        " those that there are",
    )
    upstream_seconds: WholeNumber = _whole(
        "upstream_seconds", "in which they must succeed; then the slot is skipped"
    )
    approval_seconds: WholeNumber = _whole(
        "approval_seconds", "in which a person approves each run, or it is skipped; 0: no approval"
    )


_NAME = Field(min_length=1, max_length=100)
_EXPRESSION = Field(
    min_length=1,
    max_length=MAX_LENGTH,
    description="a cron expression, `every 36h`, `at 2026-12-24T18:00`, `RRULE:FREQ=...`; or"
    " several, one per line; or `@after`: the slots of its upstream jobs",
    examples=["*/5 * * * *"],
)


class CronNew(CronFields):
    name: StrictStr = _NAME
    cron_expression: StrictStr = _EXPRESSION
    handler_name: StrictStr = Field(min_length=1, max_length=255)


class CronChange(CronFields):
    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_defaults)

    name: StrictStr = Field(default="", min_length=1, max_length=100)
    cron_expression: StrictStr = Field(default="", min_length=1, max_length=MAX_LENGTH)
    handler_name: StrictStr = Field(default="", min_length=1, max_length=255)
    tick_seq: WholeNumber | None = Field(
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
    owner: str
    tags: list[str]
    alert_rules: Any = Field(description="its own; secrets masked")
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
    max_running: int | None = Field(description="null: the overlap policy alone decides")
    concurrency_group: str
    concurrency_key: str
    shards: int | None
    upstreams: list[str] = Field(description="names of the jobs that it waits for")
    upstream_seconds: int
    approval_seconds: int
    pause_reason: str
    paused_until: Instant | None
    next_run_at: Instant | None = Field(description="null: beat has yet to compute it, or never")
    is_shadow: bool = Field(description="its slots are recorded as skipped and do not run")
    schedule_error: str
    source: str = Field(description="the import or the file that made it; empty: a person")
    last_run_at: Instant | None
    last_status: str
    tick_seq: int = Field(description="moves with every slot and every edit")
    created_at: Instant
    updated_at: Instant


class CronSaved(CronOut):
    warnings: list[str] = Field(description="what may keep it from running here")


class CronBrief(Schema):
    """The answer to a verb for a caller who may not see jobs."""

    id: int
    is_enabled: bool
    state: JobState


class CronSavedBrief(CronBrief):
    warnings: list[str] = Field(description="what may keep it from running here")


CronAnswer = CronOut | CronBrief
CronSavedAnswer = CronSaved | CronSavedBrief


class CronPage(PageOut):
    items: list[CronOut]


class Pause(In):
    reason: StrictStr = Field(default="", max_length=500)
    until: InstantIn | None = Field(default=None, description="comes back by itself then")


class EnableIn(In):
    missed: Literal["none", "latest", "all"] = Field(
        default="none", description="which of the slots missed meanwhile are run"
    )


class SwitchIn(In):
    direction: Literal["here", "back"] = "here"
    old_side: Literal["by_hand", "written"] = Field(
        default="by_hand",
        description="who writes into the old system: a person, or jobu where it can",
    )
    is_done_there: bool = Field(
        default=False, description="by_hand: it is off there (here), or on again (back)"
    )


class SwitchOut(Schema):
    job_id: int
    direction: str
    state: str = Field(description="done: it has ended. Else ask again after `wait_seconds`")
    old_side: str
    source: str
    since: Instant
    wait_seconds: float = Field(description="how long the old scheduler needs to notice")
    instruction: str = Field(description="what a person does in the old system")


class MissedOut(Schema):
    count: int
    first: Instant | None
    last: Instant | None
    more: bool = Field(description="counting stopped; there are more")


class CloneIn(In):
    name: StrictStr = _NAME


class RunNow(DespiteFreeze):
    params: JsonObject | None = Field(
        default=None, description="instead of the job's; null or left out: the job's"
    )


class PreviewIn(In):
    cron_expression: StrictStr = _EXPRESSION
    name: StrictStr = Field(
        default="", max_length=255, description="of the job; an `H` in the expression needs it"
    )
    timezone: StrictStr = Field(default="", max_length=64)
    calendar: StrictStr = Field(default="", max_length=100)
    start_at: InstantIn | None = None
    end_at: InstantIn | None = None
    upstreams: list[Annotated[StrictStr, Field(min_length=1, max_length=255)]] = Field(
        default_factory=list, max_length=50, description="of the job, with `@after`"
    )
    count: WholeNumber = Field(default=20, ge=1, le=100)


class SlotOut(Schema):
    utc: Instant
    local: str = Field(description="in the schedule's zone, with its offset")
    moved_from: date | None = Field(
        default=None, description="the local day that the slot stands for, if the calendar moved it"
    )
    frozen_by: str | None = Field(default=None, description="the freeze that will block the slot")


class PreviewOut(Schema):
    words: str = Field(description="what the expression says, in plain words")
    warnings: list[str]
    timezone: str
    slots: list[SlotOut]
