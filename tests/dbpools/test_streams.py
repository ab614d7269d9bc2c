"""Streams return rows as they arrive, on the three engines."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import asyncio

import pytest

from dbpools import (
    BaseDatabase,
    PoolClosedError,
    QueryExecutionError,
    TransactionError,
)
from tests.dbpools.conftest import assert_whole, names_in
from tests.dbpools.engines import Engine
from tests.dbpools.shop import ADD, SLOW, TroubleError, add, save


async def test_stream_returns_every_row_once(engine: Engine, shop: BaseDatabase) -> None:
    chunks, chunk_rows = 10, 10 if engine.is_rough else 100
    expected = [f"n{number:04}" for number in range(chunks * chunk_rows + 1)]
    async with shop.transaction() as tx:
        await tx.executemany(ADD, [{"name": name} for name in expected])

        names = [
            row["name"]
            async for row in tx.stream("select name from item order by name", chunk_rows=chunk_rows)
        ]
        after = await tx.fetch_val("select count(*) from item")

    assert names == expected
    assert after == len(expected)


async def test_stream_with_parameters_and_no_rows(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        stream = tx.stream("select name from item where name = :name", {"name": "none"})
        assert [row async for row in stream] == []


BROKEN = {
    "sqlite": "select abs(amount - 3 + -9223372036854775807) from item order by amount desc",
    "postgres": "select 1 / (amount - 3) from item order by amount",
    "mysql": "select 9223372036854775807 + 3 - amount from item order by amount desc",
}


@pytest.mark.parametrize("chunk_rows", [1, 500])
async def test_stream_that_fails_is_not_committed(
    engine: Engine, shop: BaseDatabase, chunk_rows: int
) -> None:
    rows = [{"name": f"n{number}", "amount": number} for number in range(6)]

    with pytest.raises(TransactionError, match="nothing can be committed"):
        async with shop.transaction() as tx:
            await tx.executemany("insert into item (name, amount) values (:name, :amount)", rows)
            with pytest.raises(QueryExecutionError):
                async for _ in tx.stream(BROKEN[engine.kind], chunk_rows=chunk_rows):
                    pass

    assert await names_in(shop) == []


async def test_stream_that_was_cancelled_is_not_committed(
    engine: Engine, shop: BaseDatabase
) -> None:
    with pytest.raises(TransactionError, match="nothing can be committed"):
        async with shop.transaction() as tx:
            await add(tx, "a")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(tx.stream(SLOW[engine.kind]))

    assert await names_in(shop) == []


async def test_failed_stream_in_a_savepoint_undoes_only_that(
    engine: Engine, shop: BaseDatabase
) -> None:
    rows = [{"name": f"n{number}", "amount": number} for number in range(6)]
    async with shop.transaction() as tx:
        await tx.executemany("insert into item (name, amount) values (:name, :amount)", rows)
        with pytest.raises(QueryExecutionError):
            async with tx.savepoint():
                await add(tx, "undone")
                async for _ in tx.stream(BROKEN[engine.kind], chunk_rows=1):
                    pass
        with pytest.raises(TroubleError):
            async with tx.savepoint():
                await add(tx, "undone, too")
                held = tx.stream("select name from item", chunk_rows=1)
                await anext(held)
                raise TroubleError

    assert await names_in(shop) == [row["name"] for row in rows]


async def test_stream_does_not_outlive_its_transaction(shop: BaseDatabase) -> None:
    async with shop.connection() as connection:
        await connection.begin()
        await add(connection, *(f"n{number}" for number in range(9)))
        unstarted = connection.stream("select name from item")
        early = connection.stream("select name from item", chunk_rows=1)
        await anext(early)
        await connection.commit()
        with pytest.raises(TransactionError, match="outside a transaction"):
            await anext(unstarted)

        await connection.begin()
        late = connection.stream("select 'late' as name from item", chunk_rows=1)
        await anext(late)
        with pytest.raises(TransactionError, match="ended with its transaction"):
            await anext(early)
        await early.aclose()
        assert len([row async for row in late]) == 8
        await connection.commit()


async def test_stream_left_early_frees_the_connection(engine: Engine, shop: BaseDatabase) -> None:
    count = 100 if engine.is_rough else 1000
    async with shop.transaction() as tx:
        await tx.executemany(ADD, [{"name": f"n{number}"} for number in range(count)])
        async for _ in tx.stream("select name from item", chunk_rows=10):
            break
        assert await tx.fetch_val("select count(*) from item") == count

        async with tx.stream("select name from item", chunk_rows=10) as stream:
            await anext(stream)
        assert await tx.fetch_val("select count(*) from item") == count


async def test_statement_during_a_stream_is_refused(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await add(tx, "a", "b")
        async with tx.stream("select name from item", chunk_rows=1) as stream:
            await anext(stream)
            with pytest.raises(TransactionError, match="a stream is being read"):
                await tx.fetch_val("select 1")

        assert await tx.fetch_val("select count(*) from item") == 2


async def test_transaction_left_in_the_middle_of_a_stream(shop: BaseDatabase) -> None:
    await save(*(f"n{number}" for number in range(50)))
    async with shop.transaction(readonly=True) as tx:
        stream = tx.stream("select name from item", chunk_rows=5)
        await anext(stream)

    with pytest.raises((TransactionError, PoolClosedError)):
        for _ in range(50):
            await anext(stream)
    assert len(await names_in(shop)) == 50
    assert_whole(shop.statistics())
