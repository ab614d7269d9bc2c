"""`sample6`: one report on three databases, all read-only.

`transactional_readonly` makes each database refuse writes, and shows each database as it is at one
moment. The three engines share one .sql file.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dbpools import get_connection, load_queries, transactional_readonly
from handlers import BaseHandler, HandlerParams, handler
from handlers.samples.group2.model import DatabaseReport, ReportResult
from handlers.samples.sample_data import ensure_sqlite_table

queries = load_queries(Path(__file__).parent / "sql" / "multi_db_report.sql")


@handler("sample6", "multi_db_report")
class MultiDbReport(BaseHandler):
    """Count the rows of `sample_data` in three databases, by the handler that wrote them."""

    databases = ("sqlite_2", "postgres_1", "mysql_1")

    async def execute(self, params: HandlerParams) -> ReportResult:
        await ensure_sqlite_table()
        reports = await self.read()
        by_handler: Counter[str] = Counter()
        for report in reports.values():
            by_handler.update(report.by_handler)
        return ReportResult(data=reports, count=by_handler.total(), by_handler=dict(by_handler))

    @transactional_readonly(*databases)
    async def read(self) -> dict[str, DatabaseReport]:
        return {name: await report_of(name) for name in self.databases}


async def report_of(database: str) -> DatabaseReport:
    """Returns the report on one database; runs inside the caller's transaction."""
    rows = await queries.written_by_handler(get_connection(database))
    by_handler = {row["handler"]: row["written"] for row in rows}
    return DatabaseReport(count=sum(by_handler.values()), by_handler=by_handler)
