"""Transactions by hand, and failures in them, mean the same on the three engines."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import pytest

from dbpools import (
    BaseDatabase,
    PoolClosedError,
    QueryExecutionError,
    TransactionError,
)
from tests.dbpools.conftest import assert_whole, names_in
from tests.dbpools.shop import TroubleError, add

# --- by hand --------------------------------------------------------------------------------------


async def test_transaction_commits_at_its_end(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await add(tx, "a")

    assert await names_in(shop) == ["a"]


async def test_exception_rolls_back(shop: BaseDatabase) -> None:
    with pytest.raises(TroubleError):
        async with shop.transaction() as tx:
            await add(tx, "a")
            raise TroubleError

    assert await names_in(shop) == []
    assert_whole(shop.statistics())


async def test_begin_commit_and_rollback_by_hand(shop: BaseDatabase) -> None:
    async with shop.connection() as connection:
        await connection.begin()
        await add(connection, "kept")
        await connection.commit()
        await connection.begin()
        await add(connection, "undone")
        await connection.rollback()

    assert await names_in(shop) == ["kept"]


async def test_what_is_left_open_by_hand_is_rolled_back(shop: BaseDatabase) -> None:
    async with shop.connection() as connection:
        await connection.begin()
        await add(connection, "a")

    assert await names_in(shop) == []
    assert_whole(shop.statistics())


async def test_transaction_ended_by_hand_is_not_ended_again(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await add(tx, "a")
        await tx.rollback()

    assert await names_in(shop) == []


@pytest.mark.parametrize("step", ["commit", "rollback", "flush"])
async def test_end_without_begin_is_refused(shop: BaseDatabase, step: str) -> None:
    async with shop.connection() as connection:
        with pytest.raises(TransactionError, match="without begin"):
            await getattr(connection, step)()


async def test_begin_twice_is_refused(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        with pytest.raises(TransactionError, match="already"):
            await tx.begin()


async def test_statement_without_begin_is_refused(shop: BaseDatabase) -> None:
    async with shop.connection() as connection:
        with pytest.raises(TransactionError, match="outside a transaction"):
            await add(connection, "a")


async def test_autocommit_commits_each_statement(shop: BaseDatabase) -> None:
    async with shop.connection(autocommit=True) as connection:
        await add(connection, "a")
        assert await names_in(shop) == ["a"]


async def test_flush_commits_and_goes_on(shop: BaseDatabase) -> None:
    with pytest.raises(TroubleError):
        async with shop.transaction() as tx:
            await add(tx, "a")
            await tx.flush()
            await add(tx, "b")
            raise TroubleError

    assert await names_in(shop) == ["a"]


async def test_use_after_the_end_is_refused(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        pass

    with pytest.raises(TransactionError, match="is over"):
        await add(tx, "late")


async def test_connection_given_back_is_refused(shop: BaseDatabase) -> None:
    connection = await shop.pool.acquire()
    await shop.pool.release(connection)

    with pytest.raises(PoolClosedError, match="given back"):
        await connection.fetch_val("select 1")
    await shop.pool.release(connection)  # twice is harmless
    assert_whole(shop.statistics())


# --- failures inside ------------------------------------------------------------------------------


async def test_after_a_failed_statement_only_rollback_works(shop: BaseDatabase) -> None:
    async with shop.connection() as connection:
        await connection.begin()
        await add(connection, "a")
        with pytest.raises(QueryExecutionError):
            await add(connection, "a")

        with pytest.raises(TransactionError, match="a statement failed before"):
            await add(connection, "b")
        with pytest.raises(TransactionError, match="nothing can be committed"):
            await connection.commit()
        await connection.rollback()

    assert await names_in(shop) == []


async def test_swallowed_failure_is_not_committed(shop: BaseDatabase) -> None:
    with pytest.raises(TransactionError, match="nothing can be committed"):
        async with shop.transaction() as tx:
            await add(tx, "a")
            with pytest.raises(QueryExecutionError):
                await add(tx, "a")

    assert await names_in(shop) == []


async def test_savepoint_undoes_only_its_part(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await add(tx, "a")
        with pytest.raises(QueryExecutionError):
            async with tx.savepoint():
                await add(tx, "b")
                await add(tx, "a")
        async with tx.savepoint():
            await add(tx, "c")
            with pytest.raises(TroubleError):
                async with tx.savepoint():
                    await add(tx, "d")
                    raise TroubleError
        await add(tx, "e")

    assert await names_in(shop) == ["a", "c", "e"]


async def test_failure_swallowed_in_a_savepoint_undoes_it_and_says_so(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await add(tx, "a")
        with pytest.raises(TransactionError, match="swallowed"):
            async with tx.savepoint():
                with pytest.raises(QueryExecutionError):
                    await add(tx, "a")
        await add(tx, "b")

    assert await names_in(shop) == ["a", "b"]


async def test_savepoint_keeps_the_whole_from_being_ended(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        async with tx.savepoint():
            for step in (tx.commit, tx.rollback, tx.flush):
                with pytest.raises(TransactionError, match="inside a savepoint"):
                    await step()
        await add(tx, "a")

    assert await names_in(shop) == ["a"]
