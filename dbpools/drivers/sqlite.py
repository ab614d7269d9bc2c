"""The driver for SQLite, on top of aiosqlite.

Every statement is one call in the thread of the connection, including its rows; aiosqlite's own
cursors would need three. The declared type of a column (DATETIME, JSON, ...) decides what its
values are; see `sqlite_types`.
"""

import os
import sqlite3
import threading
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import aiosqlite

from dbpools.binding import ROW_VERBS, SQLITE, compile_statement
from dbpools.config import SqliteConfig
from dbpools.driver import Args, Driver, DriverConnection, Ending, Fault, RowCursor, to_rows
from dbpools.drivers.sqlite_types import use_declared_types
from dbpools.session import may_change_session
from dbpools.values import AdapterTable, Row, to_sql_text

Answer = TypeVar("Answer")
_SWITCH_PAUSE_MS = 10


class SqliteDriver(Driver):
    """SQLite files. Writers take turns: a write transaction starts with BEGIN IMMEDIATE."""

    dialect = SQLITE
    errors = (sqlite3.Error, sqlite3.Warning)
    adapters = AdapterTable(
        overrides={
            datetime: to_sql_text,
            date: date.isoformat,
            time: time.isoformat,
            Decimal: str,
            UUID: str,
        }
    )

    def __init__(self, config: SqliteConfig) -> None:
        self._options = config.options
        self._path = Path(config.path).expanduser()

    async def connect(self) -> DriverConnection:
        return SqliteConnection(self, await self.open_raw())

    async def open_raw(self) -> aiosqlite.Connection:
        """An aiosqlite connection with the options of the configuration."""
        self._check_place()
        raw = aiosqlite.connect(
            self._path,
            isolation_level=None,  # dbpools sends BEGIN itself
            detect_types=sqlite3.PARSE_DECLTYPES,
            timeout=self._options.busy_timeout / 1000,
        )
        # A pool that nobody closed must not keep the process from ending.
        raw._thread.daemon = True
        connection = SqliteConnection(self, await raw)
        try:
            await connection.in_thread(use_declared_types)
            await connection.command(*self._pragmas())
            await connection.in_thread(
                _switch_journal, raw._conn, self._options.journal_mode, self._options.busy_timeout
            )
        except BaseException:
            await connection.abandon()
            raise
        return raw

    def _check_place(self) -> None:
        if not self._path.parent.is_dir():
            raise FileNotFoundError(
                f"directory {self._path.parent} does not exist; create it first"
            )
        if self._path.is_dir():
            raise IsADirectoryError(f"{self._path} is a directory; `path` names a file")
        # SQLite would make the file as the umask says, often for everybody to read. If it cannot be
        # made here, SQLite says why.
        with suppress(OSError):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def _pragmas(self) -> list[str]:
        options = self._options
        return [
            f"PRAGMA busy_timeout = {options.busy_timeout:d}",
            f"PRAGMA synchronous = {options.synchronous}",
            f"PRAGMA cache_size = {options.cache_size:d}",
            f"PRAGMA foreign_keys = {'ON' if options.foreign_keys else 'OFF'}",
        ]

    def fault(self, error: BaseException) -> Fault:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extended part
        if code == sqlite3.SQLITE_READONLY:
            return Fault.READ_ONLY
        if code == sqlite3.SQLITE_INTERRUPT:
            return Fault.LOST
        return Fault.STATEMENT

    def hint(self, error: BaseException) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return (
                f"another connection is writing to {self._path} and did not finish within "
                f"{self._options.busy_timeout} ms (options.busy_timeout): SQLite has one "
                "writer at a time, so keep write transactions short, and do not start a second "
                "one while this task holds the first"
            )
        if code == sqlite3.SQLITE_CANTOPEN:
            return f"cannot open {self._path}: check that it is a file that may be written"
        return ""


class SqliteConnection(DriverConnection):
    """One aiosqlite connection: a thread with a queue in front of it."""

    # IMMEDIATE takes the write lock now: a later upgrade could fail without waiting.
    begin_write = ("BEGIN IMMEDIATE",)
    begin_read_only = ("PRAGMA query_only = ON", "BEGIN DEFERRED")
    nest_read_only = ("PRAGMA query_only = ON",)
    allow_writes = ("PRAGMA query_only = OFF",)

    def __init__(self, driver: SqliteDriver, raw: aiosqlite.Connection) -> None:
        self.raw = raw
        self._driver = driver
        self._may_be_changed = False
        """Whether something may be left in the session: a PRAGMA, a temporary table, ATTACH."""

    def _note(self, sql: str) -> None:
        if not self._may_be_changed:
            self._may_be_changed = may_change_session(sql, SQLITE)

    def lend_raw(self) -> Any:
        self._may_be_changed = True
        return self.raw

    def needs_reset(self) -> bool:
        return self._may_be_changed or super().needs_reset()

    async def reset(self) -> None:
        if not self._may_be_changed:
            await super().reset()
            return
        # Nothing resets a session of SQLite, and opening the file again takes a millisecond.
        used, self.raw = self.raw, await self._driver.open_raw()
        self._may_be_changed = self._must_allow_writes = False
        await used.close()

    async def in_thread(self, work: Callable[..., Answer], *args: Any) -> Answer:
        """Runs `work` in the connection's thread. A cancellation interrupts SQLite."""
        # aiosqlite 0.22 has no public way to run several calls of sqlite3 at once.
        try:
            answer: Answer = await self.raw._execute(work, *args)
        except CancelledError:
            if self.is_open():
                await self.raw.interrupt()
            raise
        return answer

    async def query(self, sql: str, args: Args, limit: int) -> list[Row]:
        self._note(sql)
        return await self.in_thread(_fetch, self.raw._conn, sql, args or (), limit)

    async def execute(self, sql: str, args: Args) -> int:
        self._note(sql)
        return await self.in_thread(_execute, self.raw._conn, sql, args or ())

    async def execute_many(self, sql: str, rows: list[Args]) -> int:
        self._note(sql)
        return await self.in_thread(_execute_many, self.raw._conn, sql, rows)

    async def insert(self, sql: str, args: Args) -> Any:
        self._note(sql)
        return await self.in_thread(_insert, self.raw._conn, sql, args or ())

    async def stream(self, sql: str, args: Args, chunk_rows: int) -> RowCursor:
        self._note(sql)
        cursor = await self.in_thread(self.raw._conn.execute, sql, args or ())
        return SqliteCursor(self, cursor, chunk_rows)

    async def end(self, ending: Ending) -> None:
        if ending is Ending.ROLLBACK and not self.is_in_transaction():
            await self._then_allow_writes()  # a conflict or a full disk has rolled back already
        else:
            await super().end(ending)

    async def command(self, *statements: str) -> None:
        await self.in_thread(_run_all, self.raw._conn, statements)

    async def script(self, sql: str) -> None:
        self._may_be_changed = True
        await self.in_thread(_run_all, self.raw._conn, split_script(sql))

    def is_open(self) -> bool:
        return bool(self.raw._running and self.raw._connection is not None)

    def is_in_transaction(self) -> bool:
        return bool(self.raw.in_transaction)

    async def close(self) -> None:
        await self.raw.close()

    async def abandon(self) -> None:
        if not self.raw._running:
            return  # its thread has ended, and would never answer
        if self.is_open():
            await self.raw.interrupt()
        stopped = self.raw.stop()
        if stopped is not None:
            await stopped


class SqliteCursor(RowCursor):
    """A sqlite3 cursor that is read in the connection's thread."""

    def __init__(
        self, connection: SqliteConnection, cursor: sqlite3.Cursor, chunk_rows: int
    ) -> None:
        self._connection = connection
        self._cursor = cursor
        self._chunk_rows = chunk_rows

    async def next_rows(self) -> list[Row]:
        return await self._connection.in_thread(_rows, self._cursor, self._chunk_rows)

    async def close(self) -> None:
        if self._connection.is_open():
            await self._connection.in_thread(self._cursor.close)


def _rows(cursor: sqlite3.Cursor, limit: int) -> list[Row]:
    if cursor.description is None:
        return []
    names = [column[0] for column in cursor.description]
    return to_rows(names, cursor.fetchmany(limit) if limit else cursor.fetchall())


def _fetch(db: sqlite3.Connection, sql: str, args: Any, limit: int) -> list[Row]:
    cursor = db.execute(sql, args)
    try:
        return _rows(cursor, limit)
    finally:
        cursor.close()


def _execute(db: sqlite3.Connection, sql: str, args: Any) -> int:
    before = db.total_changes
    with closing(db.execute(sql, args)) as cursor:
        cursor.fetchall()  # with RETURNING, a statement ends when its rows are read
        if cursor.rowcount >= 0:
            return cursor.rowcount
        if db.total_changes == before:
            return 0
    # sqlite3 does not recognise `WITH ... INSERT` as a write.
    return int(db.execute("SELECT changes()").fetchone()[0])


def _execute_many(db: sqlite3.Connection, sql: str, rows: list[Args]) -> int:
    statement = compile_statement(sql, SQLITE)
    if statement.verb not in ROW_VERBS or "RETURNING" in statement.words:
        # sqlite3's executemany refuses what returns rows, or does not count it.
        return sum([_execute(db, sql, row or ()) for row in rows])
    with closing(db.executemany(sql, [row or () for row in rows])) as cursor:
        return max(cursor.rowcount, 0)


def _insert(db: sqlite3.Connection, sql: str, args: Any) -> Any:
    with closing(db.execute(sql, args)) as cursor:
        found = cursor.fetchall()
        return found[0][0] if found else cursor.lastrowid


def _run_all(db: sqlite3.Connection, statements: tuple[str, ...] | list[str]) -> None:
    for statement in statements:
        db.execute(statement).close()


def _switch_journal(db: sqlite3.Connection, mode: str, patience_ms: int) -> None:
    """Switches the file to its journal mode, and waits for other connections if necessary.

    The first connections to a new file all switch it to WAL. That needs exclusive access, and here
    SQLite refuses at once instead of waiting for `busy_timeout`.
    """
    tries_left = patience_ms // _SWITCH_PAUSE_MS
    while True:
        try:
            db.execute(f"PRAGMA journal_mode = {mode}").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or tries_left <= 0:
                raise
            tries_left -= 1
            threading.Event().wait(_SWITCH_PAUSE_MS / 1000)
        else:
            return


def split_script(sql: str) -> list[str]:
    """Returns the statements of a script, split where SQLite ends them (triggers stay whole)."""
    statements: list[str] = []
    pending = ""
    for piece in sql.split(";"):
        pending += piece
        if pending.strip() and sqlite3.complete_statement(pending + ";"):
            statements.append(pending)
            pending = ""
        else:
            pending += ";"
    rest = pending.rstrip("; \t\n")
    return [*statements, rest] if rest.strip() else statements
