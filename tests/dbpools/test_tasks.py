"""Tasks, cancellations and time limits around a transaction, on the three engines."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import asyncio

import pytest

from dbpools import (
    BaseDatabase,
    DatabaseError,
    QueryExecutionError,
    TransactionContext,
    TransactionError,
    get_connection,
    transactional,
    transactional_readonly,
)
from tests.dbpools.conftest import Opener, assert_whole, make_shop, names_in
from tests.dbpools.engines import Engine
from tests.dbpools.shop import SLOW, TroubleError, add, save, save_and_fail


async def test_functions_side_by_side_have_their_own_transactions(shop: BaseDatabase) -> None:
    results = await asyncio.gather(
        *(save(f"n{number}") for number in range(20)),
        save_and_fail("lost"),
        return_exceptions=True,
    )

    assert isinstance(results[-1], TroubleError)
    assert len(await names_in(shop)) == 20
    assert_whole(shop.statistics())


async def test_child_task_cannot_write_into_its_parents_transaction(shop: BaseDatabase) -> None:
    async def child() -> None:
        await add(get_connection(), "smuggled")

    @transactional
    async def parent() -> None:
        await add(get_connection(), "mine")
        with pytest.raises(TransactionError, match="belongs to the task that opened it"):
            await asyncio.create_task(child())

    await parent()
    assert await names_in(shop) == ["mine"]


async def test_decorated_child_task_has_its_own_transaction(shop: BaseDatabase) -> None:
    @transactional_readonly
    async def parent() -> None:
        await asyncio.gather(save("one"), save("two"))
        raise TroubleError

    with pytest.raises(TroubleError):
        await parent()
    assert await names_in(shop) == ["one", "two"]


async def test_child_tasks_may_read_in_a_read_only_transaction(shop: BaseDatabase) -> None:
    await save("a", "b")

    async def amount(name: str) -> int:
        sql = "select amount from item where name = :name"
        return int(await get_connection().fetch_val(sql, {"name": name}))

    @transactional_readonly
    async def parent() -> list[int]:
        return list(await asyncio.gather(amount("a"), amount("b")))

    assert await parent() == [1, 1]


async def test_tasks_that_share_a_connection_take_turns(shop: BaseDatabase) -> None:
    @transactional
    async def parent() -> None:
        connection = get_connection()
        await asyncio.gather(*(add(connection, f"n{number}") for number in range(10)))

    await parent()
    assert len(await names_in(shop)) == 10


async def test_child_that_outlives_the_transaction_is_refused(shop: BaseDatabase) -> None:
    go_on = asyncio.Event()

    async def child(connection: TransactionContext) -> None:
        await go_on.wait()
        await add(connection, "late")

    @transactional
    async def parent() -> "asyncio.Task[None]":
        return asyncio.create_task(child(get_connection()))

    task = await parent()
    go_on.set()
    with pytest.raises(TransactionError, match="is over"):
        await task


async def test_savepoints_of_two_tasks_in_one_transaction_are_refused(shop: BaseDatabase) -> None:
    both = asyncio.Barrier(2)
    first_has_left = asyncio.Event()

    async def child(connection: TransactionContext, is_first_to_leave: bool) -> None:
        async with connection.savepoint():
            await both.wait()
            if not is_first_to_leave:
                await first_has_left.wait()

    with pytest.raises(TransactionError, match="nothing can be committed"):
        async with shop.transaction() as tx:
            first = asyncio.create_task(child(tx, True))
            second = asyncio.create_task(child(tx, False))
            with pytest.raises(TransactionError, match="out of order"):
                await first
            first_has_left.set()
            await asyncio.wait([second])
            with pytest.raises(TransactionError):
                await second


async def test_transaction_that_ends_under_its_children_fails_each_of_them(
    engine: Engine, shop: BaseDatabase
) -> None:
    children = []
    with pytest.raises(TroubleError):
        async with shop.transaction() as tx:
            children.append(asyncio.create_task(tx.fetch_val(SLOW[engine.kind])))
            children += [asyncio.create_task(tx.fetch_val("select 1")) for _ in range(3)]
            await asyncio.wait(children, timeout=0.1)
            raise TroubleError

    done, waiting = await asyncio.wait(children, timeout=10)
    assert not waiting
    assert all(isinstance(child.exception(), DatabaseError) for child in done)
    assert_whole(shop.statistics())


async def test_savepoint_whose_rollback_was_cut_off_leaves_nothing_to_commit(
    shop: BaseDatabase,
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()
    with pytest.raises(TransactionError, match="nothing can be committed"):
        async with shop.transaction() as tx:
            await add(tx, "a")
            task = asyncio.create_task(fail_in_savepoint(tx, inside, go_on))
            await inside.wait()
            go_on.set()
            await asyncio.sleep(0)
            # The task now stands in ROLLBACK TO SAVEPOINT.
            task.cancel()
            await asyncio.wait([task])

    assert await names_in(shop) == []


async def fail_in_savepoint(
    tx: TransactionContext, inside: asyncio.Event, go_on: asyncio.Event
) -> None:
    async with tx.savepoint():
        inside.set()
        await go_on.wait()
        raise TroubleError


async def test_cancelled_statement_leaves_nothing_behind(
    engine: Engine, open_database: Opener
) -> None:
    database = await open_database(size=1)
    await make_shop(engine, database)
    started = asyncio.Event()

    @transactional
    async def slow() -> None:
        await add(get_connection(), "half")
        started.set()
        await get_connection().fetch_all(SLOW[engine.kind])

    task = asyncio.create_task(slow())
    await started.wait()
    await asyncio.wait([task], timeout=0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(5):
        assert await names_in(database) == []
        await save("after")
    assert_whole(database.statistics())
    assert database.statistics().closed_broken_count >= 1


async def test_cancelled_commit_is_carried_out(shop: BaseDatabase) -> None:
    entered = asyncio.Event()

    @transactional
    async def write() -> None:
        await add(get_connection(), "a")
        entered.set()

    task = asyncio.create_task(write())
    await entered.wait()
    # The task now stands in COMMIT.
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await names_in(shop) == ["a"]
    assert_whole(shop.statistics())


async def test_statement_over_its_time_is_cut_off_by_name(
    engine: Engine, open_database: Opener
) -> None:
    database = await open_database(size=1, command_timeout=0.3)

    with pytest.raises(QueryExecutionError, match="command_timeout"):
        async with database.transaction(readonly=True) as tx:
            await tx.fetch_all(SLOW[engine.kind])

    async with database.transaction() as tx:
        assert await tx.fetch_val("select 1") == 1
    assert_whole(database.statistics())
