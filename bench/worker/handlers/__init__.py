"""Handlers that do next to nothing: what is left is the price of a run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from handlers import BaseHandler, handler


@handler("bench_nothing")
class Nothing(BaseHandler):
    async def execute(self, params: Any) -> None:
        return None


@handler("bench_starts")
class Starts(BaseHandler):
    """Returns when it has started, in seconds since 1970."""

    async def execute(self, params: Any) -> dict[str, float]:
        return {"at": time.time()}


@handler("bench_waits")
class Waits(BaseHandler):
    """Waits as for the network: 50 ms, or as long as the parameters say."""

    async def execute(self, params: Any) -> None:
        await asyncio.sleep((params or {}).get("seconds", 0.05))
