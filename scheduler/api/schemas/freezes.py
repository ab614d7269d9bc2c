"""Bodies of /freezes."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field, StrictBool, StrictStr

from scheduler.api.schemas.base import In, Instant, InstantIn
from scheduler.states import BlockedSlots


class FreezeOut(Schema):
    id: int
    name: str
    reason: str
    since: Instant | None
    until: Instant | None
    hours: str = Field(description="hours of the week in which it holds; empty: all the time")
    timezone: str = Field(description="of the hours; empty: the configured default")
    tags: list[str] = Field(description="jobs with one of them; empty: all jobs")
    blocked_slots: BlockedSlots
    is_enabled: bool
    created_by: str
    created_at: Instant
    updated_at: Instant
    holds_until: Instant | None = Field(description="null: it does not hold now")
    problem: str = Field(description="why it holds nothing: SQL has written it; empty: it is right")


class FreezeSaved(FreezeOut):
    warnings: list[str] = Field(description="why it may hold nothing, such as a tag of no job")


class FreezeList(Schema):
    items: list[FreezeOut]


class FreezeTimes(In):
    since: InstantIn | None = None
    until: InstantIn | None = None
    hours: StrictStr = Field(
        default="", max_length=500, description="such as Fri 18:00 - Mon 06:00; one span per line"
    )
    timezone: StrictStr = Field(default="", max_length=64)
    tags: list[StrictStr] = Field(default_factory=list, max_length=50)
    blocked_slots: BlockedSlots = BlockedSlots.SKIP


class FreezeIn(FreezeTimes):
    name: StrictStr = Field(max_length=100)
    reason: StrictStr = Field(max_length=500)
    is_enabled: StrictBool = True


class FreezeChange(In):
    """What is left out stays as it is."""

    name: StrictStr | None = Field(default=None, max_length=100)
    reason: StrictStr | None = Field(default=None, max_length=500)
    since: InstantIn | None = None
    until: InstantIn | None = None
    hours: StrictStr | None = Field(default=None, max_length=500)
    timezone: StrictStr | None = Field(default=None, max_length=64)
    tags: list[StrictStr] | None = Field(default=None, max_length=50)
    blocked_slots: BlockedSlots | None = None
    is_enabled: StrictBool | None = None
    updated_at: InstantIn | None = Field(
        default=None,
        description="as you read it: a change made since then is not overwritten (409)",
    )


class WillBlockOut(Schema):
    cron_id: int
    cron_name: str
    count: int = Field(description="slots of the next seven days")
    first: Instant
    last: Instant
    runs_at: Instant | None = Field(description="when the last one runs after all")


class FreezePreviewOut(Schema):
    items: list[WillBlockOut]
    warnings: list[str] = Field(description="why it may hold nothing, such as a tag of no job")
    is_partial: bool = Field(
        description="there are too many jobs to look at all of them; these are the first by name"
    )
