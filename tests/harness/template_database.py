"""Migrated databases for tests with real processes: made once per run, then copied.

`manage.py migrate` takes seconds. A copy of its result takes milliseconds.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
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
    place = parts.netloc or "sqlite"
    copy = {"sqlite": _copy_sqlite, "postgresql": _copy_postgres, "mysql": _copy_mysql}
    if place not in _made:
        template = _template_url(url)
        migrate(template)
        _made[place] = template
    copy[parts.scheme](_made[place], url)


def _template_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        directory = Path(tempfile.mkdtemp(prefix="jobu-migrated-"))
        guardian.add_directory(directory)
        return f"sqlite:///{directory}/{TEMPLATE}.sqlite3"
    if parts.scheme == "postgresql":
        _on_postgres(url, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
    else:
        with closing(_mysql(url)) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
            cursor.execute(f"CREATE DATABASE {TEMPLATE} CHARACTER SET utf8mb4")
    return parts._replace(path=f"/{TEMPLATE}").geturl()


def _copy_sqlite(template: str, url: str) -> None:
    shutil.copyfile(template.removeprefix("sqlite:///"), url.removeprefix("sqlite:///"))


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
