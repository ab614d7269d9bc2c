"""The driver for PostgreSQL, on top of asyncpg.

asyncpg checks the type of every parameter against the statement, so a number is not converted for a
text column. dbpools adds codecs for JSON and for `timestamp`, which has no zone and is read as UTC.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

import asyncpg

from dbpools.binding import POSTGRES, ROW_VERBS, compile_statement
from dbpools.config import PostgresConfig
from dbpools.driver import Args, Driver, DriverConnection, Ending, Fault, RowCursor, to_rows
from dbpools.tls import SYSTEM, TlsOptions
from dbpools.values import AdapterTable, Json, Row, dump_json, unchanged

APPLICATION_NAME = "jobu"
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
FAR_PAST, FAR_FUTURE = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
# SQLSTATE: shutdown, crash, cannot connect now, idle in transaction timeout, too many connections.
LOST_STATES = ("57P01", "57P02", "57P03", "25P03", "53300")


class PostgresDriver(Driver):
    """PostgreSQL 13 and later."""

    dialect = POSTGRES
    errors = (asyncpg.PostgresError, asyncpg.InterfaceError)
    # Lists are arrays here unless the column is JSON: then the codec below converts them.
    adapters = AdapterTable(overrides={dict: unchanged, list: unchanged, Json: unchanged})

    def __init__(self, config: PostgresConfig) -> None:
        self._config = config
        self._sessions: WeakSet[Session] = WeakSet()

    async def connect(self) -> DriverConnection:
        config, options = self._config, self._config.options
        raw = await asyncpg.connect(
            host=config.host,
            port=config.port,
            database=config.database,
            user=config.user,
            password=config.password,
            **_tls(options),
            timeout=config.pool.connect_timeout_seconds,
            connection_class=Session,
            statement_cache_size=options.statement_cache_size,
            # A pooler between takes these two when a session starts, and no others.
            server_settings={"application_name": APPLICATION_NAME, "timezone": options.timezone},
        )
        try:
            raw.sessions = self._sessions
            self._sessions.add(raw)
            await _use_our_codecs(raw)
            connection = PostgresConnection(raw, self._settings())
            await connection.use_settings()
        except BaseException:
            raw.terminate()
            raise
        return connection

    def _settings(self) -> Mapping[str, str]:
        """What each session has, from its start and after each reset."""
        options = self._config.options
        settings = {
            "application_name": APPLICATION_NAME,
            "TimeZone": options.timezone,
            "statement_timeout": options.statement_timeout,
            "idle_in_transaction_session_timeout": options.idle_in_transaction_session_timeout,
        }
        return {key: str(value) for key, value in settings.items() if value is not None}

    def fault(self, error: BaseException) -> Fault:
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            return Fault.READ_ONLY
        state = getattr(error, "sqlstate", None)
        if isinstance(error, (asyncpg.PostgresConnectionError, OSError)) or state in LOST_STATES:
            return Fault.LOST
        return Fault.STATEMENT

    def hint(self, error: BaseException) -> str:
        if isinstance(error, asyncpg.CharacterNotInRepertoireError):
            return "PostgreSQL text cannot hold the NUL character"
        if isinstance(error, asyncpg.InvalidSQLStatementNameError):
            return "behind a pooler that pools by transaction, set options.statement_cache_size: 0"
        if isinstance(error, OUTDATED):
            return "a table or a type was changed; the pool knows it now, run it again"
        if isinstance(error, asyncpg.DataError) and "expected" in str(error):
            return "asyncpg does not convert: pass the type that the column or the cast has"
        return ""


def _tls(options: TlsOptions) -> Mapping[str, Any]:
    mode, authority = options.ssl_mode, options.ssl_authority
    if mode is None:
        return {}  # as in libpq: TLS if the server has it
    if authority == SYSTEM:
        return {"ssl": True}  # which is to asyncpg: verify-full, with the host's certificates
    if authority is None:
        return {"ssl": mode}
    # asyncpg takes the file only in a URL; the other arguments win over the rest of that.
    return {"ssl": mode, "dsn": f"postgresql://?sslrootcert={quote(authority)}"}


async def _use_our_codecs(raw: Any) -> None:
    for name in ("json", "jsonb"):
        await raw.set_type_codec(
            name, schema="pg_catalog", encoder=_encode_json, decoder=json.loads
        )
    await raw.set_type_codec(
        "timestamp",
        schema="pg_catalog",
        encoder=_encode_timestamp,
        decoder=_decode_timestamp,
        format="tuple",
    )


def _encode_json(value: Any) -> str:
    # Text is JSON already, as on the other engines, whose drivers do not know the column.
    return value if isinstance(value, str) else dump_json(value)


def _encode_timestamp(value: datetime) -> tuple[int]:
    return ((value - EPOCH) // timedelta(microseconds=1),)


def _decode_timestamp(value: tuple[int]) -> datetime:
    try:
        return EPOCH + timedelta(microseconds=value[0])
    except OverflowError:  # infinity; asyncpg itself does the same
        return FAR_FUTURE if value[0] > 0 else FAR_PAST


# A statement was prepared before a table was changed.
OUTDATED = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)


class Session(asyncpg.Connection):  # type: ignore[misc]
    """An asyncpg connection as a member of our pool."""

    __slots__ = ("reset_query", "sessions")

    reset_query: str
    sessions: "WeakSet[Session]"
    """All sessions of the pool."""

    def get_reset_query(self) -> str:
        return self.reset_query

    def _drop_global_statement_cache(self) -> None:
        # asyncpg calls this when a statement or a type turns out to be outdated, and would tell the
        # sessions of its own pool. Otherwise each of ours would fail once.
        for session in list(self.sessions):
            session._drop_local_type_cache()
            session._drop_local_statement_cache()


# What DISCARD ALL does, without what asyncpg needs: its prepared statements. First of all the role,
# because others may not reset what it has set.
RESET = (
    "RESET SESSION AUTHORIZATION",
    "RESET ROLE",
    "RESET ALL",
    "SELECT pg_catalog.pg_advisory_unlock_all()",
    "CLOSE ALL",
    "UNLISTEN *",
    "DISCARD TEMP",
    "DISCARD SEQUENCES",
)
PREPARED_BY_SQL = "SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql"


def _set(name: str, value: str) -> str:
    return "SET {} = '{}'".format(name, value.replace("'", "''"))


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


class PostgresConnection(DriverConnection):
    """One asyncpg connection."""

    # Only the rollback to the savepoint ends this mode.
    nest_read_only = ("SET TRANSACTION READ ONLY",)

    def __init__(self, raw: "Session", settings: Mapping[str, str]) -> None:
        self.raw = raw
        # The server reports these two whenever they change. A pooler between takes them at the
        # start, and RESET takes them back to what the pooler's own session began with.
        self._reported = {key: settings[key] for key in ("application_name", "TimeZone")}
        others = {key: value for key, value in settings.items() if key not in self._reported}
        self._set_others = tuple(_set(name, value) for name, value in others.items())
        raw.reset_query = "; ".join((*RESET, *self._set_others))
        self._may_have_prepared = False
        """Whether a PREPARE of the user may be left."""

    async def use_settings(self) -> None:
        """Gives a new session what every session of the pool has."""
        if self._set_others:
            await self.command(*self._set_others)
        await self._use_reported_settings()

    async def _use_reported_settings(self) -> None:
        present = self.raw.get_settings()
        missing = [
            _set(name, value)
            for name, value in self._reported.items()
            if getattr(present, name, value) != value
        ]
        if missing:
            await self.command(*missing)

    def _note(self, sql: str) -> None:
        if compile_statement(sql, POSTGRES).verb in ("PREPARE", "DO", "CALL"):
            self._may_have_prepared = True

    def lend_raw(self) -> Any:
        self._may_have_prepared = True
        return self.raw

    async def query(self, sql: str, args: Args, limit: int) -> list[Row]:
        self._note(sql)
        if limit == 1:
            record = await self.raw.fetchrow(sql, *(args or ()))
            return [] if record is None else _rows([record])
        return _rows(await self.raw.fetch(sql, *(args or ())))

    async def value(self, sql: str, args: Args) -> Any:
        self._note(sql)
        return await self.raw.fetchval(sql, *(args or ()))

    async def execute(self, sql: str, args: Args) -> int:
        self._note(sql)
        return _affected(await self.raw.execute(sql, *(args or ())))

    async def execute_many(self, sql: str, rows: list[Args]) -> int:
        statement = compile_statement(sql, POSTGRES)
        has_returning = "RETURNING" in statement.words
        # The RETURNING may be the one of a WITH inside the statement.
        is_plain = statement.verb in ROW_VERBS and not (has_returning and "WITH" in statement.words)
        if is_plain and rows[0]:
            # asyncpg's executemany returns no count. The rows of RETURNING can be counted, and use
            # the same pipeline.
            counted = sql if has_returning else f"{statement.core}\nRETURNING 1"
            return len(await self.raw.fetchmany(counted, rows))
        return sum([await self.execute(sql, args) for args in rows])

    async def insert(self, sql: str, args: Args) -> Any:
        self._note(sql)
        record = await self.raw.fetchrow(sql, *(args or ()))
        return record[0] if record else None

    async def stream(self, sql: str, args: Args, chunk_rows: int) -> RowCursor:
        self._note(sql)
        return PostgresCursor(await self.raw.cursor(sql, *(args or ())), chunk_rows)

    async def end(self, ending: Ending) -> None:
        # PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK and no error.
        if await self.raw.execute(ending.value) != ending:
            raise asyncpg.InFailedSQLTransactionError("a statement failed; all was rolled back")

    async def command(self, *statements: str) -> None:
        await self.raw.execute("; ".join(statements))

    async def script(self, sql: str) -> None:
        self._may_have_prepared = True
        await self.raw.execute(sql)

    def is_open(self) -> bool:
        return not self.raw.is_closed()

    def is_in_transaction(self) -> bool:
        return bool(self.raw.is_in_transaction())

    def needs_reset(self) -> bool:
        return True  # a function of the user may change the session: no text shows it

    async def reset(self) -> None:
        await self.raw.reset()
        await self._use_reported_settings()
        if self._may_have_prepared:
            # DEALLOCATE ALL would also end the statements that asyncpg has prepared.
            for [name] in await self.raw.fetch(PREPARED_BY_SQL):
                await self.raw.execute(f"DEALLOCATE {_quoted(name)}")
            self._may_have_prepared = False

    async def close(self) -> None:
        await self.raw.close()

    async def abandon(self) -> None:
        # A statement that was cut off was also cancelled on the server, by asyncpg.
        self.raw.terminate()


class PostgresCursor(RowCursor):
    """A portal of the server, which closes it at the end of the transaction."""

    def __init__(self, cursor: Any, chunk_rows: int) -> None:
        self._cursor = cursor
        self._chunk_rows = chunk_rows

    async def next_rows(self) -> list[Row]:
        return _rows(await self._cursor.fetch(self._chunk_rows))

    async def close(self) -> None:
        """Does nothing: an unread portal does not block the connection."""


def _rows(records: list[Any]) -> list[Row]:
    rows = [dict(record) for record in records]
    if rows and len(rows[0]) != len(records[0]):
        return to_rows(list(records[0].keys()), records)  # raises, and names the columns
    return rows


def _affected(status: str) -> int:
    """Returns the count in `INSERT 0 5` or `UPDATE 5`; 0 for statements that change no rows."""
    verb, _, count = status.partition(" ")
    if verb not in ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY"):
        return 0
    return int(count.rpartition(" ")[2] or 0)
