"""Functions with @transactional mean the same on the three engines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dbpools import (
    BaseDatabase,
    NoTransactionError,
    ReadOnlyTransactionError,
    UnknownDatabaseError,
    get_connection,
    get_db,
    transactional,
    transactional_readonly,
)
from tests.dbpools.conftest import assert_whole, names_in
from tests.dbpools.engines import Engine
from tests.dbpools.shop import TroubleError, add, save, save_and_fail


@transactional_readonly
async def count() -> int:
    return int(await get_connection().fetch_val("select count(*) from item"))


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


async def test_connection_in_a_plain_thread_is_refused_with_what_would_be_right(
    shop: BaseDatabase,
) -> None:
    @transactional_readonly
    async def outer() -> None:
        await asyncio.to_thread(get_connection, "default")

    for call in (outer(), asyncio.to_thread(get_connection, "default")):
        with pytest.raises(NoTransactionError, match=r"plain thread .*run_coroutine_threadsafe"):
            await call


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
