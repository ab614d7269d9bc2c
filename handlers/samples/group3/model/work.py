"""Params and result of `do_work_pattern`."""

from __future__ import annotations

from pydantic import Field

from handlers import HandlerParams, HandlerResult


class WorkParams(HandlerParams):
    """How many rows to write, and where; `should_fail` raises at the end, to show the rollback."""

    action: str = "work"
    name: str | None = Field(default="work", min_length=1, max_length=200)
    rows: int = Field(default=3, ge=1, le=1000)
    everywhere: bool = Field(default=False, description="SQLite, PostgreSQL and MySQL together")
    should_fail: bool = False


class WorkResult(HandlerResult):
    """`data`: the ids of the new rows by database."""

    action: str | None = "work"
    data: dict[str, list[int]]
