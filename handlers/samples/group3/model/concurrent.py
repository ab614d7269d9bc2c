"""Params and result of `concurrent_queries`."""

from __future__ import annotations

from typing import Literal

from handlers import HandlerParams, HandlerResult


class ConcurrentParams(HandlerParams):
    """`sequential` asks one database after the other, to compare."""

    action: Literal["concurrent", "sequential"] = "concurrent"


class ConcurrentResult(HandlerResult):
    """`data`: rows by database; `elapsed_ms`: for all of them, whole milliseconds and parts."""

    mode: str
    elapsed_ms: float
    data: dict[str, int]
