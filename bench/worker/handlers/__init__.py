"""A handler that does nothing: what is left is the price of a run."""

from __future__ import annotations

from typing import Any

from handlers import BaseHandler, handler


@handler("bench_nothing")
class Nothing(BaseHandler):
    async def execute(self, params: Any) -> None:
        return None
