"""What is particular to one engine's types."""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dbpools import (
    BaseDatabase,
    DatabaseRegistry,
    Json,
    QueryExecutionError,
    TransactionError,
    get_db,
)
from dbpools.config import SqliteConfig
from dbpools.drivers import mysql_types
from tests.dbpools.engines import Engine

EngineOf = Callable[[str], Engine]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def opened(engine: Engine, **settings: Any) -> BaseDatabase:
    await DatabaseRegistry.init_from_config({"default": engine.config(**settings)})
    return get_db()


async def test_converters_of_others_are_left_alone(engine_of: EngineOf, tmp_path: Path) -> None:
    # Django registers its own for the whole process, and has none for DECIMAL.
    before = dict(sqlite3.converters)
    sqlite3.register_converter("datetime", lambda stored: f"theirs {stored.decode()}")
    try:
        database = await opened(engine_of("sqlite"))
        async with database.connection(autocommit=True) as connection:
            await connection.execute("create table t (at datetime, price decimal(5, 2))")
            await connection.execute("insert into t values (current_timestamp, 1.5)")
            ours = await connection.fetch_one("select * from t")

        def read() -> tuple[object, object]:
            assert isinstance(database.config, SqliteConfig)
            path = database.config.path
            other = sqlite3.connect(path, detect_types=sqlite3.PARSE_DECLTYPES)
            row: tuple[object, object] = other.execute("select * from t").fetchone()
            other.close()
            return row

        theirs = await asyncio.to_thread(read)
    finally:
        sqlite3.converters.clear()
        sqlite3.converters.update(before)

    assert ours is not None
    assert ours["at"].tzinfo is UTC
    assert ours["price"] == Decimal("1.5")
    assert str(theirs[0]).startswith("theirs 20")
    assert theirs[1] == 1.5
    assert isinstance(theirs[1], float)


async def test_rows_that_django_wrote_to_sqlite_are_instants(engine_of: EngineOf) -> None:
    database = await opened(engine_of("sqlite"))
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (at datetime)")
        for text in ("2026-01-01 12:00:00", "2026-01-01T12:00:00+00:00", "2026-01-01 13:00:00+01"):
            await connection.execute("insert into t values (:at)", {"at": text})

        rows = await connection.fetch_all("select at from t")

        assert [row["at"] for row in rows] == [NOON] * 3
        assert await connection.fetch_val("select typeof(at) from t limit 1") == "text"


async def test_sqlite_transaction_that_a_conflict_rolled_back_can_be_rolled_back(
    engine_of: EngineOf,
) -> None:
    database = await opened(engine_of("sqlite"))
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (a text unique)")
        await connection.begin()
        await connection.execute("insert into t values ('a')")
        with pytest.raises(QueryExecutionError):
            await connection.execute("insert or rollback into t values ('a')")

        await connection.rollback()

        await connection.begin()
        await connection.execute("insert into t values ('b')")
        await connection.commit()
        assert await connection.fetch_all("select a from t") == [{"a": "b"}]


async def test_sqlite_session_has_the_options(engine_of: EngineOf) -> None:
    config = engine_of("sqlite").config()
    config["options"] = {"busy_timeout": 1234, "cache_size": -500, "synchronous": "FULL"}
    await DatabaseRegistry.init_from_config({"default": config})
    expected = {
        "busy_timeout": 1234,
        "cache_size": -500,
        "synchronous": 2,
        "foreign_keys": 1,
        "journal_mode": "wal",
    }
    async with get_db().connection(autocommit=True) as connection:
        found = {key: await connection.fetch_val(f"pragma {key}") for key in expected}

    assert found == expected


async def test_postgres_timestamp_without_zone_is_utc(engine_of: EngineOf) -> None:
    database = await opened(engine_of("postgres"))
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (at timestamp, many timestamp[])")
        await connection.execute(
            "insert into t values (:at, :many)", {"at": NOON, "many": [NOON, NOON]}
        )
        await connection.execute("insert into t values ('infinity')")

        rows = await connection.fetch_all("select at, many from t order by at")

    assert rows[0] == {"at": NOON, "many": [NOON, NOON]}
    assert rows[1]["at"].year == 9999


async def test_postgres_lists_are_arrays_or_json_as_the_column_says(engine_of: EngineOf) -> None:
    database = await opened(engine_of("postgres"))
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (id int, names text[], doc jsonb, old json)")
        await connection.execute(
            "insert into t values (1, :names, :doc, :old)",
            {"names": ["a", "b"], "doc": ["a", 1], "old": Json("text")},
        )

        row = await connection.fetch_one("select * from t where id = any(:ids)", {"ids": [1, 2]})

    assert row == {"id": 1, "names": ["a", "b"], "doc": ["a", 1], "old": "text"}


async def test_postgres_session_has_the_options_and_forgets_what_a_user_set(
    engine_of: EngineOf,
) -> None:
    config = engine_of("postgres").config(size=1)
    config["options"] = {
        "timezone": "Asia/Seoul",
        "statement_timeout": 4321,
        "idle_in_transaction_session_timeout": 8765,
    }
    await DatabaseRegistry.init_from_config({"default": config})
    async with get_db().connection(autocommit=True) as connection:
        assert await connection.fetch_val("show timezone") == "Asia/Seoul"
        await connection.execute("set timezone = 'Europe/Berlin'")

    async with get_db().connection(autocommit=True) as connection:
        assert await connection.fetch_val("show timezone") == "Asia/Seoul"
        assert await connection.fetch_val("show statement_timeout") == "4321ms"
        assert await connection.fetch_val("show idle_in_transaction_session_timeout") == "8765ms"


async def test_postgres_commit_of_what_failed_elsewhere_is_an_error(engine_of: EngineOf) -> None:
    """Behind our back the transaction failed; PostgreSQL itself answers such a COMMIT politely."""
    database = await opened(engine_of("postgres"))
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (a int)")
        await connection.begin()
        await connection.execute("insert into t values (1)")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.raw.execute("select 1 / 0")

        with pytest.raises(TransactionError, match="rolled back"):
            await connection.commit()
        await connection.rollback()

        assert await connection.fetch_val("select count(*) from t") == 0


async def test_mysql_session_has_the_options(engine_of: EngineOf) -> None:
    config = engine_of("mysql").config(size=1)
    config["options"] = {"sql_mode": "ANSI_QUOTES,STRICT_ALL_TABLES", "autocommit": "true"}
    await DatabaseRegistry.init_from_config({"default": config})
    async with get_db().connection() as connection:  # autocommit comes from the options
        row = await connection.fetch_one(
            'select @@time_zone as "zone", @@sql_mode as "mode", @@autocommit as "auto"'
        )

    assert row == {"zone": "+00:00", "mode": "ANSI_QUOTES,STRICT_ALL_TABLES", "auto": 1}


async def test_mysql_types_that_the_protocol_does_not_tell(engine_of: EngineOf) -> None:
    database = await opened(engine_of("mysql"))
    async with database.connection(autocommit=True) as connection:
        await connection.execute(
            "create table t (doc json, note longtext, code char(36), flag tinyint(1), n tinyint,"
            " at timestamp(6) null)"
        )
        await connection.execute(
            "insert into t values (:doc, :note, :code, 1, 1, :at),"
            " (:doc, :note, :code, 7, 7, null)",
            {"doc": {"a": [1]}, "note": '{"text": 1}', "code": "x" * 36, "at": NOON},
        )

        # First in a stream, where nothing can be asked any more.
        async with database.transaction(readonly=True) as tx:
            streamed = [row["doc"] async for row in tx.stream("select doc from t", chunk_rows=1)]
        rows = await connection.fetch_all("select doc as d, note, code, flag, n, at from t")

    first, second = rows
    assert first["d"] == {"a": [1]}
    assert first["note"] == '{"text": 1}'
    assert first["code"] == "x" * 36
    assert (first["flag"], first["n"], first["at"]) == (True, 1, NOON)
    assert first["flag"] is True
    assert (second["flag"], second["n"], second["at"]) == (7, 7, None)
    assert streamed == [{"a": [1]}, {"a": [1]}]


async def test_mysql_types_are_known_to_all_who_read_first_at_once(engine_of: EngineOf) -> None:
    database = await opened(engine_of("mysql"), size=4)
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (doc json)")
        await connection.execute("""insert into t values ('{"a": 1}')""")

    async def read() -> Any:
        async with database.transaction(readonly=True) as tx:
            return await tx.fetch_val("select doc from t")

    assert await asyncio.gather(*(read() for _ in range(8))) == [{"a": 1}] * 8


async def test_mysql_types_are_asked_for_again_when_the_first_was_cut_off(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await opened(engine_of("mysql"))
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (doc json)")
        await connection.execute("""insert into t values ('{"a": 1}')""")
        with monkeypatch.context() as patched:
            patched.setattr(mysql_types, "COLUMNS", "select nothing from nowhere")
            with pytest.raises(QueryExecutionError):
                await connection.fetch_val("select doc from t")

        assert await connection.fetch_val("select doc from t") == {"a": 1}
        assert await connection.fetch_all("select table_name from information_schema.tables")


@pytest.mark.parametrize(
    ("update", "answer"),
    [
        ("a = :a + 100", [(1, 103), (2, 104)]),
        ("a = values(a) % 3", [(1, 0), (2, 1)]),
        ("a = greatest(:id, :a)", [(1, 3), (2, 4)]),
        ("a = values(a)", [(1, 3), (2, 4)]),
    ],
)
async def test_mysql_upserts_of_many_rows(
    engine_of: EngineOf, update: str, answer: list[tuple[int, int]]
) -> None:
    database = await opened(engine_of("mysql"))
    upsert = f"insert into t (id, a) values (:id, :a) on duplicate key update {update}"
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (id int primary key, a int)")
        assert await connection.executemany(upsert, [{"id": 1, "a": 1}, {"id": 2, "a": 2}]) == 2

        assert await connection.executemany(upsert, [{"id": 1, "a": 3}, {"id": 2, "a": 4}]) == 4

        rows = await connection.fetch_all("select id, a from t order by id")
    assert [(row["id"], row["a"]) for row in rows] == answer


async def test_mysql_stored_procedure_leaves_the_connection_usable(engine_of: EngineOf) -> None:
    database = await opened(engine_of("mysql"), size=1)
    async with database.connection(autocommit=True) as connection:
        await connection.execute("create procedure twice() begin select 1 as a; select 2 as b; end")

        assert await connection.fetch_all("call twice()") == [{"a": 1}]
        assert await connection.fetch_val("select 3") == 3


async def test_postgres_fails_one_run_at_most_when_a_table_was_changed(engine_of: EngineOf) -> None:
    database = await opened(engine_of("postgres"), size=3)

    async def read() -> Any:
        async with database.transaction(readonly=True) as tx:
            await asyncio.sleep(0.02)  # all connections are in use
            return await tx.fetch_one("select * from t")

    async def read_on_each() -> list[Any]:
        return await asyncio.gather(*(read() for _ in range(3)))

    async with database.connection(autocommit=True) as connection:
        await connection.execute("create table t (a int)")
        await connection.execute("insert into t values (1)")
    assert await read_on_each() == [{"a": 1}] * 3

    async with database.connection(autocommit=True) as connection:
        await connection.execute("alter table t add b int")
    with pytest.raises(QueryExecutionError, match=r"was changed.*run it again"):
        await read()
    assert await read_on_each() == [{"a": 1, "b": None}] * 3

    async with database.connection(autocommit=True) as connection:
        await connection.execute("alter table t drop b")
        # Outside of a transaction it is tried again at once, and the others learn of it.
        assert await connection.fetch_one("select * from t") == {"a": 1}
    assert await read_on_each() == [{"a": 1}] * 3


async def test_postgres_prepares_nothing_for_a_pooler_that_pools_by_transaction(
    engine_of: EngineOf,
) -> None:
    config = engine_of("postgres").config(size=1)
    config["options"] = {"statement_cache_size": "0"}
    await DatabaseRegistry.init_from_config({"default": config})
    async with get_db().connection(autocommit=True) as connection:
        await connection.execute("create table t (a int, doc jsonb)")
        rows: list[dict[str, Any]] = [{"a": 1, "doc": {"x": 1}}, {"a": 2, "doc": None}]
        assert await connection.executemany("insert into t values (:a, :doc)", rows) == 2
        assert await connection.fetch_all("select * from t where a > :a", {"a": 1}) == rows[1:]
        assert await connection.fetch_val("select count(*) from pg_prepared_statements") == 0
