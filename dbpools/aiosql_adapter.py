"""aiosql's operations on the connections of dbpools: one adapter for every engine."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiosql
from aiosql.types import SQLOperationType

from dbpools.binding import DIALECTS
from dbpools.errors import did_you_mean
from dbpools.registry import DatabaseRegistry
from dbpools.statements import Statements
from dbpools.stream import RowStream
from dbpools.transaction import TransactionContext


class DbpoolsAdapter:
    """aiosql's operations on a connection of dbpools: the same on every engine."""

    is_aio_driver = True

    def process_sql(self, query_name: str, op_type: SQLOperationType, sql: str) -> str:
        """Returns the text without its semicolon. The connection binds `:name` when it runs."""
        return sql if op_type is SQLOperationType.SCRIPT else sql.strip().removesuffix(";")

    async def select(
        self,
        conn: Statements,
        query_name: str,
        sql: str,
        parameters: Any,
        record_class: Callable[..., Any] | None = None,
    ) -> AsyncGenerator[Any, None]:
        for row in await conn.fetch_all(sql, parameters, name=query_name):
            yield record_class(**row) if record_class else row

    async def select_one(
        self,
        conn: Statements,
        query_name: str,
        sql: str,
        parameters: Any,
        record_class: Callable[..., Any] | None = None,
    ) -> Any:
        row = await conn.fetch_one(sql, parameters, name=query_name)
        return record_class(**row) if record_class and row is not None else row

    async def select_value(
        self, conn: Statements, query_name: str, sql: str, parameters: Any
    ) -> Any:
        return await conn.fetch_val(sql, parameters, name=query_name)

    def select_cursor(
        self, conn: TransactionContext, query_name: str, sql: str, parameters: Any
    ) -> AbstractAsyncContextManager[RowStream]:
        return conn.stream(sql, parameters, name=query_name)

    async def insert_update_delete(
        self, conn: Statements, query_name: str, sql: str, parameters: Any
    ) -> int:
        return await conn.execute(sql, parameters, name=query_name)

    async def insert_update_delete_many(
        self, conn: Statements, query_name: str, sql: str, parameters: Iterable[Any]
    ) -> int:
        return await conn.executemany(sql, parameters, name=query_name)

    async def insert_returning(
        self, conn: Statements, query_name: str, sql: str, parameters: Any
    ) -> Any:
        return await conn.insert(sql, parameters, name=query_name)

    async def execute_script(self, conn: Statements, sql: str) -> str:
        await conn.execute_script(sql)
        return "DONE"


# For aiosql's types an asynchronous adapter returns no counts; its code passes them on.
ADAPTER: Any = DbpoolsAdapter


def get_aiosql_adapter(db_type: str) -> DbpoolsAdapter:
    """Returns the aiosql adapter for an engine. ValueError for an unknown type."""
    if db_type not in DIALECTS:
        raise ValueError(f"unknown database type {db_type!r}{did_you_mean(db_type, DIALECTS)}")
    return DbpoolsAdapter()


def get_aiosql_adapter_for_db(name: str) -> DbpoolsAdapter:
    """Returns the aiosql adapter for a registered database. UnknownDatabaseError."""
    return get_aiosql_adapter(DatabaseRegistry.get(name).db_type)


# For code that loads its files with aiosql itself; aiosql has no asynchronous MySQL adapter.
aiosql.register_adapter("dbpools", ADAPTER)
aiosql.register_adapter("asyncmy", ADAPTER)
