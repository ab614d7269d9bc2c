"""Params and result of `sync_sqlite_to_postgres`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from handlers import HandlerParams, HandlerResult


class SyncParams(HandlerParams):
    """`batch_size`: how many rows are in memory at a time."""

    action: str = "sync"
    batch_size: int = Field(default=500, ge=1, le=10_000)


class SyncResult(HandlerResult):
    """Stored as {"synced": 3, "from": "sqlite_2", "to": "postgres_1", ...}."""

    action: str | None = "sync"
    synced: int
    to: str

    @classmethod
    def of(cls, synced: int, *, source: str, target: str) -> SyncResult:
        # "from" is a keyword of Python, so it cannot be a declared field; an extra field can.
        extra: dict[str, Any] = {"from": source}
        return cls(count=synced, synced=synced, to=target, **extra)
