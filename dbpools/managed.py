"""A transaction with a connection of its own, for `async with`."""

from types import TracebackType

from dbpools.connection import PooledConnection
from dbpools.errors import ConnectionLostError, TransactionError
from dbpools.pool import AsyncConnectionPool
from dbpools.transaction import TransactionContext


class ManagedTransaction:
    """`async with db.transaction() as tx`: commits at the end, rolls back on an exception."""

    def __init__(self, pool: AsyncConnectionPool, *, readonly: bool = False) -> None:
        self._pool = pool
        self._readonly = readonly
        self._connection: PooledConnection | None = None
        self._context: TransactionContext | None = None

    async def start(self) -> TransactionContext:
        """Takes a connection and begins a transaction on it."""
        if self._connection is not None:
            raise TransactionError("this transaction() was entered before; make a new one")
        while True:
            self._connection = connection = await self._pool.acquire()
            context = TransactionContext(connection)
            try:
                await context.begin(readonly=self._readonly)
            except ConnectionLostError:
                # The server was restarted since this connection was used last. Nothing has happened
                # on it yet, so another one may be tried; a failure of a new one is final.
                is_new = connection.member.is_new
                await self._pool.release(connection)
                if is_new:
                    raise
            except BaseException:
                await self._pool.release(connection)
                raise
            else:
                self._context = context
                return context

    async def give_back(self) -> None:
        """Gives the connection back; what is not committed is rolled back."""
        if self._context is not None:
            self._context.finish()
        if self._connection is not None:
            await self._pool.release(self._connection)

    async def __aenter__(self) -> TransactionContext:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._context is not None  # __aexit__ follows __aenter__
        try:
            if error is None:
                await self._context.commit_unless_ended()
        finally:
            await self.give_back()
