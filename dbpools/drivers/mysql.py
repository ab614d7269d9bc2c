"""The driver for MySQL and MariaDB, on top of asyncmy.

The session uses UTC and autocommits outside of transactions. UPDATE counts the rows that it found.
The protocol does not describe every column (MariaDB's JSON looks like text): the driver then asks
the database, once per table; see `mysql_types`.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncmy
from asyncmy.charset import charset_by_name
from asyncmy.constants import CLIENT, SERVER_STATUS

from dbpools.binding import MYSQL, ROW_VERBS, compile_statement
from dbpools.config import MySQLConfig
from dbpools.driver import (
    Args,
    Driver,
    DriverConnection,
    DuplicateColumnError,
    Fault,
    RowCursor,
    to_rows,
)
from dbpools.drivers.mysql_protocol import (
    COM_RESET_CONNECTION,
    DDL_VERBS,
    DEADLOCK,
    LOCK_TIMEOUT,
    LOST_CODES,
    READ_ONLY_TRANSACTION,
    SERVER_SESSION_STATE_CHANGED,
    QuietCursor,
    QuietStreamCursor,
)
from dbpools.drivers.mysql_types import PLAIN_TYPES, ColumnTypes
from dbpools.session import may_change_session
from dbpools.values import AdapterTable, Row, to_utc

# asyncmy's executemany does not format the text after the list of values: parameters would stay
# markers there, and percent signs would stay doubled.
_PERCENT_BEHIND_VALUES = re.compile(
    r"(?:\bON\s+DUPLICATE\b|\bRETURNING\b|\)\s*AS\b)[^%]*%", re.IGNORECASE
)


class MySQLDriver(Driver):
    """MySQL 8.0 and MariaDB 10.6, and later ones."""

    dialect = MYSQL
    errors = (asyncmy.errors.Error, asyncmy.errors.Warning)
    adapters = AdapterTable(
        overrides={
            datetime: lambda value: to_utc(value).replace(tzinfo=None),
            UUID: str,
            str: lambda value: _encodable(value),
        }
    )

    def __init__(self, config: MySQLConfig) -> None:
        self._config = config
        self.column_types = ColumnTypes()

    async def connect(self) -> DriverConnection:
        connection = MySQLConnection(self, await self.connect_raw())
        try:
            await connection.prepare()
        except BaseException:
            connection.raw.close()
            raise
        return connection

    def session_settings(self, raw: Any) -> str:
        """What each session has, from its start and after each reset."""
        options = self._config.options
        database = self._config.database.replace("`", "``")
        charset = charset_by_name(options.charset)
        settings = ["autocommit = 1", "time_zone = '+00:00'"]
        if options.sql_mode is not None:
            settings.append(f"sql_mode = {raw.escape(options.sql_mode)}")
        return (
            f"USE `{database}`; SET NAMES {charset.name} COLLATE {charset.collation}; "
            f"SET {', '.join(settings)}"
        )

    async def connect_raw(self) -> Any:
        """An asyncmy connection with nothing set."""
        config = self._config
        place: dict[str, Any] = {"database": config.database, "user": config.user}
        if config.host.startswith("/"):  # a socket, as in Django
            place["unix_socket"] = config.host
        else:
            place["host"] = config.host
        if config.password is not None:
            place["password"] = config.password
        return await asyncmy.connect(
            **place,
            port=config.port,
            charset=config.options.charset,
            autocommit=True,  # dbpools sends START TRANSACTION itself
            client_flag=CLIENT.FOUND_ROWS | CLIENT.SESSION_TRACK,
            ssl=config.options.ssl_argument(),
            connect_timeout=config.pool.connect_timeout_seconds,
        )

    def fault(self, error: BaseException) -> Fault:
        if isinstance(error, DuplicateColumnError):
            return Fault.STATEMENT
        code = error.args[0] if error.args else None
        if code == READ_ONLY_TRANSACTION:
            return Fault.READ_ONLY
        if code in LOST_CODES or not isinstance(error, self.errors):
            return Fault.LOST  # or an error of Python in the middle of the protocol
        return Fault.LOST if isinstance(error, asyncmy.errors.InterfaceError) else Fault.STATEMENT

    def hint(self, error: BaseException) -> str:
        code = error.args[0] if error.args else None
        if code == DEADLOCK:
            return "a deadlock: the whole transaction was rolled back; run it again"
        if code == LOCK_TIMEOUT:
            return "another transaction holds the row; keep transactions short, or run it again"
        return ""


def _encodable(value: str) -> str:
    if not value.isascii():
        value.encode()  # raises for a lone surrogate, whose bytes asyncmy would send
    return value


class MySQLConnection(DriverConnection):
    """One asyncmy connection."""

    # Also for the session: MariaDB ends the transaction before DDL, and would then allow it.
    begin_read_only = ("SET SESSION TRANSACTION READ ONLY", "START TRANSACTION READ ONLY")
    allow_writes = ("SET SESSION TRANSACTION READ WRITE",)

    def __init__(self, driver: MySQLDriver, raw: Any) -> None:
        self.raw = raw
        self._driver = driver
        self._is_busy = False
        """True while a statement runs. Stays True if it was cut off, or failed."""
        self._may_be_changed = False
        """Whether something may be left in the session."""
        self._must_reopen = False
        """Whether what is left cannot be reset."""
        self._role: Any = None
        """The role as `prepare` found it. No command of the protocol resets it."""
        self._tells_changes = False
        """Whether the server tells when a statement changed the session."""

    async def prepare(self) -> None:
        """Gives the session what every session of the pool has."""
        settings = self._driver.session_settings(self.raw)
        try:
            await self._prepare(f"{settings}, session_track_state_change = 1")
            self._tells_changes = True
        except asyncmy.errors.Error as error:
            if self._driver.fault(error) is Fault.LOST:
                raise
            # A server, or a proxy before it, that does not know the last one.
            await self._prepare(settings)
            self._tells_changes = False
        # asyncmy reads the server status from the answer to a command.
        if self.raw.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES:
            raise ValueError(
                "the server's sql_mode has NO_BACKSLASH_ESCAPES, with which asyncmy quotes "
                "bytes wrongly; set options.sql_mode without it"
            )

    async def _prepare(self, settings: str) -> None:
        result = await self._send_all(f"{settings}; SELECT CURRENT_ROLE()")
        self._role = result.rows[0][0]

    def lend_raw(self) -> Any:
        self._may_be_changed = self._must_reopen = True
        return self.raw

    def needs_reset(self) -> bool:
        return self._may_be_changed or self._is_busy or super().needs_reset()

    async def reset(self) -> None:
        if self._must_reopen:
            await self._reopen()
        elif self._may_be_changed or self._is_busy:
            role = self._role
            await self.raw._execute_command(COM_RESET_CONNECTION, "")
            await self.raw._read_ok_packet()
            await self.prepare()
            # A procedure, a function or a trigger may have changed it as well as a statement.
            if self._role != role:
                await self._reopen()
        else:
            await super().reset()
        self._may_be_changed = self._must_reopen = self._is_busy = self._must_allow_writes = False

    async def _reopen(self) -> None:
        used, self.raw = self.raw, await self._driver.connect_raw()
        await used.ensure_closed()
        await self.prepare()

    def _note(self, sql: str) -> None:
        """Notes before a statement of the user whether it may leave something behind."""
        if not self._may_be_changed:
            self._may_be_changed = not self._tells_changes or may_change_session(sql, MYSQL)

    def _note_answer(self) -> None:
        if self.raw.server_status & SERVER_SESSION_STATE_CHANGED:
            self._may_be_changed = True

    async def _run(self, sql: str, args: Args) -> Any:
        """Runs a statement. Returns asyncmy's result: rows, description, affected_rows, insert_id.

        Uses no cursor of asyncmy, which would take half as long again and log the server's
        warnings, with values in them.
        """
        self._note(sql)
        result = await self._send(sql if args is None else self._filled(sql, args))
        self._note_answer()
        return result

    async def _send(self, sql: str) -> Any:
        self._is_busy = True
        await self.raw.query(sql)
        self._is_busy = False
        return self.raw._result

    def _filled(self, sql: str, args: Sequence[Any] | dict[str, Any]) -> str:
        """Returns the statement with its values. asyncmy's ProgrammingError if they do not fit.

        Nothing was sent by then, so an error of Python must not look like a broken connection.
        """
        literal = self.raw.literal
        try:
            if isinstance(args, dict):
                return sql % {name: literal(value) for name, value in args.items()}
            return sql % tuple([literal(value) for value in args])
        except (TypeError, ValueError, KeyError) as error:
            raise asyncmy.errors.ProgrammingError(
                f"{error}: a list has one value for each %s, and any other percent sign is %%"
            ) from error

    async def query(self, sql: str, args: Args, limit: int) -> list[Row]:
        result = await self._run(sql, args)
        if result.description is None:
            return []
        return await self.typed_rows(result.fields, result.rows[:limit] if limit else result.rows)

    async def query_plain(self, sql: str, args: Args) -> list[Row]:
        """Returns the rows as the protocol has them, for the question about column types."""
        result = await self._run(sql, args)
        return to_rows([field.name for field in result.fields], result.rows)

    async def value(self, sql: str, args: Args) -> Any:
        result = await self._run(sql, args)
        rows = result.rows
        if not rows:
            return None
        fields = result.fields
        if fields[0].type_code in PLAIN_TYPES:
            return rows[0][0]
        typed = await self.typed_rows(fields[:1], [rows[0][:1]])
        return typed[0][fields[0].name]

    async def typed_rows(self, fields: list[Any], found: Any) -> list[Row]:
        """Returns the rows as mappings, with the values that the columns mean."""
        rows = to_rows([field.name for field in fields], found)
        if PLAIN_TYPES.issuperset([field.type_code for field in fields]):
            return rows
        types = self._driver.column_types
        for table in types.unknown_tables(fields):
            await types.learn(table, self)
        for name, convert in types.converters(fields):
            for row in rows:
                if row[name] is not None:
                    row[name] = convert(row[name])
        return rows

    async def execute(self, sql: str, args: Args) -> int:
        result = await self._run(sql, args)
        # A SELECT counts what it returns, and a copying ALTER what it copies.
        verb = compile_statement(sql, MYSQL).verb
        is_other = verb not in ROW_VERBS and (result.description is not None or verb in DDL_VERBS)
        return 0 if is_other else int(result.affected_rows)

    async def execute_many(self, sql: str, rows: list[Args]) -> int:
        is_counted = compile_statement(sql, MYSQL).verb in ROW_VERBS
        if rows[0] is None or not is_counted or _PERCENT_BEHIND_VALUES.search(sql):
            return sum([await self.execute(sql, args) for args in rows])
        self._note(sql)
        cursor = self.raw.cursor(QuietCursor)  # it sends many rows in one statement
        self._is_busy = True
        try:
            count = await cursor.executemany(sql, rows)
        except (TypeError, ValueError, KeyError):
            for args in rows:
                self._filled(sql, args or ())  # raises if this is the reason
            raise
        self._is_busy = False
        self._note_answer()
        return int(count)

    async def insert(self, sql: str, args: Args) -> Any:
        result = await self._run(sql, args)
        if result.description is not None:  # RETURNING, on MariaDB
            rows = await self.typed_rows(result.fields, result.rows)
            return next(iter(rows[0].values())) if rows else None
        return result.insert_id

    async def stream(self, sql: str, args: Args, chunk_rows: int) -> RowCursor:
        self._note(sql)
        if args is not None:
            sql = self._filled(sql, args)
        self._is_busy = True
        cursor = self.raw.cursor(QuietStreamCursor)
        await cursor.execute(sql)
        types = self._driver.column_types
        unknown = types.unknown_tables(cursor._result.fields or ())
        if unknown:
            # The connection takes no other query while rows are on their way: read the rest, ask,
            # and start again. This happens once per table and pool.
            await cursor.close()
            for table in unknown:
                await types.learn(table, self)
            self._is_busy = True
            cursor = self.raw.cursor(QuietStreamCursor)
            await cursor.execute(sql)
        self._is_busy = False
        self._note_answer()
        return MySQLCursor(self, cursor, chunk_rows)

    async def command(self, *statements: str) -> None:
        await self._send_all("; ".join(statements))

    async def script(self, sql: str) -> None:
        self._may_be_changed = True
        await self._send_all(sql)

    async def _send_all(self, sql: str) -> Any:
        """Runs several statements. Returns the result of the last one."""
        result = await self._send(sql)
        self._is_busy = True
        while result.has_next:
            await self.raw.next_result()
            result = self.raw._result
        self._is_busy = False
        return result

    def is_open(self) -> bool:
        return bool(self.raw.connected) and not self.raw._stream_broken

    def is_in_transaction(self) -> bool:
        return bool(self.raw.get_transaction_status())

    async def ping(self) -> None:
        await self.raw.ping(reconnect=False)

    async def close(self) -> None:
        await self.raw.ensure_closed()

    async def abandon(self) -> None:
        self.raw.close()
        if self._is_busy:
            await self._kill_statement()

    async def _kill_statement(self) -> None:
        # The server notices a closed socket only when it writes. Until then the statement would
        # go on and hold its locks.
        other = await self._driver.connect_raw()
        try:
            with suppress(asyncmy.errors.Error):  # it may be over by now
                await other.query(f"KILL {int(self.raw.thread_id())}")
        finally:
            other.close()


class MySQLCursor(RowCursor):
    """An unbuffered result: the server sends all of it, and it is read piece by piece."""

    def __init__(self, connection: MySQLConnection, cursor: Any, chunk_rows: int) -> None:
        self._connection = connection
        self._cursor = cursor
        self._chunk_rows = chunk_rows

    async def next_rows(self) -> list[Row]:
        found = await self._cursor.fetchmany(self._chunk_rows)
        fields = self._cursor._result.fields
        return await self._connection.typed_rows(fields, found) if found else []

    async def close(self) -> None:
        await self._cursor.close()
