"""The driver for PostgreSQL, on top of asyncpg.

asyncpg checks the type of every parameter against the statement, so a number is not converted for a
text column. dbpools adds codecs for JSON and for `timestamp`, which has no zone and is read as UTC.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import asyncpg

from dbpools.binding import POSTGRES, ROW_VERBS, compile_statement
from dbpools.config import PostgresConfig
from dbpools.driver import Args, Driver, DriverConnection, Ending, Fault, RowCursor, to_rows
from dbpools.tls import SYSTEM, TlsOptions
from dbpools.values import AdapterTable, Json, Row, dump_json, unchanged

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

    async def connect(self) -> DriverConnection:
        config, options = self._config, self._config.options
        timeouts = {
            "statement_timeout": options.statement_timeout,
            "idle_in_transaction_session_timeout": options.idle_in_transaction_session_timeout,
        }
        raw = await asyncpg.connect(
            host=config.host,
            port=config.port,
            database=config.database,
            user=config.user,
            password=config.password,
            **_tls(options),
            timeout=config.pool.connect_timeout_seconds,
            server_settings={
                "application_name": "jobu",
                "timezone": options.timezone,
                **{key: str(value) for key, value in timeouts.items() if value is not None},
            },
        )
        try:
            await _use_our_codecs(raw)
        except BaseException:
            raw.terminate()
            raise
        return PostgresConnection(raw)

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


class PostgresConnection(DriverConnection):
    """One asyncpg connection."""

    # Only the rollback to the savepoint ends this mode.
    nest_read_only = ("SET TRANSACTION READ ONLY",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    async def query(self, sql: str, args: Args, limit: int) -> list[Row]:
        if limit == 1:
            record = await self.raw.fetchrow(sql, *(args or ()))
            return [] if record is None else _rows([record])
        return _rows(await self.raw.fetch(sql, *(args or ())))

    async def value(self, sql: str, args: Args) -> Any:
        return await self.raw.fetchval(sql, *(args or ()))

    async def execute(self, sql: str, args: Args) -> int:
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
        record = await self.raw.fetchrow(sql, *(args or ()))
        return record[0] if record else None

    async def stream(self, sql: str, args: Args, chunk_rows: int) -> RowCursor:
        return PostgresCursor(await self.raw.cursor(sql, *(args or ())), chunk_rows)

    async def end(self, ending: Ending) -> None:
        # PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK and no error.
        if await self.raw.execute(ending.value) != ending:
            raise asyncpg.InFailedSQLTransactionError("a statement failed; all was rolled back")

    async def command(self, *statements: str) -> None:
        await self.raw.execute("; ".join(statements))

    async def script(self, sql: str) -> None:
        await self.raw.execute(sql)

    def is_open(self) -> bool:
        return not self.raw.is_closed()

    def is_in_transaction(self) -> bool:
        return bool(self.raw.is_in_transaction())

    def needs_reset(self) -> bool:
        return True  # settings, advisory locks and LISTEN outlive a transaction

    async def reset(self) -> None:
        await self.raw.reset()

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
