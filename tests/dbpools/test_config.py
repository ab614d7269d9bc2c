"""The configuration: every key with its default, and every mistake by its name."""

from collections.abc import Callable, Iterator
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
from dbpools.config import (
    MODELS,
    DatabaseConfig,
    MySQLConfig,
    PostgresConfig,
    SqliteConfig,
    parse_database,
)
from dbpools.section import Section


def parse(**entry: Any) -> DatabaseConfig:
    return parse_database("shop", entry)


def sqlite(**entry: Any) -> SqliteConfig:
    config = parse(type="sqlite", path="shop.db", **entry)
    assert isinstance(config, SqliteConfig)
    return config


def postgres(**entry: Any) -> PostgresConfig:
    config = parse(**{"type": "postgres", "database": "shop", "user": "me", **entry})
    assert isinstance(config, PostgresConfig)
    return config


def mysql(**entry: Any) -> MySQLConfig:
    config = parse(**{"type": "mysql", "database": "shop", "user": "me", **entry})
    assert isinstance(config, MySQLConfig)
    return config


def sizes(pool: PoolConfig) -> tuple[int, int]:
    return pool.kept_open, pool.max_size


DURATIONS = {
    "pool_timeout_seconds": 30,
    "max_idle_seconds": 300,
    "max_lifetime_seconds": 3600,
    "connect_timeout_seconds": 10,
    "command_timeout_seconds": 60,
    "slow_query_seconds": 1,
}


def test_sqlite_defaults() -> None:
    config = sqlite()

    assert config.pool.model_dump() == {"max_size": 5, **DURATIONS}
    assert config.options.model_dump() == {
        "busy_timeout": 5000,
        "journal_mode": "WAL",
        "synchronous": "NORMAL",
        "cache_size": -2000,
        "foreign_keys": True,
    }


def test_postgres_defaults() -> None:
    config = postgres(password="secret")

    assert (config.host, config.port) == (None, 5432)
    assert config.pool.model_dump() == {"min_size": 2, "max_size": 10, **DURATIONS}
    assert config.options.model_dump() == {
        "timezone": "UTC",
        "statement_cache_size": 100,
        "ssl": "false",
        "sslrootcert": None,
        "statement_timeout": None,
        "idle_in_transaction_session_timeout": None,
    }
    assert "secret" not in repr(config)


def test_mysql_defaults() -> None:
    config = mysql()

    assert (config.host, config.port) == ("localhost", 3306)
    assert config.pool.model_dump() == {"min_size": 2, "max_size": 10, **DURATIONS}
    assert config.options.model_dump() == {
        "charset": "utf8mb4",
        "autocommit": False,
        "sql_mode": None,
        "ssl": "false",
        "sslrootcert": None,
    }


def test_each_engine_has_its_own_names_for_the_pool() -> None:
    of_sqlite = sqlite(pool={"pool_size": "7", "pool_timeout": "2.5", "max_idle_time": 9}).pool
    of_postgres = postgres(
        pool={"min_size": 1, "max_size": 3, "max_inactive_connection_lifetime": 5}
    ).pool
    of_mysql = mysql(pool={"minsize": 1, "maxsize": 3, "pool_recycle": 5, "max_lifetime": 60}).pool

    assert sizes(of_sqlite) == (0, 7)
    assert (of_sqlite.pool_timeout_seconds, of_sqlite.max_idle_seconds) == (2.5, 9)
    assert sizes(of_postgres) == (1, 3)
    assert of_postgres.max_idle_seconds == 5
    assert sizes(of_mysql) == (1, 3)
    assert (of_mysql.max_idle_seconds, of_mysql.max_lifetime_seconds) == (5, 60)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (lambda: sqlite(pool_size=1), (0, 1)),
        (lambda: postgres(pool_size="1"), (1, 1)),
        (lambda: mysql(pool_size=1, dsn="mysql://u:p@h/x"), (1, 1)),
        (lambda: postgres(pool_size=20, pool={"min_size": "15"}), (15, 20)),
        (lambda: mysql(pool_size=3, pool={"minsize": 5, "maxsize": 9}), (3, 3)),
    ],
)
def test_short_form_of_the_size(
    config: Callable[[], DatabaseConfig], expected: tuple[int, int]
) -> None:
    assert sizes(config().pool) == expected


def test_a_key_without_a_value_has_its_default() -> None:
    config = postgres(host="", port=None, password="", pool=None, options={"timezone": None})

    assert (config.host, config.port, config.password) == (None, 5432, None)
    assert config.options.timezone == "UTC"
    assert mysql(options={"sql_mode": ""}).options.sql_mode == ""


def test_a_configuration_that_was_checked_is_taken_as_it_is() -> None:
    config = sqlite()

    assert parse_database("other", config) is config


def test_every_key_says_what_it_is_for() -> None:
    def undescribed(model: type[Section]) -> Iterator[str]:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                yield from undescribed(field.annotation)
            elif not field.description:
                yield f"{model.__name__}.{name}"

    assert [name for model in MODELS.values() for name in undescribed(model)] == []


@pytest.mark.parametrize(
    ("entry", "messages"),
    [
        (
            {"type": "postgress"},
            [
                "databases.shop.type: must be 'sqlite', 'postgres' or 'mysql', not 'postgress'; "
                "did you mean 'postgres'?"
            ],
        ),
        ({}, ["databases.shop.type: must be 'sqlite', 'postgres' or 'mysql', not ''"]),
        ({"type": "sqlite"}, ["databases.shop: path missing"]),
        ({"type": "mysql", "user": ""}, ["databases.shop: database and user missing"]),
        (
            {"type": "sqlite", "path": "x", "pool": {"poolsize": 3}, "option": {}},
            [
                "databases.shop.pool.poolsize: unknown key; did you mean 'pool_size'?",
                "databases.shop.option: unknown key; did you mean 'options'?",
            ],
        ),
        (
            {"type": "sqlite", "path": "x", "pool": {"max_idle_seconds": 3}},
            ["databases.shop.pool.max_idle_seconds: unknown key; did you mean 'max_idle_time'?"],
        ),
        (
            {"type": "sqlite", "path": "x", "options": {"journal_mode": "WALL"}},
            ["databases.shop.options.journal_mode: must be one of WAL, DELETE", "not 'WALL'"],
        ),
        (
            {"type": "sqlite", "path": "x", "options": {"foreign_keys": "maybe"}},
            ["foreign_keys: must be true or false, not 'maybe'"],
        ),
        (
            {"type": "sqlite", "path": "x", "options": {"cache_size": True, "busy_timeout": 2.5}},
            ["cache_size: must be a number", "busy_timeout: must be a whole number, not 2.5"],
        ),
        (
            {"type": "postgres", "port": "abc", "pool": {"max_size": 0}},
            [
                "databases.shop: database and user missing",
                "databases.shop.port: must be a whole number",
                "max_size: must be at least 1, not 0",
            ],
        ),
        (
            {"type": "postgres", "database": "x", "pool": {"min_size": 5, "max_size": 2}},
            ["the smallest size 5 is above the largest, 2"],
        ),
        ({"type": "postgres", "pool_size": 0}, ["databases.shop.pool_size: must be at least 1"]),
        ({"type": "mysql", "database": "x", "pool": [1]}, ["pool: expected a mapping"]),
    ],
)
def test_every_mistake_is_named(entry: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(**entry)

    for message in messages:
        assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "entry",
    [
        {"password": ["hunter2"]},
        {"dsn": "mysql://u:hunter2/@h/d"},
        {"user": 5, "port": "hunter2"},
        {"options": "hunter2"},
    ],
)
def test_password_is_never_repeated(entry: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mysql(**entry)

    seen = f"{caught.value}\n{caught.value.__cause__}\n{caught.value.__context__}"
    assert "hunter2" not in seen


async def test_mistakes_of_all_databases_are_listed_at_once() -> None:
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
        ({"type": "mysql", "dsn": "http://u@h/x"}, "unknown scheme 'http'"),
        ({"type": "mysql", "dsn": "mysql://u@h:port/x"}, "dsn"),
        (
            {
                "type": "mysql",
                "database": "x",
                "user": "me",
                "options": {"sql_mode": "no_backslash_escapes"},
            },
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
