"""One connection to a private job database that stays open: whoever asks often costs little."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql


class Asking:
    """Statements with %s, each in a transaction of its own. Rows are tuples."""

    def __init__(self, connection: Any, vendor: str) -> None:
        self._connection = connection
        self.vendor = vendor

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        try:
            if self.vendor == "sqlite":
                cursor.execute(statement.replace("%s", "?"), parameters)
            else:
                cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            cursor.close()

    def one(self, statement: str, *parameters: Any) -> Any:
        """The first column of the first row; None if there is no row."""
        found = self.rows(statement, *parameters)
        return found[0][0] if found else None

    def count(self, condition: str) -> int:
        """Of executions."""
        return int(self.one(f"SELECT count(*) FROM job_executions WHERE {condition}"))


@contextmanager
def asking(url: str) -> Iterator[Asking]:
    parts = urlsplit(url)
    connection: Any
    if parts.scheme == "sqlite":
        path = url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, timeout=20, isolation_level=None)
    elif parts.scheme == "postgresql":
        connection = psycopg.connect(url, autocommit=True, connect_timeout=5)
    else:
        connection = pymysql.connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path.lstrip("/"),
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,
            init_command="SET time_zone = '+00:00'",
        )
    try:
        yield Asking(connection, parts.scheme)
    finally:
        connection.close()


def seconds_of(value: Any) -> float:
    """An instant as a driver returns it, in seconds since 1970. The database holds UTC."""
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def json_of(value: Any) -> Any:
    """A JSON column as a driver returns it."""
    return json.loads(value) if isinstance(value, str | bytes) else value
