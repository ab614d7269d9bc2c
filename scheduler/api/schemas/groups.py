"""Bodies of /concurrency-groups."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import Field, StrictBool, StrictStr

from scheduler.api.schemas.base import In, Instant, InstantIn, WholeNumber
from scheduler.models import GROUP_LIMITS


def _limit(name: str, description: str) -> Any:
    low, high = GROUP_LIMITS[name]
    return Field(default=None, ge=low, le=high, description=description)


class GroupName(In):
    name: StrictStr = Field(min_length=1, max_length=100)


class GroupIn(GroupName):
    description: StrictStr = Field(default="", max_length=500)
    max_running: WholeNumber | None = _limit("max_running", "most runs at once")
    max_running_per_key: WholeNumber | None = _limit(
        "max_running_per_key", "most runs at once of each value of the jobs' key"
    )
    rate_count: WholeNumber | None = _limit("rate_count", "most starts in any `rate_seconds`")
    rate_seconds: WholeNumber | None = _limit("rate_seconds", "see `rate_count`")
    rate_per_key: StrictBool = Field(default=False, description="the starts of each key count")
    updated_at: InstantIn | None = Field(
        default=None,
        description="as you read it: a change made since then is not overwritten (409)",
    )


class KeyOut(Schema):
    key: str
    running: int
    waiting: int


class GroupOut(Schema):
    name: str
    description: str
    max_running: int | None
    max_running_per_key: int | None
    rate_count: int | None
    rate_seconds: int | None
    rate_per_key: bool
    is_of_settings: bool = Field(description="the configuration has it, and is changed there")
    updated_at: Instant
    jobs: int = Field(description="jobs that name it")
    running: int
    waiting: int = Field(description="runs that wait for a place")
    keys: list[KeyOut] | None = Field(
        description="up to 50, those for which most wait first; null: you may not see parameters"
    )


class GroupList(Schema):
    items: list[GroupOut]


class GroupSaved(Schema):
    """The group as it is now, without what goes on in it."""

    name: str
    description: str
    max_running: int | None
    max_running_per_key: int | None
    rate_count: int | None
    rate_seconds: int | None
    rate_per_key: bool
    updated_at: Instant
