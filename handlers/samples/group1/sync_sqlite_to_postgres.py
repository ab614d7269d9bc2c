"""`sample3`: copy all rows from SQLite to PostgreSQL, in one transaction on each.

A row keeps its id and the copy is an upsert, so a second run changes nothing. This matters: with
two databases, one may commit before the other fails (PartialCommitError). Then run it again.
"""

from __future__ import annotations

from pathlib import Path

from dbpools import get_connection, load_queries, transactional
from handlers import BaseHandler, handler
from handlers.samples.group1.model import SyncParams, SyncResult
from handlers.samples.sample_data import ensure_sqlite_table

queries = load_queries(Path(__file__).parent / "sql" / "sync_sqlite_to_postgres.sql")


@handler("sample3", "sync_sqlite_to_postgres")
class SyncSqliteToPostgres(BaseHandler):
    """Copy `sample_data` from SQLite to PostgreSQL; the source's rows win."""

    databases = ("sqlite_2", "postgres_1")

    async def execute(self, params: SyncParams) -> SyncResult:
        await ensure_sqlite_table()
        synced = await self.sync(params.batch_size)
        return SyncResult.of(synced, source="sqlite_2", target="postgres_1")

    @transactional("sqlite_2", "postgres_1")
    async def sync(self, batch_size: int) -> int:
        source, target = get_connection("sqlite_2"), get_connection("postgres_1")
        await queries.keep_writers_out(target)
        synced, last_id = 0, 0
        while rows := await queries.rows_after(source, id=last_id, batch_size=batch_size):
            await queries.upsert(
                target, [{**row, "writer_handler": self.handler_name} for row in rows]
            )
            synced, last_id = synced + len(rows), rows[-1]["id"]
            self.context.progress(None, f"{synced} rows")
        await queries.move_sequence(target)
        return synced
