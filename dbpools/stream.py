"""Rows as they arrive, for results that are too large to hold."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from dbpools.connection import PooledConnection
from dbpools.operations import OpenCursor
from dbpools.values import Row


class RowStream:
    """`async for row in tx.stream(...)`. The statement starts with the first row.

    Until the stream ends, its transaction takes no other statement. A loop may be left early if
    nothing else holds the stream; otherwise close it, or use it in `async with`.
    """

    def __init__(
        self,
        connection: PooledConnection,
        operation: OpenCursor,
        step: Callable[[bool], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._operation = operation
        self._step = step
        """Its transaction's checks around each use of the connection; True for the first."""
        self._chunk: list[Row] = []
        self._position = 0
        self._is_started = False
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[Row]:
        return self

    async def __anext__(self) -> Row:
        if self._position >= len(self._chunk):
            await self._fetch()
        row = self._chunk[self._position]
        self._position += 1
        return row

    async def _fetch(self) -> None:
        if self._is_over:
            raise StopAsyncIteration
        is_first, self._is_started = not self._is_started, True
        with self._step(is_first):
            if is_first:
                await self._connection.open_cursor(self, self._operation)
            self._chunk = await self._connection.next_rows(self, self._operation.title)
        self._position = 0
        if not self._chunk:
            await self.aclose()
            raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the stream now. A second call does nothing."""
        if self._is_started and not self._is_over:
            self._is_over = True
            with self._step(False):
                await self._connection.close_cursor(self)
        self._is_over = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
