"""`sample5`: copy rows from PostgreSQL to MySQL, in one transaction on each.

The source is streamed, so a large table needs little memory. A row keeps its id and the copy is
an upsert (ON DUPLICATE KEY UPDATE), so a second run changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dbpools import Row, get_connection, load_queries, transactional
from handlers import BaseHandler, handler
from handlers.samples.group2.model import CopyParams, CopyResult

queries = load_queries(Path(__file__).parent / "sql" / "sync_postgres_to_mysql.sql")


@handler("sample5", "sync_postgres_to_mysql")
class SyncPostgresToMysql(BaseHandler):
    """Copy `sample_data` from PostgreSQL to MySQL; the source's rows win."""

    databases = ("postgres_1", "mysql_1")

    async def execute(self, params: CopyParams) -> CopyResult:
        synced, last_id = await self.sync(params)
        source: dict[str, Any] = {"from": "postgres_1"}  # a keyword of Python
        return CopyResult(id=last_id, count=synced, synced=synced, to="mysql_1", **source)

    @transactional("postgres_1", "mysql_1")
    async def sync(self, params: CopyParams) -> tuple[int, int]:
        """Returns the number of copied rows and the id of the last one."""
        synced, last_id = 0, params.since_id
        async with queries.rows_since_cursor(
            get_connection("postgres_1"), id=params.since_id
        ) as rows:
            async for piece in in_pieces(rows, params.piece_rows):
                await queries.upsert(
                    get_connection("mysql_1"),
                    [{**row, "writer_handler": self.handler_name} for row in piece],
                )
                synced, last_id = synced + len(piece), piece[-1]["id"]
                self.context.progress(None, f"{synced} rows")
        return synced, last_id


async def in_pieces(rows: AsyncIterator[Row], size: int) -> AsyncIterator[list[Row]]:
    """Yields the rows in lists of `size`; the last list may be shorter, none is empty."""
    piece: list[Row] = []
    async for row in rows:
        piece.append(row)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece
