"""Steps that a cancellation must not interrupt, such as COMMIT."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("dbpools.transaction")


async def shielded(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` to its end even if this task is cancelled; raises the cancellation afterwards.

    `work` itself must be limited in time.
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
