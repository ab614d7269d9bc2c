"""Asynchronous pools, transactions and SQL files for SQLite, PostgreSQL and MySQL or MariaDB.

It knows databases and event loops. It does not know Django, Celery, jobs, YAML or the environment:
its configuration is a plain mapping.

    await DatabaseRegistry.init_from_config({"default": {"type": "sqlite", "path": "jobs.db"}})

    @transactional
    async def rename(id: int, name: str) -> int:
        return await get_connection().execute(
            "update shop set name = :name where id = :id", {"id": id, "name": name}
        )
"""

from dbpools.aiosql_adapter import get_aiosql_adapter, get_aiosql_adapter_for_db
from dbpools.batch import BatchContext
from dbpools.config import PoolConfig
from dbpools.connection import PooledConnection
from dbpools.database import BaseDatabase
from dbpools.errors import (
    ConfigurationError,
    ConnectionLostError,
    ConnectionPoolExhaustedError,
    DatabaseError,
    DatabaseUnavailableError,
    NoTransactionError,
    PartialCommitError,
    PoolClosedError,
    QueryExecutionError,
    QueryLoadError,
    ReadOnlyTransactionError,
    TransactionError,
    UnknownDatabaseError,
    WrongLoopError,
)
from dbpools.managed import ManagedTransaction
from dbpools.pool import AsyncConnectionPool
from dbpools.queries import Queries, load_queries
from dbpools.registry import DatabaseRegistry, get_db
from dbpools.sqllog import StatementEvent, add_statement_listener
from dbpools.statistics import PoolStatistics
from dbpools.stream import RowStream
from dbpools.transaction import TransactionContext
from dbpools.transactional import get_connection, transactional, transactional_readonly
from dbpools.values import Json, Row

__all__ = [
    "AsyncConnectionPool",
    "BaseDatabase",
    "BatchContext",
    "ConfigurationError",
    "ConnectionLostError",
    "ConnectionPoolExhaustedError",
    "DatabaseError",
    "DatabaseRegistry",
    "DatabaseUnavailableError",
    "Json",
    "ManagedTransaction",
    "NoTransactionError",
    "PartialCommitError",
    "PoolClosedError",
    "PoolConfig",
    "PoolStatistics",
    "PooledConnection",
    "Queries",
    "QueryExecutionError",
    "QueryLoadError",
    "ReadOnlyTransactionError",
    "Row",
    "RowStream",
    "StatementEvent",
    "TransactionContext",
    "TransactionError",
    "UnknownDatabaseError",
    "WrongLoopError",
    "add_statement_listener",
    "get_aiosql_adapter",
    "get_aiosql_adapter_for_db",
    "get_connection",
    "get_db",
    "load_queries",
    "transactional",
    "transactional_readonly",
]
