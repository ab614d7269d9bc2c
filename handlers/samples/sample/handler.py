"""`sample`: tries a schedule, a timeout, a retry or a cancellation without changing any data."""

from __future__ import annotations

import asyncio

from pydantic import Field

from handlers import BaseHandler, HandlerParams, HandlerResult, handler

STEPS = 10


class SampleParams(HandlerParams):
    """How long to wait, whether to fail, and what to log."""

    sleep_seconds: float = Field(default=0.0, ge=0, le=86400, allow_inf_nan=False)
    should_fail: bool = False
    message: str = Field(default="Hello from sample", max_length=1000)


@handler("sample", params=SampleParams)
class SampleHandler(BaseHandler):
    """Wait, report progress, then succeed or fail as told."""

    async def execute(self, params: SampleParams) -> HandlerResult:
        context = self.context
        context.log.info("%s (attempt %s)", params.message, context.attempt)
        for step in range(STEPS):
            context.progress(100 * step / STEPS, f"step {step + 1} of {STEPS}")
            await asyncio.sleep(params.sleep_seconds / STEPS)
        if params.should_fail:
            raise RuntimeError(f"told to fail: {params.message}")
        context.progress(100, "done")
        return HandlerResult(action="sample", count=STEPS, data={"message": params.message})
