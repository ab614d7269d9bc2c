"""An engine that exists only in this process, for tests of the pool's own arithmetic."""

import asyncio
import random
from typing import Any

from dbpools.binding import SQLITE
from dbpools.driver import Args, Driver, DriverConnection, Fault, RowCursor
from dbpools.values import AdapterTable, Row


class FakeError(Exception):
    """What the fake's library would raise."""


class FakeDriver(Driver):
    """Opens connections that answer 1 to everything."""

    dialect = SQLITE
    adapters = AdapterTable(overrides={})
    errors = (FakeError,)

    def __init__(self, chance: random.Random | None = None) -> None:
        self.chance = chance
        self.is_away = False
        self.open_seconds = 0.0
        self.open_connections = 0

    async def connect(self) -> DriverConnection:
        if self.open_seconds:
            await asyncio.sleep(self.open_seconds)
        await self.hops()
        if self.is_away:
            raise ConnectionRefusedError("nobody there")
        self.open_connections += 1
        return FakeConnection(self)

    async def hops(self) -> None:
        """Let the loop turn a few times, as waiting for a server would."""
        for _ in range(self.chance.randrange(4) if self.chance is not None else 1):
            await asyncio.sleep(0)

    def fault(self, error: BaseException) -> Fault:
        return Fault.LOST


class FakeConnection(DriverConnection):
    """Lives until it is closed."""

    def __init__(self, driver: FakeDriver) -> None:
        self.raw = self
        self.driver = driver
        self.is_deaf = False
        self._is_open = True

    async def query(self, sql: str, args: Args, limit: int) -> list[Row]:
        await self.driver.hops()
        if self.is_deaf:
            raise FakeError("no answer")
        return [{"value": 1}]

    async def value(self, sql: str, args: Args) -> Any:
        await self.query(sql, args, 1)
        return 1

    async def execute(self, sql: str, args: Args) -> int:
        return len(await self.query(sql, args, 0))

    async def execute_many(self, sql: str, rows: list[Args]) -> int:
        return len(rows)

    async def insert(self, sql: str, args: Args) -> Any:
        return 1

    async def stream(self, sql: str, args: Args, chunk_rows: int) -> RowCursor:
        raise NotImplementedError

    async def command(self, *statements: str) -> None:
        await self.driver.hops()

    async def script(self, sql: str) -> None:
        await self.driver.hops()

    def is_open(self) -> bool:
        return self._is_open

    def is_in_transaction(self) -> bool:
        return False

    def needs_reset(self) -> bool:
        return True

    async def reset(self) -> None:
        await self.driver.hops()

    async def close(self) -> None:
        await self.abandon()

    async def abandon(self) -> None:
        if self._is_open:
            self._is_open = False
            self.driver.open_connections -= 1
