"""The SQL log: names, rows and milliseconds; never a value."""

import logging

import pytest

from dbpools import BaseDatabase, QueryExecutionError, StatementEvent, add_statement_listener
from tests.dbpools.conftest import Opener

SECRET = "hunter2"


async def test_statement_is_logged_without_its_values(
    shop: BaseDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "dbpools.sql")
    async with shop.transaction() as tx:
        await tx.execute(
            "insert into item (name) values (:name)", {"name": SECRET}, name="add_item"
        )
        await tx.fetch_all("select name\n  from item where name <> :name", {"name": SECRET})

    records = [record for record in caplog.records if record.name == "dbpools.sql"]
    lines = [record.getMessage() for record in records]
    assert any(line.startswith("add_item on default: 1 rows in ") for line in lines)
    assert any(line.startswith("select name from item where name <> :name") for line in lines)
    assert SECRET not in caplog.text
    fields = vars(records[-2])
    assert {"database", "query", "rows", "elapsed_ms"} <= set(fields)


async def test_slow_statement_is_a_warning(
    open_database: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    database = await open_database(slow_query_seconds=0)

    async with database.transaction(readonly=True) as tx:
        await tx.fetch_val("select 1", name="slow_one")

    assert [record.levelname for record in caplog.records if "slow_one" in record.getMessage()] == [
        "WARNING"
    ]


async def test_listener_hears_every_statement(shop: BaseDatabase) -> None:
    heard: list[StatementEvent] = []
    remove = add_statement_listener(heard.append)
    try:
        async with shop.connection(autocommit=True) as connection:
            await connection.executemany(
                "insert into item (name) values (:name)",
                [{"name": "a"}, {"name": "b"}],
                name="add",
            )
            with pytest.raises(QueryExecutionError):
                await connection.execute("select * from nowhere", name="fails")
    finally:
        remove()

    assert [(event.query, event.rows) for event in heard] == [("add", 2), ("fails", -1)]
    assert all(event.database == "default" and event.elapsed_ms > 0 for event in heard)


async def test_broken_listener_does_not_break_the_statement(
    shop: BaseDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: StatementEvent) -> None:
        raise RuntimeError("the log server is away")

    remove = add_statement_listener(broken)
    try:
        async with shop.transaction() as tx:
            assert await tx.fetch_val("select 1") == 1
    finally:
        remove()
    assert "a statement listener failed" in caplog.text
