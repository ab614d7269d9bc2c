"""The service: rules and transactions. It knows neither handlers nor params of jobs."""

from __future__ import annotations

from pathlib import Path

from dbpools import get_connection, load_queries, transactional, transactional_readonly
from handlers.samples.sample_data import Item

queries = load_queries(Path(__file__).parent.parent / "sql" / "items.sql")


class ItemNotFoundError(Exception):
    """No item has that id."""

    def __init__(self, item_id: int) -> None:
        self.item_id = item_id
        super().__init__(f"no item {item_id}")


class ItemService:
    """Items in SQLite. Its methods join the caller's transaction, or begin one."""

    def __init__(self, writer: str) -> None:
        self._writer = writer

    @transactional("sqlite_2")
    async def create(self, name: str, value: str | None = None) -> Item:
        item_id = await queries.create(
            get_connection("sqlite_2"), name=name, value=value, writer_handler=self._writer
        )
        return await self.get(item_id)

    @transactional_readonly("sqlite_2")
    async def get(self, item_id: int) -> Item:
        row = await queries.by_id(get_connection("sqlite_2"), id=item_id)
        if row is None:
            raise ItemNotFoundError(item_id)
        return Item(**row)

    @transactional_readonly("sqlite_2")
    async def latest(self) -> list[Item]:
        rows = await queries.of_writer(get_connection("sqlite_2"), writer_handler=self._writer)
        return [Item(**row) for row in rows]

    @transactional("sqlite_2")
    async def update(self, item_id: int, name: str | None, value: str | None) -> Item:
        before = await self.get(item_id)
        await queries.update(
            get_connection("sqlite_2"),
            id=item_id,
            name=before.name if name is None else name,
            value=before.value if value is None else value,
        )
        return await self.get(item_id)

    @transactional("sqlite_2")
    async def delete(self, item_id: int) -> Item:
        """Returns the deleted item."""
        before = await self.get(item_id)
        await queries.delete(get_connection("sqlite_2"), id=item_id)
        return before
