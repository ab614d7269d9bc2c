"""`sample8`: the transaction is exactly one function, `do_work`.

Before it comes what may be slow or may fail and needs no transaction. After it comes what must
happen only if the work is committed, such as a notification.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dbpools import get_connection, load_queries, transactional
from handlers import BaseHandler, handler, require_databases
from handlers.samples.group3.model import WorkParams, WorkResult
from handlers.samples.sample_data import ensure_sqlite_table

queries = load_queries(Path(__file__).parent / "sql" / "do_work.sql")

EVERYWHERE = ("sqlite_2", "postgres_1", "mysql_1")


@handler("sample8", "do_work_pattern")
class DoWorkPattern(BaseHandler):
    """Write rows to one database, or to three of them all or nothing."""

    databases = ("sqlite_2",)

    async def execute(self, params: WorkParams) -> WorkResult:
        if params.everywhere:
            require_databases(*EVERYWHERE)  # only these params need all of them
        await ensure_sqlite_table()
        names = [f"{params.name} {number}" for number in range(1, params.rows + 1)]

        work = self.do_work_everywhere if params.everywhere else self.do_work
        ids = await work(names, should_fail=params.should_fail)

        self.context.log.info("committed in %s", ", ".join(ids))
        return WorkResult(count=sum(map(len, ids.values())), data=ids)

    @transactional("sqlite_2")
    async def do_work(self, names: Sequence[str], *, should_fail: bool) -> dict[str, list[int]]:
        return await self.write(["sqlite_2"], names, should_fail)

    @transactional(*EVERYWHERE)
    async def do_work_everywhere(
        self, names: Sequence[str], *, should_fail: bool
    ) -> dict[str, list[int]]:
        return await self.write(EVERYWHERE, names, should_fail)

    async def write(
        self, databases: Sequence[str], names: Sequence[str], should_fail: bool
    ) -> dict[str, list[int]]:
        """Returns the ids of the new rows by database; runs inside the caller's transactions."""
        ids = {}
        for database in databases:
            tx = get_connection(database)
            ids[database] = [
                await queries.add(tx, name=name, writer_handler=self.handler_name) for name in names
            ]
        if should_fail:
            raise RuntimeError("told to fail: nothing of this is committed, in no database")
        return ids
