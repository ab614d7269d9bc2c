"""Sessions on a PostgreSQL with other defaults, behind a pooler that pools by session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler

from dbpools import DatabaseRegistry, get_db
from jobu_project.config import Config, load
from jobu_project.databases import django_databases, pool_databases
from scheduler import checks
from tests.harness.pooler import pooler
from tests.harness.servers import Postgres

DEFAULTS = {
    "default_transaction_isolation": "serializable",
    "timezone": "Europe/Berlin",
    "lock_timeout": "0",
}


@pytest.fixture
def pooled_url(postgres_server: Postgres) -> Iterator[str]:
    """A database whose sessions begin with other defaults, through the pooler."""
    url = postgres_server.create_database("poor")
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(url, autocommit=True) as connection:
        for setting, value in DEFAULTS.items():
            connection.execute(f"alter database {name} set {setting} = '{value}'")
    with pooler(url) as pooled:
        yield pooled
    postgres_server.drop_database(url)


def configured(tmp_path: Path, url: str, options: str = "") -> Config:
    (tmp_path / "database.yaml").write_text(
        f"databases:\n  default:\n    dsn: {url}\n    pool: {{max_size: 1, min_size: 0}}\n"
        f"    options: {{{options}}}\n"
    )
    (tmp_path / "worker.yaml").write_text("worker:\n  databases: [default]\n")
    return load(tmp_path, {})


def test_a_pooler_like_ours_refuses_settings_of_the_start(pooled_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter: options"):
        psycopg.connect(pooled_url, options="-c lock_timeout=5000")


def test_jobus_own_sessions_are_the_same_on_every_postgresql(
    pooled_url: str, tmp_path: Path, django_db_blocker: Any
) -> None:
    handler = ConnectionHandler(django_databases(configured(tmp_path, pooled_url)))
    connection = handler["default"]
    wanted = {
        "transaction_isolation": "read committed",
        # Only beat, the worker's own threads and jobu's own transactions are limited: limits.py.
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "TimeZone": "UTC",
    }
    with django_db_blocker.unblock():
        for _ in range(2):  # also when it has connected again
            assert shown(connection, wanted) == wanted
            with connection.cursor() as cursor:
                cursor.execute("begin")
            assert shown(connection, wanted) == wanted
            connection.close()


def shown(connection: BaseDatabaseWrapper, names: dict[str, str]) -> dict[str, str]:
    found = {}
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"show {name}")
            [found[name]] = cursor.fetchone()
    return found


def test_handlers_pools_keep_their_settings_behind_a_pooler(
    pooled_url: str, tmp_path: Path
) -> None:
    options = "timezone: Asia/Seoul, statement_timeout: 4321"
    config = configured(tmp_path, pooled_url, options)
    question = "select concat_ws(' ', {})".format(
        ", ".join(
            f"current_setting('{name}')"
            for name in ("timezone", "statement_timeout", "application_name")
        )
    )

    async def ask() -> list[str]:
        await DatabaseRegistry.init_from_config(pool_databases(config))
        answers = []
        for _ in range(2):  # new, and given back
            async with get_db().connection(autocommit=True) as connection:
                answers.append(await connection.fetch_val(question))
                await connection.execute("set statement_timeout = 1")
        assert get_db().statistics().opened_count == 1
        await DatabaseRegistry.close_all()
        return answers

    assert asyncio.run(ask()) == ["Asia/Seoul 4321ms jobu"] * 2


def test_check_names_another_isolation_of_a_project_of_ones_own(
    pooled_url: str, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = urlsplit(pooled_url)
    theirs = {
        **{"ENGINE": "django.db.backends.postgresql", "NAME": place.path.lstrip("/")},
        **{"HOST": place.hostname, "PORT": place.port, "USER": place.username},
    }
    handler = ConnectionHandler({"default": theirs})
    monkeypatch.setattr(checks, "connections", handler)
    with django_db_blocker.unblock():
        assert [found.id for found in checks.check_isolation(databases=["default"])] == [
            "jobu.W021"
        ]
        with handler["default"].cursor() as cursor:
            cursor.execute("set default_transaction_isolation = 'read committed'")
        assert checks.check_isolation(databases=["default"]) == []
        handler["default"].close()
