"""What a pool of dbpools costs: acquire, SELECT 1 and release, per second and engine.

Three contenders take turns in small rounds on one server, so that a busy machine slows all of them:
`ours`, `driver_pool` (asyncpg.Pool, asyncmy.Pool; aiosqlite has none) and `bare` (one connection of
the driver, never released). Prints one JSON line per engine. The important figure is
`ours_to_driver_pool`, the median over the rounds: 1.0 is as fast, 0.85 is 15 % slower.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import aiosqlite
import asyncmy
import asyncpg

from bench.rows import Goal, Row, emit
from dbpools import AsyncConnectionPool, BaseDatabase
from dbpools.config import parse_database
from dbpools.drivers import make_driver
from tests.harness.servers import MariaDB, Postgres, Server, ServerUnavailableError
from tests.harness.servers.pool import start_server

Contender = Callable[[int], Awaitable[None]]
POOL_SIZE = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark. Returns 0, or 1 if a requested engine is not available."""
    parser = argparse.ArgumentParser(prog="bench pools", description=__doc__)
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="default: all")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--statements", type=int, default=300, help="per contender and round")
    options = parser.parse_args(argv)
    missing = False
    for engine in options.engine or ENGINES:
        server = None
        try:
            kind = ENGINES[engine]
            server = start_server(kind) if kind is not None else None
        except ServerUnavailableError as error:
            print(json.dumps({"bench": "pools", "engine": engine, "error": str(error)}))
            missing = True
            continue
        try:
            figures = asyncio.run(measure(engine, server, options.rounds, options.statements))
        finally:
            if server is not None:
                server.close()
        print(json.dumps(figures), flush=True)
        emit([row_of(engine, figures)])
    return int(missing)


def row_of(engine: str, figures: dict[str, Any]) -> Row:
    peer = "driver_pool" if "driver_pool_per_second" in figures else "bare"
    return Row(
        row="pools: acquire, SELECT 1, release",
        database=engine,
        unit="a second",
        ours=figures["ours_per_second"],
        peer=figures[f"{peer}_per_second"],
        peer_name="the driver's own pool" if peer == "driver_pool" else "one bare connection",
        ratio_of_rounds=figures[f"ours_to_{peer}"],
        goal=Goal(times_the_peer=1.0) if peer == "driver_pool" else None,
    )


async def measure(
    engine: str, server: Server | None, rounds: int, statements: int
) -> dict[str, Any]:
    """Returns each contender's statements per second, and the ratios, as medians of the rounds."""
    with tempfile.TemporaryDirectory() as directory:
        place = server.url if server is not None else str(Path(directory) / "bench.sqlite3")
        async with CONTENDERS[engine](place) as contenders:
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            for number in range(rounds + 2):
                # Each round starts with another contender, so that none is always the first.
                names = list(contenders)
                start = number % len(names)
                for name in names[start:] + names[:start]:
                    began = perf_counter()
                    await contenders[name](statements)
                    if number >= 2:  # the first two rounds warm up
                        seconds[name].append(perf_counter() - began)
    figures: dict[str, Any] = {"bench": "pools", "engine": engine}
    for name, times in seconds.items():
        figures[f"{name}_per_second"] = round(statements / statistics.median(times))
    for other in ("driver_pool", "bare"):
        if other in seconds:
            pairs = zip(seconds[other], seconds["ours"], strict=True)
            ratio = statistics.median(theirs / ours for theirs, ours in pairs)
            figures[f"ours_to_{other}"] = round(ratio, 3)
    return figures


def database_at(engine: str, place: str) -> BaseDatabase:
    """Returns a dbpools database whose pool has at most POOL_SIZE connections."""
    where = {"path": place} if engine == "sqlite" else {"dsn": place}
    entry = {"type": engine, **where, "pool_size": POOL_SIZE}
    config = parse_database("bench", entry)
    return BaseDatabase("bench", config, make_driver(config))


def through_our_pool(pool: AsyncConnectionPool) -> Contender:
    """Returns a contender that acquires from our pool, selects 1 and releases."""

    async def run(count: int) -> None:
        for _ in range(count):
            async with pool.acquire() as connection:
                await connection.fetch_val("SELECT 1")

    return run


@asynccontextmanager
async def sqlite(place: str) -> AsyncIterator[dict[str, Contender]]:
    """Our pool and one aiosqlite connection: aiosqlite has no pool."""
    ours = database_at("sqlite", place)
    async with aiosqlite.connect(place) as bare:

        async def on_bare(count: int) -> None:
            for _ in range(count):
                async with bare.execute("SELECT 1") as cursor:
                    await cursor.fetchone()

        yield {"ours": through_our_pool(ours.pool), "bare": on_bare}
    await ours.close()


@asynccontextmanager
async def postgres(place: str) -> AsyncIterator[dict[str, Contender]]:
    """Our pool, asyncpg.Pool and one asyncpg connection."""
    ours = database_at("postgres", place)
    pool = await asyncpg.create_pool(place, min_size=2, max_size=POOL_SIZE)
    bare = await asyncpg.connect(place)

    async def on_pool(count: int) -> None:
        for _ in range(count):
            async with pool.acquire() as connection:
                await connection.fetchval("SELECT 1")

    async def on_bare(count: int) -> None:
        for _ in range(count):
            await bare.fetchval("SELECT 1")

    yield {"ours": through_our_pool(ours.pool), "driver_pool": on_pool, "bare": on_bare}
    await bare.close()
    await pool.close()
    await ours.close()


@asynccontextmanager
async def mysql(place: str) -> AsyncIterator[dict[str, Contender]]:
    """Our pool, asyncmy.Pool and one asyncmy connection."""
    ours = database_at("mysql", place)
    url = urlsplit(place)
    where: dict[str, Any] = {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": url.password or "",
        "database": url.path.lstrip("/"),
        "autocommit": True,
    }
    pool = await asyncmy.create_pool(minsize=2, maxsize=POOL_SIZE, **where)
    bare = await asyncmy.connect(**where)

    async def on_pool(count: int) -> None:
        for _ in range(count):
            async with pool.acquire() as connection, connection.cursor() as cursor:
                await cursor.execute("SELECT 1")
                await cursor.fetchone()

    async def on_bare(count: int) -> None:
        for _ in range(count):
            async with bare.cursor() as cursor:
                await cursor.execute("SELECT 1")
                await cursor.fetchone()

    yield {"ours": through_our_pool(ours.pool), "driver_pool": on_pool, "bare": on_bare}
    await bare.ensure_closed()
    pool.close()
    await pool.wait_closed()
    await ours.close()


ENGINES: dict[str, type[Server] | None] = {"sqlite": None, "postgres": Postgres, "mysql": MariaDB}
CONTENDERS = {"sqlite": sqlite, "postgres": postgres, "mysql": mysql}
