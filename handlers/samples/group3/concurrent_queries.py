"""`sample9`: query three databases at the same time with asyncio.gather.

Each query is a child task, and a transaction belongs to one task, so each query opens its own
transaction on its own connection.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from dbpools import get_db, load_queries
from handlers import BaseHandler, handler
from handlers.samples.group3.model import ConcurrentParams, ConcurrentResult
from handlers.samples.sample_data import ensure_sqlite_table

queries = load_queries(Path(__file__).parent / "sql" / "concurrent_queries.sql")


@handler("sample9", "concurrent_queries")
class ConcurrentQueries(BaseHandler):
    """Count rows in three databases, concurrently or one after the other, and measure it."""

    databases = ("sqlite_2", "postgres_1", "mysql_1")

    async def execute(self, params: ConcurrentParams) -> ConcurrentResult:
        await ensure_sqlite_table()
        clock = asyncio.get_running_loop().time
        started = clock()
        if params.action == "sequential":
            counts = [await count_rows(name) for name in self.databases]
        else:
            counts = await asyncio.gather(*(count_rows(name) for name in self.databases))
        return ConcurrentResult(
            action=params.action,
            mode=params.action,
            elapsed_ms=round((clock() - started) * 1000, 3),
            count=sum(counts),
            data=dict(zip(self.databases, counts, strict=True)),
        )


async def count_rows(database: str) -> int:
    """Returns the number of rows of `sample_data` in one database."""
    async with get_db(database).transaction(readonly=True) as tx:
        count: int = await queries.count_rows(tx)
        return count
