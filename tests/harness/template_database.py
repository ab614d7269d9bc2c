"""Migrated databases: made once, then copied.

`manage.py migrate` takes seconds. A copy of its result takes milliseconds. One server of each kind
is migrated for all pytests of a run, and dumped. Each other server loads the dump into a database,
and tests get copies of that.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql

from tests.harness.servers.made_once import made_once

TEMPLATE = "jobu_migrated"

Migrate = Callable[[str], object]
"""Migrates the database with this URL."""

_made: dict[str, str] = {}


def fill_migrated(url: str, migrate: Migrate) -> None:
    """Fills the empty database at `url` with the same content as `migrate(url)`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        _copy_sqlite(
            Path(url.removeprefix("sqlite:///")), lambda path: migrate(f"sqlite:///{path}")
        )
        return
    copy = {"postgresql": _copy_postgres, "mysql": _copy_mysql}
    if parts.netloc not in _made:
        template = _template_url(url)
        _fill_template(template, migrate)
        _made[parts.netloc] = template
    copy[parts.scheme](_made[parts.netloc], url)


def _copy_sqlite(target: Path, migrate: Callable[[Path], object]) -> None:
    """Copies the migrated SQLite database to `target`."""

    def make(path: Path) -> None:
        migrate(path)
        with closing(sqlite3.connect(path)) as made:
            made.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    shutil.copyfile(made_once(f"{TEMPLATE}.sqlite3", make), target)


def _fill_template(template: str, migrate: Migrate) -> None:
    """Loads what another pytest or server was migrated to. Without its tools: migrates."""
    is_filled = False

    def make(path: Path) -> None:
        nonlocal is_filled
        migrate(template)
        is_filled = True
        path.write_bytes(_run(_dump_command(template)) or b"")

    dump = made_once(f"{TEMPLATE}.{urlsplit(template).scheme}", make).read_bytes()
    if is_filled:
        return
    if not dump or _run(_load_command(template), dump) is None:
        _template_url(template)  # what a load that failed has left
        migrate(template)


def _run(command: list[str], given: bytes = b"") -> bytes | None:
    """Returns the output. None: the tool is not here, or it fails, as with a newer server."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _dump_command(url: str) -> list[str]:
    if urlsplit(url).scheme == "postgresql":
        return ["pg_dump", "--no-owner", "--no-privileges", f"--dbname={url}"]
    return [_tool("mariadb-dump", "mysqldump"), *_login(url), "--skip-comments"]


def _load_command(url: str) -> list[str]:
    if urlsplit(url).scheme == "postgresql":
        return ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--dbname={url}"]
    return [_tool("mariadb", "mysql"), *_login(url)]


def _tool(*names: str) -> str:
    return next((name for name in names if shutil.which(name)), names[0])


def _login(url: str) -> list[str]:
    parts = urlsplit(url)
    return [
        "--no-defaults",
        f"--host={parts.hostname}",
        f"--port={parts.port or 3306}",
        f"--user={unquote(parts.username or '')}",
        f"--password={unquote(parts.password or '')}",
        parts.path.lstrip("/"),
    ]


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
