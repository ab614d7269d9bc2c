"""What a pool does in tasks of its own: it opens and closes connections there."""

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from dbpools.driver import DriverConnection

log = logging.getLogger("dbpools.pool")

CLEANUP_SECONDS = 5.0
"""How long rolling back, resetting or closing one connection may take."""


class BackgroundTasks:
    """The tasks of one pool. No caller waits for them, except the one that closes the pool."""

    def __init__(self, pool: str, caught_errors: tuple[type[Exception], ...]) -> None:
        self._pool = pool
        self._caught_errors = caught_errors
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in a task."""
        # In an empty context: the work of the pool, and its log lines, do not belong to the run of
        # whoever happens to ask for a connection.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self, connection: DriverConnection) -> None:
        """Closes a connection in a task."""
        self.start(self._close(connection))

    def abandon(self, connection: DriverConnection) -> None:
        """Closes a connection that may be broken in a task."""
        self.start(self._abandon(connection))

    async def finish(self) -> None:
        """Returns when every task has ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _close(self, connection: DriverConnection) -> None:
        if not await self._bounded(connection.close()):
            await self._abandon(connection)

    async def _abandon(self, connection: DriverConnection) -> None:
        await self._bounded(connection.abandon())

    async def _bounded(self, closing: Coroutine[Any, Any, None]) -> bool:
        try:
            async with asyncio.timeout(CLEANUP_SECONDS):
                await closing
        except self._caught_errors as error:
            log.debug("pool %s: closing a connection: %s", self._pool, error)
            return False
        return True
