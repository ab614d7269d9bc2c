"""The configuration: every key with its default, and every mistake by its name."""

from pathlib import Path
from typing import Any

import pytest

from dbpools import (
    ConfigurationError,
    DatabaseRegistry,
    PoolConfig,
    UnknownDatabaseError,
    get_db,
)
from dbpools.config import DatabaseConfig, parse_database
from dbpools.drivers import SCHEMAS


def parse(**entry: Any) -> DatabaseConfig:
    return parse_database("shop", entry, SCHEMAS)


def test_sqlite_defaults() -> None:
    config = parse(type="sqlite", path="shop.db")

    assert config.pool == PoolConfig(
        min_size=0, max_size=5, pool_timeout_seconds=30, max_idle_seconds=300
    )
    assert config.options == {
        "busy_timeout": 5000,
        "journal_mode": "WAL",
        "synchronous": "NORMAL",
        "cache_size": -2000,
        "foreign_keys": True,
    }


def test_postgres_defaults() -> None:
    config = parse(type="postgres", database="shop", user="me", password="secret")

    assert config.place["host"] is None
    assert config.place["port"] == 5432
    assert config.pool == PoolConfig(
        min_size=2, max_size=10, max_idle_seconds=300, command_timeout_seconds=60
    )
    assert config.options == {
        "timezone": "UTC",
        "ssl": "false",
        "sslrootcert": None,
        "statement_timeout": None,
        "idle_in_transaction_session_timeout": None,
    }
    assert "secret" not in repr(config)


def test_mysql_defaults() -> None:
    config = parse(type="mysql", database="shop")

    assert config.place["port"] == 3306
    assert config.pool == PoolConfig(min_size=2, max_size=10, max_idle_seconds=300)
    assert config.options == {
        "charset": "utf8mb4",
        "autocommit": False,
        "sql_mode": None,
        "ssl": "false",
        "sslrootcert": None,
    }


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        (
            "sqlite",
            {"pool_size": "7", "pool_timeout": "2.5", "max_idle_time": 9},
            PoolConfig(max_size=7, pool_timeout_seconds=2.5, max_idle_seconds=9),
        ),
        (
            "postgres",
            {
                "min_size": 1,
                "max_size": 3,
                "max_inactive_connection_lifetime": 5,
                "command_timeout": 7,
            },
            PoolConfig(min_size=1, max_size=3, max_idle_seconds=5, command_timeout_seconds=7),
        ),
        (
            "mysql",
            {"minsize": 1, "maxsize": 3, "pool_recycle": 5, "max_lifetime": 60},
            PoolConfig(min_size=1, max_size=3, max_idle_seconds=5, max_lifetime_seconds=60),
        ),
    ],
)
def test_each_engine_has_its_own_names_for_the_pool(
    kind: str, keys: dict[str, Any], expected: PoolConfig
) -> None:
    place = {"path": "x"} if kind == "sqlite" else {"database": "x"}

    assert parse(type=kind, **place, pool=keys).pool == expected


@pytest.mark.parametrize(("kind", "smallest"), [("sqlite", 0), ("postgres", 1), ("mysql", 1)])
def test_short_form_of_the_size(kind: str, smallest: int) -> None:
    config = (
        parse(type=kind, path="x", pool_size=1)
        if kind == "sqlite"
        else parse(type=kind, dsn=f"{kind}://u:p@h/x", pool_size=1)
    )

    assert config.pool.max_size == 1
    assert config.pool.min_size == smallest


@pytest.mark.parametrize(
    ("entry", "messages"),
    [
        ({"type": "postgress"}, ["databases.shop.type is 'postgress'; did you mean 'postgres'?"]),
        ({}, ["databases.shop.type is ''", "known types: sqlite, postgres, mysql"]),
        ({"type": "sqlite"}, ["databases.shop needs path"]),
        ({"type": "mysql"}, ["databases.shop needs dsn or database"]),
        (
            {"type": "sqlite", "path": "x", "pool": {"poolsize": 3}, "option": {}},
            [
                "databases.shop.pool.poolsize is not a known key; did you mean 'pool_size'?",
                "databases.shop.option is not a known key; did you mean 'options'?",
            ],
        ),
        (
            {"type": "sqlite", "path": "x", "options": {"journal_mode": "WALL"}},
            ["databases.shop.options.journal_mode must be one of WAL, DELETE"],
        ),
        (
            {"type": "sqlite", "path": "x", "options": {"foreign_keys": "maybe"}},
            ["foreign_keys must be true or false, not 'maybe'"],
        ),
        (
            {"type": "postgres", "database": "x", "port": "abc", "pool": {"max_size": 0}},
            ["databases.shop.port must be a whole number", "max_size must be at least 1, not 0"],
        ),
        (
            {"type": "postgres", "database": "x", "pool": {"min_size": 5, "max_size": 2}},
            ["the smallest size 5 is above the largest, 2"],
        ),
        ({"type": "mysql", "database": "x", "pool": [1]}, ["pool must be a mapping"]),
    ],
)
def test_every_mistake_is_named(entry: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(**entry)

    for message in messages:
        assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_password_is_never_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(type="mysql", database="x", password=["hunter2"])

    assert "hunter2" not in str(caught.value)


async def test_mistakes_of_all_databases_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        await DatabaseRegistry.init_from_config(
            {"a": {"type": "sqlite"}, "b": {"type": "oracle"}, "c": "text"}
        )

    for name in "abc":
        assert f"databases.{name}" in str(caught.value)
    assert DatabaseRegistry.get_all() == {}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "sqlite", "path": ":memory:"}, "name a file"),
        ({"type": "mysql", "dsn": "http://u@h/x"}, "dsn must be mysql://"),
        ({"type": "mysql", "dsn": "mysql://u@h:port/x"}, "dsn"),
        (
            {"type": "mysql", "database": "x", "options": {"sql_mode": "no_backslash_escapes"}},
            "NO_BACKSLASH_ESCAPES",
        ),
    ],
)
async def test_what_only_the_engine_can_check(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await DatabaseRegistry.init_from_config({"shop": entry})


async def test_only_the_named_databases_are_registered(tmp_path: Path) -> None:
    config = {name: {"type": "sqlite", "path": str(tmp_path / name)} for name in "abc"}

    await DatabaseRegistry.init_from_config(config, ["a"])
    first = get_db("a")
    await DatabaseRegistry.init_from_config(config, ["a", "b"], default="b")

    assert sorted(DatabaseRegistry.get_all()) == ["a", "b"]
    assert get_db("a") is first
    assert get_db() is get_db("b")
    with pytest.raises(UnknownDatabaseError, match=r"'c'.*registered: a, b"):
        get_db("c")
    with pytest.raises(UnknownDatabaseError):
        await DatabaseRegistry.init_from_config(config, ["d"])
    with pytest.raises(ConfigurationError, match="registered already"):
        DatabaseRegistry.register(first)
