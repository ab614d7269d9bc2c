"""Batches: a commit after every N rows, so that a long load is not one long transaction."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice

from dbpools.binding import compile_statement
from dbpools.connection import PooledConnection
from dbpools.driver import Ending
from dbpools.operations import Answer, StatementOperation
from dbpools.statements import Parameters
from dbpools.transaction import TransactionContext


class BatchContext(TransactionContext):
    """A transaction that commits and begins again after each `every` changed rows."""

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
        """Like any executemany(), but in pieces, so that no commit holds more than `every` rows."""
        iterator = iter(rows)
        count = 0
        while piece := list(islice(iterator, max(self._every - self.pending_rows, 1))):
            count += await super().executemany(sql, piece, name=name)
        return count

    @asynccontextmanager
    async def savepoint(self, *, readonly: bool = False) -> AsyncIterator[TransactionContext]:
        """Like any savepoint(). The batch commits nothing before it ends."""
        pending_before = self.pending_rows
        try:
            async with super().savepoint(readonly=readonly):
                yield self
        except BaseException:
            self.pending_rows = pending_before
            raise

    async def _end(self, ending: Ending) -> None:
        await super()._end(ending)
        # Counted here, because a commit takes effect even if its caller is cancelled meanwhile.
        if ending is Ending.COMMIT:
            self.committed_rows += self.pending_rows
        self.pending_rows = 0

    async def run(self, operation: StatementOperation[Answer]) -> Answer:
        answer = await super().run(operation)
        self.pending_rows += operation.changed_rows(answer) or self._rows_returned(
            operation, answer
        )
        if self.pending_rows >= self._every and not self.is_in_savepoint:
            await self.flush()
        return answer

    def _rows_returned(self, operation: StatementOperation[Answer], answer: Answer) -> int:
        """How many rows a fetch has written: those that RETURNING answered with."""
        statement = compile_statement(operation.sql, self.dialect)
        return operation.row_count(answer) if "RETURNING" in statement.words else 0
