"""Result of `multi_db_report`."""

from __future__ import annotations

from pydantic import BaseModel

from handlers import HandlerResult


class DatabaseReport(BaseModel):
    """One database: its number of rows, and the number that each handler wrote."""

    count: int
    by_handler: dict[str, int]


class ReportResult(HandlerResult):
    """`data`: the databases by name; `count` and `by_handler`: their sums."""

    action: str | None = "report"
    data: dict[str, DatabaseReport]
    by_handler: dict[str, int]
