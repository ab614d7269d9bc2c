"""Statements on one connection, written once for every engine.

`Statements` is what people call; `PooledConnection` runs them: it binds parameters, lets one
statement at a time through, limits its time, turns errors into ours and writes the SQL log.
"""

import weakref
from abc import ABC, abstractmethod
from asyncio import CancelledError, current_task
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from dbpools import sqllog
from dbpools.binding import Dialect, compile_statement, title_of
from dbpools.driver import Args, Driver, Fault, RowCursor
from dbpools.errors import (
    ConnectionLostError,
    DatabaseError,
    PoolClosedError,
    QueryExecutionError,
    ReadOnlyTransactionError,
    TransactionError,
)
from dbpools.stream import RowStream
from dbpools.values import Row

if TYPE_CHECKING:
    from dbpools.member import PoolMember
    from dbpools.pool import AsyncConnectionPool

CLOSE_STREAM = "close_stream"
"""No method of a driver: `run` closes a stream on its way to any other statement."""

Parameters = Mapping[str, Any] | Sequence[Any] | None


Bound = tuple[str, Args, str]
"""A statement as the driver takes it, its arguments, and what the SQL log calls it."""


class Statements(ABC):
    """Run SQL. `:name` parameters come as a mapping; a sequence fills the engine's own markers
    (`?` on SQLite, `$1` on PostgreSQL, `%s` on MySQL). `name` is what the SQL log calls it.

    Every method raises QueryExecutionError (the driver's error is its `__cause__`),
    ReadOnlyTransactionError or ConnectionLostError.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def database(self) -> str:
        """The name of the database."""

    @property
    @abstractmethod
    def driver(self) -> Driver:
        """The engine."""

    @abstractmethod
    async def run(self, method: str, title: str, *args: Any) -> Any:
        """Call a method of the driver's connection: the one door for every statement."""

    @property
    def dialect(self) -> Dialect:
        """How this engine writes SQL."""
        return self.driver.dialect

    async def execute(self, sql: str, params: Parameters = None, *, name: str | None = None) -> int:
        """How many rows the statement inserted, updated (found, even if unchanged) or deleted."""
        text, args, title = self.bind(sql, params, name)
        count: int = await self.run("execute", title, text, args)
        return count

    async def executemany(
        self, sql: str, rows: Iterable[Parameters], *, name: str | None = None
    ) -> int:
        """Run the statement once per row of parameters; how many rows changed altogether."""
        bound = [self.bind(sql, row, name) for row in rows]
        if not bound:
            return 0
        text, _, title = bound[0]
        count: int = await self.run("execute_many", title, text, [args for _, args, _ in bound])
        return count

    async def fetch_all(
        self, sql: str, params: Parameters = None, *, name: str | None = None
    ) -> list[Row]:
        """Every row, as a dict of column -> value."""
        text, args, title = self.bind(sql, params, name)
        rows: list[Row] = await self.run("query", title, text, args, 0)
        return rows

    async def fetch_one(
        self, sql: str, params: Parameters = None, *, name: str | None = None
    ) -> Row | None:
        """The first row, or None."""
        text, args, title = self.bind(sql, params, name)
        rows: list[Row] = await self.run("query", title, text, args, 1)
        return rows[0] if rows else None

    async def fetch_val(
        self, sql: str, params: Parameters = None, *, name: str | None = None
    ) -> Any:
        """The first column of the first row; None where there is no row."""
        text, args, title = self.bind(sql, params, name)
        return await self.run("value", title, text, args)

    async def insert(self, sql: str, params: Parameters = None, *, name: str | None = None) -> Any:
        """Run an INSERT; the first column of its RETURNING, or the new id where the engine tells.

        PostgreSQL tells only what RETURNING asks for; without it the answer is None there.
        """
        text, args, title = self.bind(sql, params, name)
        return await self.run("insert", title, text, args)

    async def execute_script(self, sql: str, *, name: str | None = None) -> None:
        """Run a text of several statements. It takes no parameters."""
        await self.run("script", name or title_of(sql), sql)

    def bind(self, sql: str, params: Parameters, name: str | None) -> Bound:
        """The statement and its arguments as the driver takes them. Touches no database."""
        driver = self.driver
        dialect = driver.dialect
        statement = compile_statement(sql, dialect)
        title = name or statement.title
        if statement.control:
            raise TransactionError(
                f"{statement.control} in SQL text would go behind the back of the transaction; "
                "use begin(), commit(), rollback() or savepoint()"
            )
        try:
            if not params and not statement.names:
                return sql, None, title
            if params is None or isinstance(params, Mapping):
                args = self._adapt_all(statement.names, statement.arguments(params or {}))
                by_name = dialect.style == "pyformat"
                named = dict(zip(statement.names, args, strict=True)) if by_name else args
                return statement.sql, named, title
            if isinstance(params, (str, bytes)) or not isinstance(params, Sequence):
                raise TypeError("parameters are a mapping or a list, not one value")
            places = [str(number) for number in range(1, len(params) + 1)]
            return sql, self._adapt_all(places, params), title
        except LookupError as error:
            raise QueryExecutionError(f"{title}: {error.args[0]}") from error
        except (TypeError, ValueError) as error:
            raise QueryExecutionError(f"{title}: {error}") from error

    def _adapt_all(self, names: Sequence[str], values: Sequence[Any]) -> list[Any]:
        adapt = self.driver.adapters.adapt
        try:
            return [adapt(value) for value in values]
        except (TypeError, ValueError):
            pass
        # Again, one by one: this time to say which parameter it is.
        for name, value in zip(names, values, strict=True):
            try:
                adapt(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"parameter :{name}: {error}") from error
        raise AssertionError("adapting is deterministic")


class PooledConnection(Statements):
    """A connection lent by a pool. Outside a transaction each statement commits by itself."""

    __slots__ = ("_cursor", "_member", "_pool", "_stream")

    def __init__(self, pool: "AsyncConnectionPool", member: "PoolMember") -> None:
        self._pool = pool
        self._member: PoolMember | None = member
        self._cursor: RowCursor | None = None
        self._stream: weakref.ref[RowStream] | None = None

    @property
    def database(self) -> str:
        return self._pool.name

    @property
    def driver(self) -> Driver:
        return self._pool.driver

    @property
    def member(self) -> "PoolMember":
        """The pool's record of the physical connection. PoolClosedError once given back."""
        if self._member is None:
            raise PoolClosedError(
                f"this connection to {self.database!r} was already given back to its pool"
            )
        return self._member

    @property
    def raw(self) -> Any:
        """The connection of the engine's own library, for what dbpools does not offer."""
        return self.member.connection.raw

    def detach(self) -> "PoolMember | None":
        """For the pool: give the physical connection up. None if that was done before."""
        member, self._member = self._member, None
        if member is not None and self._cursor is not None:
            member.is_spoiled = True  # rows of a stream that nobody finished are still on the wire
        return member

    async def run(self, method: str, title: str, *args: Any) -> Any:
        """One call of the driver: alone on its connection, in bounded time, errors made ours."""
        member = self._member or self.member
        if member.is_busy:
            await member.wait_turn()
            if self._member is None:  # given back meanwhile
                member.leave_turn()  # those behind us must hear of it, too
            member = self.member
        member.is_busy = True
        try:
            if member.is_spoiled:
                raise ConnectionLostError(
                    f"{title}: the connection to {self.database!r} was given up, because a "
                    "statement on it was cut off"
                )
            if self._cursor is not None and method != "next_rows":
                await self._settle_stream(member, self._cursor, is_end=method == "end")
            if method == CLOSE_STREAM:
                return None
            source = self._require_cursor(title) if method == "next_rows" else member.connection
            return await self._timed(member, method, getattr(source, method), title, args)
        finally:
            member.leave_turn()

    async def _timed(
        self,
        member: "PoolMember",
        method: str,
        call: Callable[..., Any],
        title: str,
        args: tuple[Any, ...] = (),
    ) -> Any:
        config = self._pool.config
        task = current_task()
        assert task is not None  # a coroutine of asyncio runs in a task
        cancelling = task.cancelling()
        answer = _FAILED
        started = monotonic()
        # The pool looks at the deadlines of its connections; a timer for each statement would
        # cost more than binding it.
        member.task = task
        member.deadline = started + config.command_timeout_seconds
        # Until the call is through, nobody knows what the connection would say next.
        member.is_spoiled = True
        try:
            answer = await call(*args)
            member.is_spoiled = False
            return answer
        except CancelledError as error:
            if member.is_overdue and task.uncancel() <= cancelling:
                raise self._overdue(title) from error
            raise
        except self._pool.driver.trouble as error:
            if member.is_overdue and task.uncancel() <= cancelling:
                raise self._overdue(title) from error
            raise self._translate(member, error, title) from error
        finally:
            member.task = None
            member.is_overdue = False
            elapsed = monotonic() - started
            if elapsed >= config.slow_query_seconds or sqllog.is_wanted():
                self._report(title, _row_count(method, answer), elapsed)

    def _report(self, title: str, rows: int, elapsed: float) -> None:
        is_slow = elapsed >= self._pool.config.slow_query_seconds
        sqllog.report(sqllog.StatementEvent(self.database, title, rows, elapsed * 1000, is_slow))

    def _overdue(self, title: str) -> ConnectionLostError:
        return ConnectionLostError(
            f"{title}: {self.database!r} took longer than "
            f"{self._pool.config.command_timeout_seconds:g} s (command_timeout); its connection "
            "was given up"
        )

    def _translate(self, member: "PoolMember", error: Exception, title: str) -> DatabaseError:
        fault = self.driver.fault(error)
        if fault is Fault.LOST or not member.connection.is_open():
            return ConnectionLostError(
                f"{title}: the connection to {self.database!r} broke: "
                f"{error or type(error).__name__}"
            )
        member.is_spoiled = False
        if fault is Fault.READ_ONLY:
            return ReadOnlyTransactionError(
                f"{title}: {self.database!r} refused a write in a read-only transaction; use "
                "@transactional, or transaction() without readonly"
            )
        hint = self.driver.hint(error)
        return QueryExecutionError(
            f"{title}: {self.database!r} refused: {error}" + (f" ({hint})" if hint else "")
        )

    # -- streams ------------------------------------------------------------------------------

    async def start_stream(self, stream: RowStream, bound: Bound, chunk_rows: int) -> None:
        """For RowStream: run its statement."""
        text, args, title = bound
        self._cursor = await self.run("stream", title, text, args, chunk_rows)
        self._stream = weakref.ref(stream)

    async def next_rows(self, stream: RowStream, title: str) -> list[Row]:
        """For RowStream: the next rows of its cursor, [] at the end."""
        if not self._is_open(stream):
            raise _ended(title)
        rows: list[Row] = await self.run("next_rows", title)
        return rows

    async def end_stream(self, stream: RowStream) -> None:
        """For RowStream: close its cursor, if that still can be done."""
        member = self._member
        if member is None or member.is_spoiled or not self._is_open(stream):
            return
        self.forget_stream()
        await self.run(CLOSE_STREAM, "close a stream")

    def forget_stream(self) -> None:
        """Let the next statement close the open cursor, even if somebody still holds its stream."""
        self._stream = None

    def _is_open(self, stream: RowStream) -> bool:
        """Whether the open cursor is that stream's, and not one of a later transaction."""
        return self._cursor is not None and self._stream is not None and self._stream() is stream

    def _require_cursor(self, title: str) -> RowCursor:
        if self._cursor is None:
            raise _ended(title)
        return self._cursor

    async def _settle_stream(
        self, member: "PoolMember", cursor: RowCursor, *, is_end: bool
    ) -> None:
        """Close the cursor of a stream that nobody holds any more, or whose transaction ends now.

        TransactionError for one that is being read.
        """
        if not is_end and self._stream is not None and self._stream() is not None:
            raise TransactionError(
                f"a stream is being read on this connection to {self.database!r}: read it to its "
                "end, close it (async with), or run the statement on a second connection"
            )
        await self._timed(member, "close", cursor.close, "close a stream")
        self._cursor = None


def _ended(title: str) -> TransactionError:
    return TransactionError(f"{title}: the stream ended with its transaction")


_FAILED: Any = object()


def _row_count(method: str, answer: Any) -> int:
    """For the log: rows changed or returned; -1 for a statement that failed."""
    if answer is _FAILED:
        return -1
    if method in ("execute", "execute_many"):
        return int(answer)
    if method in ("insert", "value"):
        return 1
    return len(answer) if isinstance(answer, list) else 0
