"""Reads tables of another database: by a Django alias, or by a URL without Django."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connections
from django.utils.connection import ConnectionDoesNotExist
from django.utils.translation import gettext as _

from dbpools.dsn import take_apart
from scheduler.moving.entries import UnreadableSource

Row = dict[str, Any]


@contextmanager
def reading(where: str) -> Iterator[Reader]:
    """Opens a database for reading. Raises UnreadableSource, without the URL's password."""
    if "://" not in where:
        yield Reader(_of_alias(where), label=where)
        return
    try:
        parts = take_apart({"dsn": where})
    except ValueError as error:
        raise UnreadableSource(str(error)) from error
    try:
        opened = _open(parts)
    except UnreadableSource:
        raise
    except Exception as error:
        raise _cannot_be_read(error) from error
    with closing(opened) as connection:
        yield Reader(connection, label=_label(parts))


class Reader:
    """One open database. `label`: its name in the source keys of jobs; no user, no password."""

    def __init__(self, connection: Any, *, label: str) -> None:
        self._connection, self.label = connection, label

    def rows(self, table: str, needed: Sequence[str]) -> Iterator[Row]:
        """Yields all rows of a table. Raises UnreadableSource if it is missing, or a column is."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608 - a constant of ours
            columns = [column[0] for column in cursor.description]
            if missing := sorted(set(needed) - set(columns)):
                facts = {"table": table, "columns": ", ".join(missing)}
                raise UnreadableSource(
                    _("%(table)s is of another version: it has no column %(columns)s") % facts
                )
            for row in cursor:
                yield dict(zip(columns, row, strict=True))
        except UnreadableSource:
            raise
        except Exception as error:
            raise _cannot_be_read(error) from error
        finally:
            cursor.close()


def instant_of(value: object) -> datetime | None:
    """Returns an instant that a driver gave. A naive one is UTC, as Django writes it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _of_alias(alias: str) -> Any:
    try:
        connection = connections[alias]
        connection.ensure_connection()
    except ConnectionDoesNotExist as error:
        facts = {"alias": repr(alias), "known": ", ".join(connections)}
        raise UnreadableSource(
            _("%(alias)s is neither a URL nor an alias of a database; there are %(known)s") % facts
        ) from error
    except DatabaseError as error:
        raise _cannot_be_read(error) from error
    return connection


def _open(parts: dict[str, Any]) -> Any:
    if parts["type"] == "sqlite":
        path = Path(parts["path"])
        if not path.is_file():
            raise UnreadableSource(_("there is no file %(path)s") % {"path": path})
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    login = {name: parts[name] for name in ("host", "port", "user", "password") if parts.get(name)}
    if parts["type"] == "postgres":
        import psycopg

        tls = {"sslmode": parts["ssl"]} if isinstance(parts.get("ssl"), str) else {}
        opened = psycopg.connect(dbname=parts["database"], connect_timeout=10, **login, **tls)
        opened.read_only = True
        return opened
    import pymysql

    return pymysql.connect(
        database=parts["database"], connect_timeout=10, charset="utf8mb4", **login
    )


def _label(parts: dict[str, Any]) -> str:
    if parts["type"] == "sqlite":
        return str(Path(parts["path"]).absolute())
    return f"{parts.get('host') or 'localhost'}/{parts['database']}"


def _cannot_be_read(error: Exception) -> UnreadableSource:
    text = " ".join(str(error).split())
    return UnreadableSource(_("the database cannot be read: %(error)s") % {"error": text})
