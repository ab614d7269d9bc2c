"""Transactions mean the same on the three engines."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dbpools import (
    BaseDatabase,
    DatabaseError,
    NoTransactionError,
    PoolClosedError,
    QueryExecutionError,
    ReadOnlyTransactionError,
    TransactionContext,
    TransactionError,
    UnknownDatabaseError,
    get_connection,
    get_db,
    transactional,
    transactional_readonly,
)
from tests.dbpools.conftest import Opener, assert_whole, make_shop, names_in
from tests.dbpools.engines import Engine

ADD = "insert into item (name, amount) values (:name, 1)"


async def add(connection: TransactionContext, *names: str) -> None:
    for name in names:
        await connection.execute(ADD, {"name": name})


class TroubleError(Exception):
    """Something that a handler raises."""


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


# --- read-only ------------------------------------------------------------------------------------

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


# --- @transactional -------------------------------------------------------------------------------


@transactional
async def save(*names: str) -> None:
    await add(get_connection(), *names)


@transactional_readonly
async def count() -> int:
    return int(await get_connection().fetch_val("select count(*) from item"))


@transactional("default")
async def save_and_fail(*names: str) -> None:
    await add(get_connection("default"), *names)
    raise TroubleError


async def test_decorated_function_commits_or_rolls_back(shop: BaseDatabase) -> None:
    await save("a")
    with pytest.raises(TroubleError):
        await save_and_fail("b")

    assert await names_in(shop) == ["a"]
    assert await count() == 1
    assert_whole(shop.statistics())


@pytest.mark.parametrize(
    "decorator",
    [
        transactional_readonly,
        transactional_readonly(),
        transactional_readonly("default"),
        transactional(readonly=True),
        transactional("default", readonly=True),
    ],
)
async def test_every_read_only_form_refuses_writes(
    shop: BaseDatabase, decorator: Callable[[Any], Any]
) -> None:
    @decorator
    async def write() -> None:
        await add(get_connection(), "x")

    with pytest.raises(ReadOnlyTransactionError):
        await write()


@pytest.mark.parametrize(
    "decorator", [transactional, transactional(), transactional("default"), transactional_readonly]
)
async def test_decorated_method_keeps_its_name_arguments_and_answer(
    shop: BaseDatabase, decorator: Callable[[Any], Any]
) -> None:
    class Service:
        @decorator
        async def double(self, number: int, *, plus: int = 0) -> int:
            """Doubles."""
            return number * 2 + plus

    assert Service.double.__name__ == "double"
    assert Service.double.__doc__ == "Doubles."
    assert await Service().double(3, plus=1) == 7


async def test_database_object_is_accepted(shop: BaseDatabase) -> None:
    @transactional(shop)
    async def write() -> None:
        await add(get_connection(), "x")

    await write()
    assert await names_in(shop) == ["x"]


async def test_decorating_what_is_not_async_is_refused() -> None:
    with pytest.raises(TypeError, match="async def"):
        transactional(lambda: None)  # type: ignore[arg-type, return-value]

    async def rows() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="async def"):
        transactional(rows)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="names of databases"):
        transactional(3)  # type: ignore[call-overload]


async def test_naming_a_database_twice_is_refused(shop: BaseDatabase) -> None:
    with pytest.raises(ValueError, match="'a' is named twice"):
        transactional("a", "b", "a")
    with pytest.raises(ValueError, match="'default' is named twice"):
        transactional_readonly("default", shop)


async def test_database_is_looked_up_when_called(shop: BaseDatabase) -> None:
    @transactional("defualt")
    async def write() -> None: ...

    with pytest.raises(UnknownDatabaseError, match="did you mean 'default'") as caught:
        await write()
    assert isinstance(caught.value, KeyError)


async def test_connection_without_a_transaction_is_refused(shop: BaseDatabase) -> None:
    with pytest.raises(NoTransactionError, match="no transaction on 'default'") as caught:
        get_connection("default")
    assert isinstance(caught.value, RuntimeError)


async def test_nested_function_is_a_savepoint(shop: BaseDatabase) -> None:
    @transactional
    async def outer() -> None:
        await save("a")
        with pytest.raises(TroubleError):
            await save_and_fail("b")
        assert await count() == 1
        await save("c")

    await outer()

    assert await names_in(shop) == ["a", "c"]


async def test_outer_failure_undoes_what_nested_functions_did(shop: BaseDatabase) -> None:
    @transactional
    async def outer() -> None:
        await save("a")
        raise TroubleError

    with pytest.raises(TroubleError):
        await outer()
    assert await names_in(shop) == []


async def test_write_function_inside_a_read_only_one_is_refused(shop: BaseDatabase) -> None:
    @transactional_readonly
    async def outer() -> None:
        await save("a")

    with pytest.raises(ReadOnlyTransactionError, match="inside a read-only one"):
        await outer()
    assert_whole(shop.statistics())


async def test_read_only_function_inside_a_read_only_one(shop: BaseDatabase) -> None:
    @transactional_readonly
    async def outer() -> None:
        assert await count() == 0
        await add(get_connection(), "no")

    with pytest.raises(ReadOnlyTransactionError):
        await outer()


async def test_manual_transaction_inside_a_decorated_function_is_its_own(
    engine: Engine, shop: BaseDatabase
) -> None:
    @transactional_readonly
    async def outer() -> None:
        async with get_db().transaction() as own:
            await add(own, "kept")
        raise TroubleError

    with pytest.raises(TroubleError):
        await outer()
    assert await names_in(shop) == ["kept"]


# --- concurrency ----------------------------------------------------------------------------------


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


async def test_transaction_that_ends_under_its_children_tells_each(
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


SLOW = {
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n) "
    "select count(*) from n",
    "postgres": "select pg_sleep(30)",
    "mysql": "select sleep(30)",
}


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


# --- batches and streams --------------------------------------------------------------------------


async def test_batch_commits_every_n_rows(shop: BaseDatabase) -> None:
    seen = []
    async with shop.batch(every=10) as batch:
        for number in range(25):
            await add(batch, f"n{number}")
            seen.append(batch.committed_rows)

    assert seen[8:11] == [0, 10, 10]
    assert seen[-1] == 20
    assert batch.committed_rows == 25
    assert len(await names_in(shop)) == 25


async def test_failed_batch_keeps_what_was_committed(shop: BaseDatabase) -> None:
    with pytest.raises(TroubleError):
        async with shop.batch(every=10) as batch:
            await batch.executemany(ADD, [{"name": f"n{number}"} for number in range(25)])
            raise TroubleError

    assert batch.committed_rows == 20
    assert len(await names_in(shop)) == 20
    assert_whole(shop.statistics())


async def test_batch_does_not_count_what_was_rolled_back(shop: BaseDatabase) -> None:
    async with shop.batch(every=100) as batch:
        await add(batch, "a", "b")
        await batch.rollback()
        await batch.begin()
        await add(batch, "c")

    assert batch.committed_rows == 1
    assert await names_in(shop) == ["c"]


async def test_batch_does_not_count_what_a_savepoint_undid(shop: BaseDatabase) -> None:
    async with shop.batch(every=4) as batch:
        await add(batch, "a")
        with pytest.raises(TroubleError):
            async with batch.savepoint():
                await add(batch, "b", "c", "d")
                raise TroubleError
        await add(batch, "e")
        assert (batch.pending_rows, batch.committed_rows) == (2, 0)
        async with batch.savepoint():
            await add(batch, "f", "g")
        assert (batch.pending_rows, batch.committed_rows) == (4, 0)
        await add(batch, "h")
        assert (batch.pending_rows, batch.committed_rows) == (0, 5)

    assert batch.committed_rows == 5
    assert await names_in(shop) == ["a", "e", "f", "g", "h"]


async def test_batch_counts_what_was_committed_while_it_was_cancelled(shop: BaseDatabase) -> None:
    seen = []
    entered = asyncio.Event()

    async def load() -> None:
        async with shop.batch(every=100) as batch:
            seen.append(batch)
            await add(batch, "a")
            entered.set()

    task = asyncio.create_task(load())
    await entered.wait()
    # The task now stands in COMMIT.
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await names_in(shop) == ["a"]
    assert seen[0].committed_rows == 1


async def test_flush_in_a_batch(shop: BaseDatabase) -> None:
    with pytest.raises(TroubleError):
        async with shop.batch(every=10) as batch:
            await add(batch, "a")
            await batch.flush()
            await add(batch, "b")
            raise TroubleError

    assert await names_in(shop) == ["a"]


async def test_stream_gives_every_row_once(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await tx.executemany(ADD, [{"name": f"n{number:04}"} for number in range(1001)])

        names = [
            row["name"]
            async for row in tx.stream("select name from item order by name", chunk_rows=100)
        ]
        after = await tx.fetch_val("select count(*) from item")

    assert names == [f"n{number:04}" for number in range(1001)]
    assert after == 1001


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


async def test_stream_left_early_frees_the_connection(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await tx.executemany(ADD, [{"name": f"n{number}"} for number in range(1000)])
        async for _ in tx.stream("select name from item", chunk_rows=10):
            break
        assert await tx.fetch_val("select count(*) from item") == 1000

        async with tx.stream("select name from item", chunk_rows=10) as stream:
            await anext(stream)
        assert await tx.fetch_val("select count(*) from item") == 1000


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
