"""Batch mode: commit after every N rows, so that a long load holds no long transaction."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

from dbpools.connection import Parameters, PooledConnection
from dbpools.transaction import TransactionContext


class BatchContext(TransactionContext):
    """A transaction that is committed and begun again after every `every` changed rows."""

    def __init__(self, connection: PooledConnection, *, every: int) -> None:
        if every < 1:
            raise ValueError(f"a batch commits after every N rows, N at least 1, not {every}")
        super().__init__(connection)
        self._every = every
        self.pending_rows = 0
        """Rows changed since the last commit."""
        self.committed_rows = 0
        """Rows changed and committed."""

    async def executemany(
        self, sql: str, rows: Iterable[Parameters], *, name: str | None = None
    ) -> int:
        """As elsewhere, but in pieces, so that no commit holds more than `every` rows."""
        iterator = iter(rows)
        count = 0
        while piece := list(islice(iterator, max(self._every - self.pending_rows, 1))):
            count += await super().executemany(sql, piece, name=name)
        return count

    @asynccontextmanager
    async def savepoint(self, *, readonly: bool = False) -> AsyncIterator[TransactionContext]:
        """As elsewhere; commits wait for its end."""
        pending_before = self.pending_rows
        try:
            async with super().savepoint(readonly=readonly):
                yield self
        except BaseException:
            self.pending_rows = pending_before
            raise

    async def _end(self, word: str) -> None:
        await super()._end(word)
        # Here, because a commit that is cancelled meanwhile takes effect all the same.
        if word == "COMMIT":
            self.committed_rows += self.pending_rows
        self.pending_rows = 0

    async def run(self, method: str, title: str, *args: Any) -> Any:
        answer = await super().run(method, title, *args)
        if method in ("execute", "execute_many"):
            self.pending_rows += answer
        elif method == "insert":
            self.pending_rows += 1
        if self.pending_rows >= self._every and not self.is_in_savepoint:
            await self.flush()
        return answer
