"""Migrated databases: made once, then copied.

`manage.py migrate` takes seconds. A copy of its result takes milliseconds. That of SQLite is made
once for all pytests that share the directory JOBU_TEST_TEMPLATES, those of the servers once per
server.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql

from tests.harness.servers.guardian import guardian

Migrate = Callable[[str], object]
TEMPLATE = "jobu_migrated"

_made: dict[str, str] = {}


def fill_migrated(url: str, migrate: Migrate) -> None:
    """Fills the empty database at `url` with the same content as `migrate(url)`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        copy_migrated_sqlite(
            Path(url.removeprefix("sqlite:///")), lambda path: migrate(f"sqlite:///{path}")
        )
        return
    copy = {"postgresql": _copy_postgres, "mysql": _copy_mysql}
    if parts.netloc not in _made:
        template = _template_url(url)
        migrate(template)
        _made[parts.netloc] = template
    copy[parts.scheme](_made[parts.netloc], url)


def copy_migrated_sqlite(target: Path, migrate: Callable[[Path], object]) -> None:
    """Copies the migrated SQLite database to `target`.

    Only the first of all pytests calls `migrate`, which makes the database. The others wait for it.
    """
    template = _templates() / f"{TEMPLATE}.sqlite3"
    with (_templates() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            unfinished = template.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            migrate(unfinished)
            with closing(sqlite3.connect(unfinished)) as made:
                made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            unfinished.rename(template)
    shutil.copyfile(template, target)


@cache
def _templates() -> Path:
    shared = os.environ.get("JOBU_TEST_TEMPLATES")
    if shared:
        return Path(shared)
    directory = Path(tempfile.mkdtemp(prefix="jobu-migrated-"))
    guardian.add_directory(directory)
    return directory


def _template_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "postgresql":
        _on_postgres(url, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
    else:
        with closing(_mysql(url)) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
            cursor.execute(f"CREATE DATABASE {TEMPLATE} CHARACTER SET utf8mb4")
    return parts._replace(path=f"/{TEMPLATE}").geturl()


def _copy_postgres(template: str, url: str) -> None:
    name = urlsplit(url).path.lstrip("/")
    _on_postgres(url, f"DROP DATABASE {name}", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")


def _on_postgres(url: str, *statements: str) -> None:
    admin = urlsplit(url)._replace(path="/postgres").geturl()
    with psycopg.connect(admin, autocommit=True, connect_timeout=5) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _copy_mysql(template: str, url: str) -> None:
    with closing(_mysql(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        cursor.execute(f"SHOW TABLES FROM {TEMPLATE}")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SHOW CREATE TABLE {TEMPLATE}.{table}")
            row = cursor.fetchone()
            assert row is not None
            cursor.execute(row[1])
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {TEMPLATE}.{table}")
        connection.commit()


def _mysql(url: str) -> pymysql.Connection[pymysql.cursors.Cursor]:
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.lstrip("/"),
        ssl_disabled=True,  # otherwise PyMySQL reads all certificates, which takes 20 ms
        charset="utf8mb4",
        connect_timeout=5,
    )
