"""`sample2`: create, read, update and delete on PostgreSQL, where RETURNING returns the rows."""

from __future__ import annotations

from pathlib import Path

from dbpools import get_connection, load_queries, transactional, transactional_readonly
from handlers import BaseHandler, handler
from handlers.samples.sample_data import ItemParams, ItemResult

queries = load_queries(Path(__file__).parent / "sql" / "postgres_crud.sql")


@handler("sample2", "postgres_crud")
class PostgresCrud(BaseHandler):
    """Create, read, update or delete rows in PostgreSQL."""

    databases = ("postgres_1",)

    async def execute(self, params: ItemParams) -> ItemResult:
        return await (self.read(params) if params.action == "read" else self.write(params))

    @transactional_readonly("postgres_1")
    async def read(self, params: ItemParams) -> ItemResult:
        rows = await queries.read(get_connection("postgres_1"), id=params.id, limit=params.limit)
        return ItemResult(action="read", id=params.id, count=len(rows), data=rows)

    @transactional("postgres_1")
    async def write(self, params: ItemParams) -> ItemResult:
        tx = get_connection("postgres_1")
        given = {"name": params.name, "value": params.value}
        match params.action:
            case "update":
                rows = await queries.update(tx, id=params.id, **given)
            case "delete":
                rows = await queries.delete(tx, id=params.id)
            case _:
                item_id = await queries.create(tx, **given, writer_handler=self.handler_name)
                return ItemResult(action=params.action, id=item_id, count=1)
        result = ItemResult.of_change(params.action, params.id, len(rows))
        return result.model_copy(update={"data": rows})
