"""The three databases of the samples, registered as a worker registers them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbpools import DatabaseRegistry, get_db
from handlers import discover
from handlers.runner import Outcome, OutcomeKind, run_handler
from handlers.samples.sample_data import ensure_sqlite_table
from tests.handlers.conftest import ListSink, run_info
from tests.harness.servers import MariaDB, Postgres
from tests.samples.servers import as_handler_user, make_mysql, make_postgres

ALL = ("sqlite_2", "postgres_1", "mysql_1")
Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture(autouse=True)
def samples_are_registered() -> None:
    discover(["handlers.samples"])


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    url = make_postgres(postgres_server)
    yield url
    postgres_server.heal()
    postgres_server.drop_database(url)


@pytest.fixture
def mysql_url(mariadb_server: MariaDB) -> Iterator[str]:
    url = make_mysql(mariadb_server)
    yield url
    mariadb_server.heal()
    mariadb_server.drop_database(url)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[None]:
    """Only sqlite_2, without the table."""
    await register({"sqlite_2": sqlite_entry(tmp_path)})
    yield
    await DatabaseRegistry.close_all(timeout_seconds=2)


@pytest.fixture
async def databases(tmp_path: Path, postgres_url: str, mysql_url: str) -> AsyncIterator[None]:
    """sqlite_2, postgres_1 and mysql_1; on the servers as the user for handlers."""
    await register(
        {
            "sqlite_2": sqlite_entry(tmp_path),
            "postgres_1": {
                "type": "postgres",
                "dsn": as_handler_user(postgres_url),
                "pool": {"min_size": 0, "max_size": 3, "connect_timeout": 2, "pool_timeout": 5},
            },
            "mysql_1": {
                "type": "mysql",
                "dsn": as_handler_user(mysql_url),
                "pool": {"minsize": 0, "maxsize": 3, "connect_timeout": 2, "pool_timeout": 5},
            },
        }
    )
    await ensure_sqlite_table()
    yield
    await DatabaseRegistry.close_all(timeout_seconds=2)


def sqlite_entry(directory: Path) -> dict[str, Any]:
    return {"type": "sqlite", "path": str(directory / "sample.sqlite3"), "pool": {"pool_size": 3}}


async def register(config: dict[str, Any]) -> None:
    DatabaseRegistry.clear()
    await DatabaseRegistry.init_from_config(config)


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def run(sink: ListSink) -> Run:
    """`await run("sample1", action="read")`: one attempt, as in a worker."""

    async def run_one(name: str, /, **params: Any) -> Outcome:
        return await run_handler(run_info(name), params, sink)

    return run_one


async def succeed(outcome: Awaitable[Outcome]) -> dict[str, Any]:
    """Returns the result of a run that must succeed."""
    ended = await outcome
    assert ended.kind is OutcomeKind.SUCCESS, f"{ended.error}\n{ended.traceback}"
    result: dict[str, Any] = ended.result
    return result


async def add(database: str, *names: str, writer: str = "test") -> list[int]:
    """Insert rows directly and return their ids."""
    async with get_db(database).transaction() as tx:
        sql = (
            "insert into sample_data (name, value, writer_handler) values (:name, :value, :writer)"
        )
        sql += " returning id" if database == "postgres_1" else ""
        return [
            await tx.insert(sql, {"name": name, "value": f"of {name}", "writer": writer})
            for name in names
        ]


async def rows(database: str) -> list[dict[str, Any]]:
    async with get_db(database).transaction(readonly=True) as tx:
        return await tx.fetch_all("select * from sample_data order by id")


async def names(database: str) -> list[str]:
    return [row["name"] for row in await rows(database)]


def assert_pools_whole() -> None:
    for database in DatabaseRegistry.get_all().values():
        statistics = database.statistics()
        assert (statistics.in_use, statistics.waiting) == (0, 0)
