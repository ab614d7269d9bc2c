"""Params and result of `concurrent_queries`."""

from __future__ import annotations

from typing import Literal

from handlers import HandlerParams, HandlerResult


class ConcurrentParams(HandlerParams):
    """`sequential` queries one database after the other, for comparison."""

    action: Literal["concurrent", "sequential"] = "concurrent"


class ConcurrentResult(HandlerResult):
    """`data`: number of rows by database; `elapsed_ms`: the time for all of them."""

    mode: str
    elapsed_ms: float
    data: dict[str, int]
