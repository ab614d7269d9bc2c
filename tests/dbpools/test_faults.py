"""What goes wrong outside: a named error, no hang, and the pool is whole afterwards."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

from dbpools import (
    BaseDatabase,
    ConnectionLostError,
    DatabaseError,
    DatabaseRegistry,
    DatabaseUnavailableError,
    QueryExecutionError,
    TransactionError,
    get_db,
)
from dbpools.config import parse_database
from dbpools.drivers import make_driver
from tests.dbpools.conftest import FIXTURES, assert_whole, make_shop, names_in
from tests.dbpools.engines import Engine
from tests.dbpools.proxy import proxied
from tests.harness.servers import MariaDB, Postgres

SERVERS = ("postgres", "mysql")
EngineOf = Callable[[str], Engine]


async def register(config: dict[str, Any], name: str = "default") -> BaseDatabase:
    await DatabaseRegistry.init_from_config({name: config})
    return get_db(name)


# --- a server that goes away ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
async def test_restart_of_the_server_in_the_middle_of_a_transaction(
    request: pytest.FixtureRequest, engine_of: EngineOf, kind: str
) -> None:
    server: Postgres | MariaDB = request.getfixturevalue(FIXTURES[kind])
    engine = engine_of(kind)
    database = await register(engine.config(size=3))
    await make_shop(engine, database)
    async with database.transaction(), database.transaction():
        pass  # two idle connections that the restart will break

    with pytest.raises((ConnectionLostError, TransactionError)):
        async with database.transaction() as tx:
            await tx.execute("insert into item (name) values ('lost')")
            await asyncio.to_thread(restart, server)
            await tx.execute("insert into item (name) values ('lost, too')")

    async with asyncio.timeout(10):
        async with database.transaction() as tx:
            await tx.execute("insert into item (name) values ('after')")
        assert await names_in(database) == ["after"]
    assert_whole(database.statistics())


def restart(server: Postgres | MariaDB) -> None:
    server.stop()
    server.start()


@pytest.mark.parametrize("kind", SERVERS)
async def test_server_that_is_away_for_a_moment_is_waited_for(
    engine_of: EngineOf, kind: str
) -> None:
    engine = engine_of(kind)
    config = engine.config(size=2)
    async with proxied(config["dsn"], 1) as proxy:
        database = await register({**config, "dsn": proxy.url})
        async with database.transaction():
            pass
        await proxy.refuse()
        waiting = asyncio.ensure_future(names_of_nothing(database))
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()

        await proxy.accept()

        assert await waiting == 1
        assert_whole(database.statistics())
        await DatabaseRegistry.close_all()


async def names_of_nothing(database: BaseDatabase) -> int:
    async with database.transaction() as tx:
        return int(await tx.fetch_val("select 1"))


@pytest.mark.parametrize("kind", SERVERS)
async def test_server_away_at_the_start_is_a_named_error_in_time(
    engine_of: EngineOf, kind: str
) -> None:
    engine = engine_of(kind)
    config = engine.config(connect_timeout=0.5)
    async with proxied(config["dsn"], 1) as proxy:
        away = proxy.url
    database = await register({**config, "dsn": away})
    started = monotonic()

    with pytest.raises(DatabaseUnavailableError, match="'default' cannot be opened"):
        await names_of_nothing(database)

    assert monotonic() - started < 3
    assert_whole(database.statistics(), open_connections=0)


@pytest.mark.parametrize("kind", SERVERS)
async def test_server_that_does_not_answer_is_a_named_error_in_time(
    engine_of: EngineOf, kind: str
) -> None:
    engine = engine_of(kind)
    config = engine.config(size=1, connect_timeout=0.5, command_timeout=0.5)
    async with proxied(config["dsn"], 1) as proxy:
        database = await register({**config, "dsn": proxy.url})
        async with database.transaction() as tx:
            proxy.is_deaf = True
            with pytest.raises(QueryExecutionError, match="command_timeout"):
                await tx.fetch_val("select 1")
            await tx.rollback()
        with pytest.raises(DatabaseUnavailableError, match="did not answer within connect_timeout"):
            await names_of_nothing(database)
        assert_whole(database.statistics())
        proxy.is_deaf = False
        proxy.drop_all()

        assert await names_of_nothing(database) == 1
        await DatabaseRegistry.close_all()


@pytest.mark.parametrize("kind", SERVERS)
async def test_connections_dropped_at_random_are_errors_and_never_losses(
    engine_of: EngineOf, kind: str
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    engine = engine_of(kind)
    config = engine.config(size=3, connect_timeout=2)
    async with proxied(config["dsn"], seed) as proxy:
        database = await register({**config, "dsn": proxy.url})
        await make_shop(engine, database)
        written: set[str] = set()
        unknown: set[str] = set()

        async def write(number: int) -> None:
            name = f"n{number}"
            try:
                async with database.transaction() as tx:
                    await tx.execute("insert into item (name) values (:n)", {"n": name})
            except (ConnectionLostError, DatabaseUnavailableError):
                return
            except TransactionError:
                unknown.add(name)
            else:
                written.add(name)

        for round_number in range(15):
            tasks = [asyncio.create_task(write(round_number * 10 + at)) for at in range(10)]
            await asyncio.wait(tasks, timeout=chance.random() * 0.05)
            proxy.drop_all()
            await asyncio.wait(tasks)

        stored = set(await names_in(database))
        assert written <= stored <= written | unknown
        assert_whole(database.statistics())
        await DatabaseRegistry.close_all()


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
async def test_unknown_database_on_the_server_fails_at_once(engine_of: EngineOf, kind: str) -> None:
    config = engine_of(kind).config()
    config["dsn"] = urlsplit(config["dsn"])._replace(path="/nowhere").geturl()
    database = await register(config)

    with pytest.raises(DatabaseUnavailableError, match="nowhere"):
        async with asyncio.timeout(3):
            await names_of_nothing(database)
    assert_whole(database.statistics(), open_connections=0)


async def test_wrong_password_fails_at_once(engine_of: EngineOf) -> None:
    config = engine_of("mysql").config()
    config["dsn"] = config["dsn"].replace("jobu:jobu@", "jobu:wrong-secret@")
    database = await register(config)

    with pytest.raises(DatabaseUnavailableError, match="Access denied") as caught:
        async with asyncio.timeout(3):
            await names_of_nothing(database)
    assert "wrong-secret" not in str(caught.value)
    assert_whole(database.statistics(), open_connections=0)


@pytest.mark.parametrize(
    ("path", "message"),
    [("none/shop.db", "directory .* does not exist"), (".", "is a directory")],
)
async def test_missing_directory_is_named(tmp_path: Path, path: str, message: str) -> None:
    database = await register({"type": "sqlite", "path": str(tmp_path / path)})

    with pytest.raises(DatabaseUnavailableError, match=message):
        await names_of_nothing(database)
    assert_whole(database.statistics(), open_connections=0)


async def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look at " * 100)
    database = await register({"type": "sqlite", "path": str(tmp_path / "notes.txt")})

    with pytest.raises(DatabaseUnavailableError, match="not a database"):
        await names_of_nothing(database)
    assert_whole(database.statistics(), open_connections=0)


async def test_two_writers_on_sqlite(engine_of: EngineOf) -> None:
    engine = engine_of("sqlite")
    config = engine.config()
    database = await register({**config, "options": {"busy_timeout": 100}})
    await make_shop(engine, database)
    async with database.transaction() as first:
        await first.execute("insert into item (name) values ('first')")

        with pytest.raises(QueryExecutionError, match=r"one writer at a time.*|within 100 ms"):
            async with database.transaction():
                pass

    assert await names_in(database) == ["first"]
    assert_whole(database.statistics())


async def test_deadlock_is_named_and_rolls_everything_back(engine_of: EngineOf) -> None:
    for kind in SERVERS:
        engine = engine_of(kind)
        database = await register(engine.config(), kind)
        await make_shop(engine, database)
        async with database.transaction() as tx:
            await tx.execute("insert into item (name, amount) values ('a', 0), ('b', 0)")
        both = asyncio.Barrier(2)

        async with asyncio.timeout(15):
            results = await asyncio.gather(
                touch(database, both, "a", "b"),
                touch(database, both, "b", "a"),
                return_exceptions=True,
            )

        failures = [result for result in results if result is not None]
        assert len(failures) == 1
        assert isinstance(failures[0], DatabaseError)
        async with database.transaction(readonly=True) as tx:
            assert await tx.fetch_val("select sum(amount) from item") == 2
        assert_whole(database.statistics())


async def touch(database: BaseDatabase, both: asyncio.Barrier, first: str, second: str) -> None:
    update = "update item set amount = amount + 1 where name = :name"
    async with database.transaction() as tx:
        if database.db_type == "postgres":  # it looks for deadlocks after a second otherwise
            await tx.execute("set local deadlock_timeout = '50ms'")
        await tx.execute(update, {"name": first})
        await both.wait()
        async with tx.savepoint():
            await tx.execute(update, {"name": second})


async def test_ddl_inside_a_transaction_is_reported_on_mysql(engine_of: EngineOf) -> None:
    engine = engine_of("mysql")
    database = await register(engine.config())
    await make_shop(engine, database)

    with pytest.raises(TransactionError, match="MySQL commits before DDL"):
        async with database.transaction() as tx:
            await tx.execute("insert into item (name) values ('early')")
            await tx.execute("create table other (id integer)")

    assert await names_in(database) == ["early"]
    assert_whole(database.statistics())


async def test_error_of_a_read_only_server_has_the_servers_words(
    engine_of: EngineOf, mariadb_server: MariaDB
) -> None:
    if not mariadb_server.is_restartable:
        pytest.skip("somebody's own server is not ours to reconfigure")
    engine = engine_of("mysql")
    admin = await register(engine.config(), "admin")
    await make_shop(engine, admin)
    clerk = {**engine.config(), "dsn": engine.urls[0].replace("jobu:jobu@", "clerk:clerk@")}
    database = await register(clerk)
    async with admin.connection(autocommit=True) as connection:
        # Who may administer the server writes nevertheless.
        await connection.execute("create user clerk identified by 'clerk'")
        await connection.execute("grant select, insert, update, delete on *.* to clerk")
        await connection.execute("set global read_only = 1")
        try:
            assert await names_in(database) == []
            with pytest.raises(QueryExecutionError, match="--read-only option"):
                async with database.transaction() as tx:
                    await tx.execute("insert into item (name) values ('no')")
        finally:
            await connection.execute("set global read_only = 0")
            await connection.execute("drop user clerk")


async def test_cut_off_statement_does_not_run_on_in_mysql(
    engine_of: EngineOf,
) -> None:
    database = await register(engine_of("mysql").config(size=2))
    async with database.transaction() as tx:
        number = await tx.fetch_val("select connection_id()")
        task = asyncio.ensure_future(tx.fetch_val("select sleep(30)"))
        await asyncio.wait([task], timeout=0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await tx.rollback()

    alive = "select count(*) from information_schema.processlist where id = :number"
    async with database.connection(autocommit=True) as connection:
        for _ in range(100):
            if not await connection.fetch_val(alive, {"number": number}):
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the statement runs on")


async def test_a_sqlite_file_is_switched_to_wal_beside_a_writer(tmp_path: Path) -> None:
    """As when the first connections to a new file meet: SQLite does not wait there by itself."""
    path = str(tmp_path / "file.sqlite3")
    driver = make_driver(parse_database("new", {"type": "sqlite", "path": path}))
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.2, writer.execute, "ROLLBACK")
        connection = await driver.connect()
    [mode] = await connection.query("PRAGMA journal_mode", (), 1)
    assert mode["journal_mode"] == "wal"
    await connection.close()


async def test_a_sqlite_file_that_stays_locked_is_a_named_error(tmp_path: Path) -> None:
    path = str(tmp_path / "file.sqlite3")
    entry = {"type": "sqlite", "path": path, "options": {"busy_timeout": 50}}
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        database = await register(entry)
        with pytest.raises(DatabaseUnavailableError, match="another connection is writing"):
            async with database.transaction():
                pass
