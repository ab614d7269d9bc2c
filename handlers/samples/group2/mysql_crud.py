"""`sample4`: create, read, update and delete on MySQL or MariaDB, with LAST_INSERT_ID()."""

from __future__ import annotations

from pathlib import Path

from dbpools import get_connection, load_queries, transactional, transactional_readonly
from handlers import BaseHandler, handler
from handlers.samples.sample_data import ItemParams, ItemResult

queries = load_queries(Path(__file__).parent / "sql" / "mysql_crud.sql")


@handler("sample4", "mysql_crud")
class MysqlCrud(BaseHandler):
    """Create, read, update or delete rows in MySQL."""

    databases = ("mysql_1",)

    async def execute(self, params: ItemParams) -> ItemResult:
        match params.action:
            case "create" | "write":
                return await self.create(params)
            case "read":
                return await self.read(params)
            case _:
                return await self.change(params)

    @transactional("mysql_1")
    async def create(self, params: ItemParams) -> ItemResult:
        tx = get_connection("mysql_1")
        item_id = await queries.create(
            tx, name=params.name, value=params.value, writer_handler=self.handler_name
        )
        # The server stores the last id per connection, and this one is ours until the commit.
        rows = await queries.just_created(tx)
        return ItemResult(action=params.action, id=item_id, count=1, data=rows)

    @transactional_readonly("mysql_1")
    async def read(self, params: ItemParams) -> ItemResult:
        rows = await queries.read(get_connection("mysql_1"), id=params.id, limit=params.limit)
        return ItemResult(action="read", id=params.id, count=len(rows), data=rows)

    @transactional("mysql_1")
    async def change(self, params: ItemParams) -> ItemResult:
        tx = get_connection("mysql_1")
        if params.action == "delete":
            changed = await queries.delete(tx, id=params.id)
        else:
            changed = await queries.update(tx, id=params.id, name=params.name, value=params.value)
        return ItemResult.of_change(params.action, params.id, changed)
