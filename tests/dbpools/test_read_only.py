"""Where only reading is allowed, no way of writing works, on any of the three engines."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import pytest

from dbpools import (
    BaseDatabase,
    QueryExecutionError,
    ReadOnlyTransactionError,
    get_connection,
    transactional,
    transactional_readonly,
)
from tests.dbpools.conftest import Opener, names_in
from tests.dbpools.engines import Engine
from tests.dbpools.shop import add, save

WRITES = (
    "insert into item (name) values ('x')",
    "update item set amount = 2",
    "delete from item",
    "create table another (id integer)",
)


@pytest.mark.parametrize("sql", WRITES)
async def test_database_refuses_a_write_in_a_read_only_transaction(
    shop: BaseDatabase, sql: str
) -> None:
    with pytest.raises(ReadOnlyTransactionError, match="read-only") as caught:
        async with shop.transaction(readonly=True) as tx:
            await tx.execute(sql)

    assert isinstance(caught.value.__cause__, shop.pool.driver.errors)
    assert await names_in(shop) == []


async def test_write_that_hides_in_a_with_clause_is_refused(
    engine: Engine, shop: BaseDatabase
) -> None:
    sql = {
        "sqlite": "with x as (select 'h' as n) insert into item (name) select n from x",
        "postgres": "with x as (insert into item (name) values ('h') returning 1) select * from x",
        "mysql": "insert into item (name) with x as (select 'h' as n) select n from x",
    }[engine.kind]

    with pytest.raises(ReadOnlyTransactionError):
        async with shop.transaction(readonly=True) as tx:
            await tx.fetch_all(sql)


async def test_read_only_does_not_outlive_its_transaction(open_database: Opener) -> None:
    database = await open_database(size=1)
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table item (name varchar(10))")

    async with database.transaction(readonly=True) as tx:
        await tx.fetch_all("select * from item")
    with pytest.raises(ReadOnlyTransactionError):
        async with database.transaction(readonly=True) as tx:
            await tx.execute("insert into item values ('x')")

    async with database.transaction() as tx:
        assert await tx.execute("insert into item values ('x')") == 1


async def test_read_only_part_of_a_write_transaction(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await add(tx, "a")
        async with tx.savepoint(readonly=True):
            assert await tx.fetch_val("select count(*) from item") == 1
        with pytest.raises(ReadOnlyTransactionError):
            async with tx.savepoint(readonly=True):
                await add(tx, "no")
        await add(tx, "b")

    assert await names_in(shop) == ["a", "b"]


RETURNING = "insert into item (name) values ('no') returning id"


@pytest.mark.parametrize(
    ("method", "sql"),
    [
        *(("execute", sql) for sql in WRITES[:3]),
        ("fetch_val", RETURNING),
        ("fetch_one", RETURNING),
        ("fetch_all", RETURNING),
        ("fetch_all", "delete from item"),
        ("insert", RETURNING),
        ("execute_script", WRITES[0]),
    ],
)
async def test_no_way_of_writing_leads_around_a_read_only_part(
    shop: BaseDatabase, method: str, sql: str
) -> None:
    @transactional_readonly
    async def smuggle() -> None:
        await getattr(get_connection(), method)(sql)

    @transactional
    async def outer() -> None:
        await save("a")
        with pytest.raises(ReadOnlyTransactionError):
            await smuggle()
        await save("b")

    await outer()
    assert await names_in(shop) == ["a", "b"]


@pytest.mark.parametrize("verb", ["truncate", "drop", "alter", "create", "rename"])
async def test_ddl_in_a_read_only_part_leaves_everything_as_it_was(
    engine: Engine, shop: BaseDatabase, verb: str
) -> None:
    sql = {
        "truncate": "truncate table item",
        "drop": "drop table item",
        "alter": "alter table item add column extra integer",
        "create": "create table another (id integer)",
        "rename": "alter table item rename to another",
    }[verb]
    own_words = {
        ("truncate", "sqlite"): "delete from item",
        ("rename", "mysql"): "rename table item to another",
    }
    sql = own_words.get((verb, engine.kind), sql)

    @transactional_readonly
    async def smuggle() -> None:
        await get_connection().execute(sql)

    @transactional
    async def outer() -> None:
        await save("undone")
        await smuggle()

    await save("kept")

    with pytest.raises(ReadOnlyTransactionError):
        await outer()

    assert await names_in(shop) == ["kept"]
    with pytest.raises(QueryExecutionError, match="another"):  # neither made nor renamed
        async with shop.transaction(readonly=True) as tx:
            await tx.fetch_all("select * from another")


async def test_stream_cannot_write_in_a_read_only_part(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await add(tx, "a")
        with pytest.raises(ReadOnlyTransactionError):
            async with tx.savepoint(readonly=True):
                async for _ in tx.stream(RETURNING):
                    pass

    assert await names_in(shop) == ["a"]


async def test_read_only_part_takes_every_way_of_reading(shop: BaseDatabase) -> None:
    query = "/* insert */ select name from item"
    async with shop.transaction() as tx:
        await add(tx, "a")
        async with tx.savepoint(readonly=True):
            assert await tx.fetch_val(query) == "a"
            assert await tx.fetch_one(query) == {"name": "a"}
            assert await tx.fetch_all(f"with n as ({query}) select name from n") == [{"name": "a"}]
            assert [row async for row in tx.stream(query)] == [{"name": "a"}]
            assert await tx.execute(query) == 0
