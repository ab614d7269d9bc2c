"""Batches commit after every N rows, on the three engines."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import asyncio

import pytest

from dbpools import (
    BaseDatabase,
)
from tests.dbpools.conftest import assert_whole, names_in
from tests.dbpools.shop import ADD, TroubleError, add


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
