"""`sample1`: create, read, update and delete on SQLite. Runs without any server."""

from __future__ import annotations

from pathlib import Path

from dbpools import get_connection, load_queries, transactional, transactional_readonly
from handlers import BaseHandler, handler
from handlers.samples.sample_data import ItemParams, ItemResult, ensure_sqlite_table

queries = load_queries(Path(__file__).parent / "sql" / "sqlite_crud.sql")


@handler("sample1", "sqlite_crud")
class SqliteCrud(BaseHandler):
    """Create, read, update or delete rows in SQLite."""

    databases = ("sqlite_2",)

    async def execute(self, params: ItemParams) -> ItemResult:
        await ensure_sqlite_table()
        match params.action:
            case "create" | "write":
                return await self.create(params)
            case "update":
                return await self.update(params)
            case "delete":
                return await self.delete(params)
            case _:
                return await self.read(params)

    @transactional("sqlite_2")
    async def create(self, params: ItemParams) -> ItemResult:
        item_id = await queries.create(
            get_connection("sqlite_2"),
            name=params.name,
            value=params.value,
            writer_handler=self.handler_name,
        )
        return ItemResult(action=params.action, id=item_id, count=1)

    @transactional_readonly("sqlite_2")
    async def read(self, params: ItemParams) -> ItemResult:
        tx = get_connection("sqlite_2")
        if params.id is None:
            rows = await queries.latest(tx, limit=params.limit)
        else:
            rows = await queries.by_id(tx, id=params.id)
        return ItemResult(action="read", id=params.id, count=len(rows), data=rows)

    @transactional("sqlite_2")
    async def update(self, params: ItemParams) -> ItemResult:
        changed = await queries.update(
            get_connection("sqlite_2"), id=params.id, name=params.name, value=params.value
        )
        return ItemResult.of_change("update", params.id, changed)

    @transactional("sqlite_2")
    async def delete(self, params: ItemParams) -> ItemResult:
        changed = await queries.delete(get_connection("sqlite_2"), id=params.id)
        return ItemResult.of_change("delete", params.id, changed)
