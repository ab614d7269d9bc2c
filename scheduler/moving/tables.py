"""Reads tables of another database: by a Django alias, or by a URL without Django."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from django.db import Error, connections, transaction
from django.utils.connection import ConnectionDoesNotExist
from django.utils.translation import gettext as _

from dbpools.dsn import take_apart
from dbpools.tls import MySQLTlsOptions, TlsOptions
from scheduler.moving.entries import UnreadableSource

Row = dict[str, Any]

_PORTS: Final = {"postgres": 5432, "mysql": 3306}


@contextmanager
def reading(where: str) -> Iterator[Reader]:
    """Opens a database for reading. Raises UnreadableSource, without the URL's password."""
    if "://" not in where:
        connection = _of_alias(where)
        yield Reader(connection, label=where, vendor=connection.vendor)
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
        yield Reader(connection, label=_label(parts), vendor=_vendor(parts), is_raw=True)


@contextmanager
def writing(where: str) -> Iterator[Writer]:
    """Opens a database for one transaction, which ends with the block. Raises UnreadableSource."""
    if "://" not in where:
        connection = _of_alias(where)
        with transaction.atomic(using=where):
            yield Writer(connection, label=where, vendor=connection.vendor)
        return
    try:
        parts = take_apart({"dsn": where})
        opened = _open(parts, is_read_only=False)
    except UnreadableSource:
        raise
    except ValueError as error:
        raise UnreadableSource(str(error)) from error
    except Exception as error:
        raise _cannot_be_read(error) from error
    with closing(opened) as connection:
        yield Writer(connection, label=_label(parts), vendor=_vendor(parts), is_raw=True)
        try:
            connection.commit()
        except Exception as error:
            raise _cannot_be_read(error) from error


class Reader:
    """One open database. `label`: its name in the source keys of jobs; no user, no password.

    `vendor`: as Django names them; a MariaDB is a mysql. `is_raw`: not opened by Django.
    """

    def __init__(self, connection: Any, *, label: str, vendor: str, is_raw: bool = False) -> None:
        self._connection, self.label = connection, label
        self._vendor, self._is_raw = vendor, is_raw

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

    def row(self, table: str, column: str, value: object) -> Row | None:
        """Returns the row with this value, or None."""
        found = self.select(f"SELECT * FROM {table} WHERE {column} = %s", [value])  # noqa: S608
        return found[0] if found else None

    def select(self, statement: str, params: Sequence[object]) -> list[Row]:
        """Returns all rows. Raises UnreadableSource."""
        with closing(self._execute(statement, params)) as cursor:
            columns = [column[0] for column in cursor.description]
            return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]

    def _execute(self, statement: str, params: Sequence[object]) -> Any:
        if self._is_raw and self._vendor == "sqlite":
            statement = statement.replace("%s", "?")
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, [self._stored(value) for value in params])
        except Exception as error:
            cursor.close()
            raise _cannot_be_read(error) from error
        return cursor

    def _stored(self, value: object) -> object:
        """Instants as Django writes them: only PostgreSQL keeps that they are UTC."""
        if not isinstance(value, datetime) or self._vendor == "postgresql":
            return value
        naive = value.astimezone(UTC).replace(tzinfo=None)
        return naive.isoformat(" ") if self._vendor == "sqlite" else naive


class Writer(Reader):
    """One open transaction."""

    def execute(self, statement: str, params: Sequence[object]) -> int:
        """Returns how many rows the statement has met."""
        with closing(self._execute(statement, params)) as cursor:
            return int(cursor.rowcount)


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
    except Error as error:
        raise _cannot_be_read(error) from error
    return connection


def _open(parts: dict[str, Any], *, is_read_only: bool = True) -> Any:
    if parts["type"] == "sqlite":
        path = Path(parts["path"])
        if not path.is_file():
            raise UnreadableSource(_("there is no file %(path)s") % {"path": path})
        mode = "ro" if is_read_only else "rw"
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=10)
    login = {name: parts[name] for name in ("host", "port", "user", "password") if parts.get(name)}
    if parts["type"] == "postgres":
        import psycopg

        asked = TlsOptions(**parts["options"])
        tls: dict[str, Any] = {"sslmode": asked.ssl_mode, "sslrootcert": asked.ssl_authority}
        opened = psycopg.connect(
            dbname=parts["database"],
            connect_timeout=10,
            **login,
            **{name: value for name, value in tls.items() if value},
        )
        opened.read_only = is_read_only
        return opened
    import pymysql

    if str(login.get("host", "")).startswith("/"):
        login["unix_socket"] = login.pop("host")
    return pymysql.connect(
        database=parts["database"],
        connect_timeout=10,
        charset="utf8mb4",
        ssl=MySQLTlsOptions(**parts["options"]).ssl_argument(),
        **login,
    )


def _vendor(parts: dict[str, Any]) -> str:
    return {"postgres": "postgresql"}.get(parts["type"], str(parts["type"]))


def _label(parts: dict[str, Any]) -> str:
    if parts["type"] == "sqlite":
        return str(Path(parts["path"]).absolute())
    port = parts.get("port")
    shown = f",{port}" if port and port != _PORTS[parts["type"]] else ""
    return f"{parts.get('host') or 'localhost'}{shown}/{parts['database']}"


def _cannot_be_read(error: Exception) -> UnreadableSource:
    text = " ".join(str(error).split())
    return UnreadableSource(_("the database cannot be read: %(error)s") % {"error": text})
