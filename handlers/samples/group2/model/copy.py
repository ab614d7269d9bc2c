"""Params and result of `sync_postgres_to_mysql`."""

from __future__ import annotations

from pydantic import Field

from handlers import HandlerParams, HandlerResult


class CopyParams(HandlerParams):
    """`since_id`: copy only rows with a higher id, for a source that only grows."""

    action: str = "sync"
    since_id: int = Field(default=0, ge=0)
    piece_rows: int = Field(default=500, ge=1, le=10_000)


class CopyResult(HandlerResult):
    """Stored as {"synced": 3, "from": "postgres_1", ...}; `id` is the last id that was copied."""

    action: str | None = "sync"
    synced: int
    to: str
