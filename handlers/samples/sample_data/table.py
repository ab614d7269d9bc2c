"""Creates the table on SQLite, where no init script does."""

from __future__ import annotations

from pathlib import Path

from dbpools import get_db, load_queries

queries = load_queries(Path(__file__).parent / "sql" / "sqlite_table.sql")


async def ensure_sqlite_table(database: str = "sqlite_2") -> None:
    """Create `sample_data` in a SQLite database if it is missing, in a separate transaction."""
    async with get_db(database).transaction(readonly=True) as tx:
        if await queries.has_table(tx):
            return
    async with get_db(database).transaction() as tx:
        await queries.create_table(tx)
