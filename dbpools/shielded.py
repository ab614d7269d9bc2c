"""Steps that must not be torn by a cancellation, such as COMMIT."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("dbpools.transaction")


async def shielded(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end even if this task is cancelled; the cancellation is raised after.

    `work` must be bounded by itself.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled() and task.exception() is not None:
            log.error("cancelled while ending a transaction: %s", task.exception())
        raise
