"""Bodies of /failures."""

from __future__ import annotations

from datetime import date

from ninja import Schema
from pydantic import Field

from scheduler.api.schemas.base import Instant, PageOut


class FailureOut(Schema):
    id: int
    handler_name: str
    exception_class: str = Field(description="the path of the class; empty: nothing was raised")
    text: str = Field(description="what the first lines of the errors have in common")
    example: str = Field(description="the first line of the newest error")
    runs: int = Field(description="how often it happened; those that were retried count, too")
    first_at: Instant
    last_at: Instant
    last_execution_id: int
    is_open: bool = Field(description="false: somebody has seen it, and it did not happen since")
    seen_at: Instant | None
    seen_by: str


class FailurePage(PageOut):
    items: list[FailureOut]


class FailureJobOut(Schema):
    job_id: int | None = Field(description="null: runs without a job")
    runs: int


class FailureDayOut(Schema):
    day: date = Field(description="in the time zone of the site")
    runs: int


class FailureDetail(FailureOut):
    days: list[FailureDayOut] = Field(description="the days of the last 30 on which it happened")
    jobs: list[FailureJobOut] = Field(
        description="up to 20, those that it happened to most in the last 30 days"
    )
    execution_ids: list[int] = Field(
        description="up to 100 of the runs that failed so and were not retried, the newest first"
    )


class FailureSeen(Schema):
    id: int
    is_open: bool


class FailureRetried(Schema):
    retried: int
    more: bool = Field(description="not all of them were retried: ask once more")
