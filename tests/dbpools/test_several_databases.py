"""One function, three databases: all or nothing before the first commit, the truth after it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from dbpools import (
    DatabaseRegistry,
    PartialCommitError,
    QueryExecutionError,
    ReadOnlyTransactionError,
    TransactionError,
    get_connection,
    get_db,
    transactional,
    transactional_readonly,
)
from tests.dbpools.conftest import assert_whole, make_shop, names_in
from tests.dbpools.engines import Engine
from tests.dbpools.proxy import Proxy, proxied

ALL = ("one", "two", "three")
KINDS = {"one": "sqlite", "two": "postgres", "three": "mysql"}


class TroubleError(Exception):
    """Something that a handler raises."""


Shops = Callable[..., Awaitable[dict[str, Proxy]]]


@pytest.fixture
async def shops(engine_of: Callable[[str], Engine]) -> AsyncIterator[Shops]:
    """Registers the three databases with a table each; `through` a proxy where asked."""
    stack = AsyncExitStack()

    async def make(*, through: tuple[str, ...] = ()) -> dict[str, Proxy]:
        proxies = {}
        for name, kind in KINDS.items():
            engine = engine_of(kind)
            config = engine.config(size=2, connect_timeout=1)
            if name in through:
                proxies[name] = await stack.enter_async_context(proxied(config["dsn"], 0))
                config["dsn"] = proxies[name].url
            await DatabaseRegistry.init_from_config({name: config})
            await make_shop(engine, get_db(name))
        return proxies

    yield make
    await DatabaseRegistry.close_all(timeout_seconds=2)
    await stack.aclose()


@transactional(*ALL)
async def save_everywhere(name: str, *, fail_on: str = "") -> None:
    for database in ALL:
        await get_connection(database).execute(
            "insert into item (name) values (:name)", {"name": name}
        )
    if fail_on:
        await get_connection(fail_on).execute("insert into nowhere values (1)")


async def saved() -> dict[str, list[str]]:
    return {name: await names_in(get_db(name)) for name in ALL}


def assert_pools_whole() -> None:
    for database in DatabaseRegistry.get_all().values():
        assert_whole(database.statistics())


async def test_three_databases_commit_together(shops: Shops) -> None:
    await shops()

    await save_everywhere("a")

    assert await saved() == {"one": ["a"], "two": ["a"], "three": ["a"]}
    assert_pools_whole()


@pytest.mark.parametrize("failing", ALL)
async def test_failure_on_any_one_rolls_back_all(shops: Shops, failing: str) -> None:
    await shops()

    with pytest.raises(QueryExecutionError, match="nowhere"):
        await save_everywhere("a", fail_on=failing)

    assert await saved() == {"one": [], "two": [], "three": []}
    assert_pools_whole()


async def test_exception_of_the_function_rolls_back_all(shops: Shops) -> None:
    await shops()

    @transactional(*ALL)
    async def work() -> None:
        await save_everywhere("a")
        raise TroubleError

    with pytest.raises(TroubleError):
        await work()
    assert await saved() == {"one": [], "two": [], "three": []}


async def test_swallowed_failure_on_one_commits_none(shops: Shops) -> None:
    await shops()

    @transactional(*ALL)
    async def work() -> None:
        for name in ALL:
            await get_connection(name).execute("insert into item (name) values ('a')")
        with pytest.raises(QueryExecutionError):
            await get_connection("three").execute("insert into nowhere values (1)")

    with pytest.raises(TransactionError, match="nothing can be committed"):
        await work()
    assert await saved() == {"one": [], "two": [], "three": []}


async def test_connection_lost_before_the_first_commit_rolls_back_all(shops: Shops) -> None:
    proxies = await shops(through=("three",))

    @transactional(*ALL)
    async def work() -> None:
        await save_everywhere("a")
        proxies["three"].drop_all()

    with pytest.raises(QueryExecutionError, match="broke"):
        await work()

    assert await saved() == {"one": [], "two": [], "three": []}
    assert_pools_whole()


async def test_second_commit_that_fails_after_the_first_is_reported(shops: Shops) -> None:
    proxies = await shops(through=("two",))

    @transactional(*ALL)
    async def work() -> None:
        await save_everywhere("a")
        proxies["two"].cut_before = b"COMMIT"

    with pytest.raises(PartialCommitError) as caught:
        await work()
    proxies["two"].cut_before = None

    assert caught.value.committed == ("one",)
    assert caught.value.failed == "two"
    assert caught.value.is_failed_unknown
    assert caught.value.rolled_back == ("three",)
    assert "committed: one; commit failed on two: its connection broke" in str(caught.value)
    assert await saved() == {"one": ["a"], "two": [], "three": []}
    assert_pools_whole()


async def test_commit_whose_answer_is_lost_is_called_unknown(shops: Shops) -> None:
    proxies = await shops(through=("two",))

    @transactional("two", "three")
    async def work() -> None:
        for name in ("two", "three"):
            await get_connection(name).execute("insert into item (name) values ('a')")
        proxies["two"].cut_after = b"COMMIT"

    with pytest.raises(PartialCommitError) as caught:
        await work()
    proxies["two"].cut_after = None

    # It did commit; nobody on this side can know.
    assert caught.value.committed == ()
    assert caught.value.is_failed_unknown
    assert await saved() == {"one": [], "two": ["a"], "three": []}


async def test_commit_that_the_database_refuses_is_not_unknown(shops: Shops) -> None:
    await shops()
    async with get_db("two").connection(autocommit=True) as connection:
        await connection.execute(
            "alter table item add constraint only_known foreign key (amount) references item (id)"
            " deferrable initially deferred"
        )

    @transactional(*ALL)
    async def work() -> None:
        for name in ALL:
            await get_connection(name).execute("insert into item (name, amount) values ('a', 99)")

    with pytest.raises(PartialCommitError) as caught:
        await work()

    assert not caught.value.is_failed_unknown
    assert caught.value.committed == ("one",)
    assert await saved() == {"one": ["a"], "two": [], "three": []}
    assert_pools_whole()


async def test_cancellation_never_splits_a_commit(shops: Shops) -> None:
    await shops()
    for number in range(12):
        task = asyncio.create_task(save_everywhere(f"n{number}"))
        await asyncio.wait([task], timeout=number * 0.003)
        task.cancel()
        await asyncio.wait([task])

    stored = await saved()
    assert stored["one"] == stored["two"] == stored["three"]
    assert_pools_whole()


async def test_one_more_database_joins_an_open_transaction(shops: Shops) -> None:
    await shops()

    @transactional("one")
    async def outer() -> None:
        await save_everywhere("a")  # a savepoint on one, transactions of their own on the others
        raise TroubleError

    with pytest.raises(TroubleError):
        await outer()

    assert await saved() == {"one": [], "two": ["a"], "three": ["a"]}


async def test_read_only_over_three_databases(shops: Shops) -> None:
    await shops()
    await save_everywhere("a")

    async def count(name: str) -> int:
        return int(await get_connection(name).fetch_val("select count(*) from item"))

    @transactional_readonly(*ALL)
    async def report() -> list[int]:
        return list(await asyncio.gather(*(count(name) for name in ALL)))

    assert await report() == [1, 1, 1]

    @transactional_readonly(*ALL)
    async def write() -> None:
        await get_connection("three").execute("delete from item")

    with pytest.raises(ReadOnlyTransactionError):
        await write()
    assert_pools_whole()
