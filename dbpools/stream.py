"""Rows as they arrive, for results that are too large to hold."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dbpools.values import Row

if TYPE_CHECKING:
    from dbpools.connection import Bound, PooledConnection


class RowStream:
    """`async for row in tx.stream(...)`. The statement starts with the first row.

    Until it ends, its transaction takes no other statement. Leaving the loop early is fine when
    nothing else holds the stream; otherwise close it, or use it in `async with`.
    """

    def __init__(
        self,
        connection: "PooledConnection",
        bound: "Bound",
        chunk_rows: int,
        step: Callable[[bool], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._step = step
        """Its transaction around each use of the connection; True for the first."""
        self._bound = bound
        self._title = bound[2]
        self._chunk_rows = chunk_rows
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
                await self._connection.start_stream(self, self._bound, self._chunk_rows)
            self._chunk = await self._connection.next_rows(self, self._title)
        self._position = 0
        if not self._chunk:
            await self.aclose()
            raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream now. Safe to call twice."""
        if self._is_started and not self._is_over:
            self._is_over = True
            with self._step(False):
                await self._connection.end_stream(self)
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
