"""One database of a process: its pool, and the ways to get a connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dbpools.batch import BatchContext
from dbpools.binding import Dialect
from dbpools.config import DatabaseConfig
from dbpools.driver import Driver
from dbpools.managed import ManagedTransaction
from dbpools.pool import AsyncConnectionPool
from dbpools.statistics import PoolStatistics
from dbpools.transaction import TransactionContext


class BaseDatabase:
    """A database with a name. Only the drivers of the engines differ."""

    def __init__(self, name: str, config: DatabaseConfig, driver: Driver) -> None:
        self.config = config
        self.pool = AsyncConnectionPool(name, driver, config.pool)

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self.pool.name

    @property
    def db_type(self) -> str:
        """sqlite, postgres or mysql."""
        return self.config.type

    @property
    def dialect(self) -> Dialect:
        """How this engine writes SQL."""
        return self.pool.driver.dialect

    def transaction(self, readonly: bool = False) -> ManagedTransaction:
        """`async with db.transaction() as tx`: commit at the end, rollback on an exception.

        It is independent of @transactional: always a transaction of its own.
        """
        return ManagedTransaction(self.pool, readonly=readonly)

    @asynccontextmanager
    async def connection(
        self, *, autocommit: bool | None = None
    ) -> AsyncIterator[TransactionContext]:
        """A connection for begin(), commit() and rollback() by hand.

        What is still open at the end is rolled back. With `autocommit`, statements outside
        begin() commit one by one; without, they are an error. The default is the option
        `autocommit` of the database, else False.
        """
        if autocommit is None:
            autocommit = self.config.autocommits
        async with self.pool.acquire() as connection:
            context = TransactionContext(connection, autocommit=autocommit)
            try:
                yield context
            finally:
                context.finish()

    @asynccontextmanager
    async def batch(self, *, every: int) -> AsyncIterator[BatchContext]:
        """A batch that commits after every `every` changed rows, and at the end.

        An exception rolls back what came after the last commit; `committed_rows` of the batch
        is the number of rows that stay.
        """
        async with self.pool.acquire() as connection:
            context = BatchContext(connection, every=every)
            try:
                await context.begin()
                yield context
                await context.commit_unless_ended()
            finally:
                context.finish()

    async def open(self) -> None:
        """Connects now, not at the first use, to find out early whether the server is there."""
        await self.pool.open()

    async def close(self, timeout_seconds: float = 10.0) -> None:
        """Waits for the connections in use, for a limited time, and closes all."""
        await self.pool.close(timeout_seconds)

    def statistics(self) -> PoolStatistics:
        """The state of its pool right now."""
        return self.pool.statistics()
