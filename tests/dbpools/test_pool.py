"""The pool: sizes, turns, ages, losses. On the three engines unless a test is about arithmetic."""

import asyncio
import random
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from dbpools import (
    AsyncConnectionPool,
    BaseDatabase,
    ConnectionPoolExhaustedError,
    DatabaseRegistry,
    DatabaseUnavailableError,
    PoolClosedError,
    PoolConfig,
    WrongLoopError,
)
from dbpools.config import ServerPoolConfig
from dbpools.driver import DriverConnection
from tests.dbpools.conftest import Opener, assert_whole
from tests.dbpools.engines import Engine
from tests.dbpools.fake import FakeDriver


class Clock:
    """A pool's clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


FakePool = Callable[..., AsyncConnectionPool]


@pytest.fixture
def fake_pool() -> FakePool:
    """A pool of connections that exist only in this process."""

    def make(driver: FakeDriver | None = None, *, clock: Clock | None = None, **config: Any):
        config = {"min_size": 0, **config}
        return AsyncConnectionPool(
            "fake",
            driver or FakeDriver(),
            ServerPoolConfig(**config),
            clock=clock,
            jitter=lambda: 0.0,
        )

    return make


# --- lending and waiting --------------------------------------------------------------------------


async def test_connections_are_used_again(open_database: Opener) -> None:
    database = await open_database(size=2)
    for _ in range(5):
        async with database.pool.acquire() as connection:
            assert await connection.fetch_val("select 1") == 1

    statistics = database.statistics()
    assert statistics.opened_count == 1
    assert statistics.acquired_count == 5
    assert_whole(statistics, open_connections=1)


async def test_no_more_connections_than_the_size(open_database: Opener) -> None:
    database = await open_database(size=3)
    all_three = asyncio.Barrier(3)

    async def use() -> None:
        async with database.pool.acquire() as connection:
            assert database.statistics().size <= 3
            await connection.fetch_val("select 1")
            await all_three.wait()

    await asyncio.gather(*(use() for _ in range(30)))

    assert_whole(database.statistics(), open_connections=3)
    assert database.statistics().opened_count == 3


async def test_exhausted_pool_says_which_and_how_long(open_database: Opener) -> None:
    database = await open_database("reports", size=1, pool_timeout=0.2)
    async with database.pool.acquire():
        with pytest.raises(
            ConnectionPoolExhaustedError, match=r"pool 'reports' within 0\.2 s: all 1"
        ) as caught:
            await database.pool.acquire()

    assert caught.value.pool == "reports"
    assert caught.value.waited_seconds == 0.2
    assert caught.value.size == 1
    statistics = database.statistics()
    assert statistics.acquire_timeout_count == 1
    assert statistics.acquire_wait_seconds_max >= 0.2
    assert_whole(statistics, open_connections=1)


async def test_first_come_first_served(fake_pool: FakePool) -> None:
    pool = fake_pool(max_size=1)
    order: list[int] = []

    async def use(number: int) -> None:
        async with pool.acquire():
            order.append(number)

    held = await pool.acquire()
    tasks = [asyncio.create_task(use(number)) for number in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await pool.release(held)
    await asyncio.wait(tasks)

    assert order == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    await pool.close()


async def test_newcomer_does_not_overtake_the_line(fake_pool: FakePool) -> None:
    pool = fake_pool(max_size=1)
    held = await pool.acquire()
    first = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)

    await pool.release(held)
    with pytest.raises(ConnectionPoolExhaustedError):
        await pool.acquire(timeout_seconds=0.05)

    await pool.release(await first)
    await pool.close()


async def test_the_pools_own_work_does_not_pass_as_the_callers(fake_pool: FakePool) -> None:
    run: ContextVar[str] = ContextVar("run", default="nobody's")
    seen: list[str] = []

    class Driver(FakeDriver):
        async def connect(self) -> DriverConnection:
            seen.append(run.get())
            return await super().connect()

    pool = fake_pool(Driver(), max_size=1)
    run.set("number 7")
    async with pool.acquire():
        pass
    await pool.close()
    assert seen == ["nobody's"]


async def test_open_connects_to_the_minimum(engine: Engine, open_database: Opener) -> None:
    smallest = engine.sizes.get("smallest")
    database = await open_database(size=4, **({smallest: 3} if smallest else {}))

    await database.open()

    # SQLite's pool has no smallest size; opening it proves that the file can be opened.
    assert_whole(database.statistics(), open_connections=3 if smallest else 1)


# --- loss and age ---------------------------------------------------------------------------------


async def test_broken_connection_is_replaced(open_database: Opener) -> None:
    database = await open_database(size=1)
    async with database.pool.acquire() as connection:
        await connection.member.connection.abandon()

    async with database.pool.acquire() as connection:
        assert await connection.fetch_val("select 1") == 1

    assert database.statistics().closed_broken_count == 1
    assert_whole(database.statistics(), open_connections=1)


async def test_connection_that_broke_while_idle_is_replaced(open_database: Opener) -> None:
    database = await open_database(size=1)
    async with database.pool.acquire() as connection:
        lost = connection.member.connection
    await lost.abandon()

    async with database.transaction() as tx:
        assert await tx.fetch_val("select 1") == 1
    assert_whole(database.statistics(), open_connections=1)


async def test_idle_connections_are_closed_and_the_minimum_renewed(fake_pool: FakePool) -> None:
    clock = Clock()
    pool = fake_pool(clock=clock, min_size=1, max_size=3, max_idle_seconds=60)
    taken = [await pool.acquire() for _ in range(3)]
    for connection in taken:
        await pool.release(connection)
    clock.now += 59
    pool.sweep()
    assert pool.statistics().idle == 3

    clock.now += 2
    pool.sweep()
    await settle()

    statistics = pool.statistics()
    assert statistics.closed_idle_count == 3
    assert statistics.idle == 1
    assert statistics.opened_count == 4
    await pool.close()


async def test_old_connection_is_replaced_when_it_returns(fake_pool: FakePool) -> None:
    clock = Clock()
    pool = fake_pool(clock=clock, max_size=1, max_lifetime_seconds=100)
    connection = await pool.acquire()
    clock.now += 101

    await pool.release(connection)

    assert pool.statistics().closed_old_count == 1
    async with pool.acquire():
        assert pool.statistics().opened_count == 2
    await pool.close()


async def test_lifetimes_differ_by_up_to_a_tenth() -> None:
    shares = iter((0.0, 0.5, 1.0))
    pool = AsyncConnectionPool(
        "fake",
        FakeDriver(),
        PoolConfig(max_lifetime_seconds=1000, max_size=3),
        clock=lambda: 0.0,
        jitter=lambda: next(shares),
    )
    taken = [await pool.acquire() for _ in range(3)]

    assert sorted(each.member.old_at for each in taken) == [900, 950, 1000]
    for connection in taken:
        await pool.release(connection)
    await pool.close()


async def test_connection_that_was_idle_for_long_is_asked_first(fake_pool: FakePool) -> None:
    clock = Clock()
    driver = FakeDriver()
    pool = fake_pool(driver, clock=clock, max_size=1)
    async with pool.acquire() as connection:
        connection.member.connection.is_deaf = True  # type: ignore[attr-defined]
    clock.now += 31

    async with pool.acquire():
        pass

    assert pool.statistics().closed_broken_count == 1
    assert pool.statistics().opened_count == 2
    await pool.close()


async def test_failure_to_open_reaches_each_caller(fake_pool: FakePool) -> None:
    driver = FakeDriver()
    driver.is_away = True
    pool = fake_pool(driver, max_size=2, connect_timeout_seconds=0.2)

    results = await asyncio.gather(*(pool.take() for _ in range(5)), return_exceptions=True)

    assert [type(result) for result in results] == [DatabaseUnavailableError] * 5
    # The first failure tells all who wait. The other connection may fail a moment later.
    while pool.statistics().opening:  # noqa: ASYNC110 - the pool has no event for this
        await asyncio.sleep(0.01)
    assert_whole(pool.statistics(), open_connections=0)
    driver.is_away = False
    async with pool.acquire():
        pass
    await pool.close()


async def test_opening_is_tried_again_while_the_server_is_away(fake_pool: FakePool) -> None:
    driver = FakeDriver()
    driver.is_away = True
    pool = fake_pool(driver)
    waiting = asyncio.ensure_future(pool.take())
    await asyncio.wait([waiting], timeout=0.1)

    driver.is_away = False

    await pool.release(await waiting)
    assert_whole(pool.statistics(), open_connections=1)
    await pool.close()


async def test_waiting_for_a_server_that_is_away_is_not_called_exhausted(
    fake_pool: FakePool,
) -> None:
    driver = FakeDriver()
    driver.is_away = True
    pool = fake_pool(driver, pool_timeout_seconds=0.1, connect_timeout_seconds=0.5)

    with pytest.raises(DatabaseUnavailableError, match="nobody there"):
        await pool.acquire()
    await pool.close()


async def test_opening_that_takes_too_long_is_an_error(fake_pool: FakePool) -> None:
    driver = FakeDriver()
    driver.open_seconds = 10
    pool = fake_pool(driver, connect_timeout_seconds=0.05)

    with pytest.raises(DatabaseUnavailableError, match="connect_timeout"):
        await pool.acquire()
    assert_whole(pool.statistics(), open_connections=0)
    await pool.close()


# --- closing --------------------------------------------------------------------------------------


async def test_closed_pool_refuses_by_name(database: BaseDatabase) -> None:
    async with database.transaction():
        pass
    await database.close()

    with pytest.raises(PoolClosedError, match="'default' is closed"):
        await database.pool.acquire()
    await database.close()  # twice is harmless
    assert_whole(database.statistics(), open_connections=0)


async def test_closing_waits_for_what_is_in_use(open_database: Opener) -> None:
    database = await open_database(size=1)
    connection = await database.pool.acquire()
    waiting = asyncio.ensure_future(database.pool.take())
    await asyncio.sleep(0)

    closing = asyncio.create_task(database.close())
    with pytest.raises(PoolClosedError):
        await waiting
    assert await connection.fetch_val("select 1") == 1
    assert not closing.done()
    await database.pool.release(connection)
    await closing

    assert_whole(database.statistics(), open_connections=0)


async def test_closing_cuts_off_what_does_not_come_back(open_database: Opener) -> None:
    database = await open_database(size=1)
    connection = await database.pool.acquire()

    await database.close(timeout_seconds=0.05)

    assert_whole(database.statistics(), open_connections=0)
    with pytest.raises((PoolClosedError, Exception)):
        await connection.fetch_val("select 1")
    await database.pool.release(connection)
    assert_whole(database.statistics(), open_connections=0)


async def test_pool_of_another_loop_is_refused_by_name(database: BaseDatabase) -> None:
    async with database.transaction():
        pass
    caught: list[BaseException] = []

    def other_loop() -> None:
        try:
            asyncio.run(database.pool.take())
        except WrongLoopError as error:
            caught.append(error)

    thread = threading.Thread(target=other_loop)
    thread.start()
    await asyncio.to_thread(thread.join)

    assert "belongs to another event loop" in str(caught[0])
    assert_whole(database.statistics(), open_connections=1)


# --- cancellation ---------------------------------------------------------------------------------


async def test_ten_thousand_cancelled_acquires_lose_nothing(fake_pool: FakePool) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    driver = FakeDriver(chance)
    pool = fake_pool(driver, max_size=5, pool_timeout_seconds=0.5)
    outcomes = {"used": 0, "cancelled": 0, "exhausted": 0}

    async def use() -> None:
        try:
            async with pool.acquire() as connection:
                await connection.fetch_val("select 1")
                await hops(chance.randrange(4))
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1
            raise
        except ConnectionPoolExhaustedError:
            outcomes["exhausted"] += 1
        else:
            outcomes["used"] += 1

    for _ in range(100):
        tasks = [asyncio.create_task(use()) for _ in range(100)]
        for task in chance.sample(tasks, len(tasks)):
            if chance.random() < 0.3:
                await hops(1)
            task.cancel()
        await asyncio.wait(tasks)

    await settle()
    assert sum(outcomes.values()) <= 10_000
    assert outcomes["cancelled"] > 5_000
    assert_whole(pool.statistics())
    taken = [await pool.acquire() for _ in range(5)]
    assert [await each.fetch_val("select 1") for each in taken] == [1] * 5
    assert pool.statistics().size == 5
    for connection in taken:
        await pool.release(connection)
    await pool.close()
    assert driver.open_connections == 0


async def test_cancelled_acquires_lose_nothing_on_a_real_engine(open_database: Opener) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    database = await open_database(size=3)

    async def use() -> None:
        async with database.transaction() as tx:
            await tx.fetch_val("select 1")

    for _ in range(10):
        tasks = [asyncio.create_task(use()) for _ in range(20)]
        for task in chance.sample(tasks, len(tasks)):
            await asyncio.wait([task], timeout=chance.random() * 0.004)
            task.cancel()
        await asyncio.wait(tasks)

    async with asyncio.timeout(10):
        taken = [await database.pool.acquire() for _ in range(3)]
        assert [await each.fetch_val("select 1") for each in taken] == [1, 1, 1]
        assert database.statistics().size == 3
        for connection in taken:
            await database.pool.release(connection)
    assert_whole(database.statistics(), open_connections=3)


async def test_early_opening_that_is_cancelled_keeps_no_connection(fake_pool: FakePool) -> None:
    for turns in range(1, 40):
        pool = fake_pool(min_size=3, max_size=3)
        opening = asyncio.create_task(pool.open())
        await hops(turns)
        opening.cancel()
        await asyncio.wait([opening])
        await settle()

        assert pool.statistics().in_use == 0, f"cancelled after {turns} turns"
        await pool.close()


async def hops(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settle() -> None:
    """Let the pool's own tasks end."""
    await hops(20)


async def test_registry_closes_every_pool(engine: Engine, open_database: Opener) -> None:
    first = await open_database("first")
    second = await open_database("second")
    async with first.transaction(), second.transaction():
        pass

    await DatabaseRegistry.close_all()

    assert first.pool.is_closed
    assert second.pool.is_closed
    assert DatabaseRegistry.get_all() == {}
