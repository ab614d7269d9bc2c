"""A connection that a pool lends out.

It runs one operation at a time, limits its duration, translates the driver's errors into those of
dbpools and writes the SQL log.
"""

import weakref
from asyncio import CancelledError, current_task
from time import monotonic
from typing import Any

from dbpools import sqllog
from dbpools.config import PoolConfig
from dbpools.driver import Driver, Fault, RowCursor
from dbpools.errors import (
    ConnectionLostError,
    DatabaseError,
    PoolClosedError,
    QueryExecutionError,
    ReadOnlyTransactionError,
    TransactionError,
)
from dbpools.member import PoolMember
from dbpools.operations import Answer, CloseCursor, NextRows, OpenCursor, Operation
from dbpools.statements import Statements
from dbpools.values import Row


class PooledConnection(Statements):
    """A connection lent by a pool. Outside a transaction each statement commits by itself."""

    __slots__ = ("_config", "_cursor", "_database", "_driver", "_member", "_reader")

    def __init__(
        self, database: str, driver: Driver, config: PoolConfig, member: PoolMember
    ) -> None:
        self._database = database
        self._driver = driver
        self._config = config
        self._member: PoolMember | None = member
        self._cursor: RowCursor | None = None
        self._reader: weakref.ref[object] | None = None
        """Who reads the cursor. Weak: a stream that nobody holds any more ends by itself."""

    @property
    def database(self) -> str:
        return self._database

    @property
    def driver(self) -> Driver:
        return self._driver

    @property
    def member(self) -> PoolMember:
        """The physical connection. PoolClosedError once it was given back."""
        if self._member is None:
            raise self._given_back()
        return self._member

    def _given_back(self) -> PoolClosedError:
        return PoolClosedError(
            f"this connection to {self.database!r} was already given back to its pool"
        )

    @property
    def raw(self) -> Any:
        """The connection of the engine's own library, for what dbpools does not offer."""
        return self.member.connection.lend_raw()

    def detach(self) -> PoolMember | None:
        """For the pool: gives the physical connection up. None if that was done before."""
        member, self._member = self._member, None
        if member is not None and self._cursor is not None:
            member.is_spoiled = True  # rows of an unfinished stream are still on their way
        return member

    async def run(self, operation: Operation[Answer]) -> Answer:
        """Runs an operation when it is its turn."""
        member = self._member or self.member
        if member.is_busy:
            await self._wait_turn(member)
        member.is_busy = True
        try:
            if member.is_spoiled:
                raise self._spoiled(operation.title)
            if self._cursor is not None:
                await self._close_unread_cursor(member, self._cursor, operation)
            return await self._timed(member, operation)
        finally:
            member.leave_turn()

    async def _wait_turn(self, member: PoolMember) -> None:
        await member.wait_turn()
        if self._member is None:  # given back meanwhile
            member.leave_turn()  # those behind us must learn of it, too
            raise self._given_back()

    def _spoiled(self, title: str) -> ConnectionLostError:
        return ConnectionLostError(
            f"{title}: the connection to {self.database!r} was given up, because a statement on it "
            "was cut off"
        )

    async def _timed(self, member: PoolMember, operation: Operation[Answer]) -> Answer:
        config = self._config
        task = current_task()
        assert task is not None  # a coroutine of asyncio runs in a task
        cancelling = task.cancelling()
        is_done = False
        started = monotonic()
        # The pool checks the deadlines of its connections. A timer for each statement would cost
        # more than binding it.
        member.task = task
        member.deadline = started + config.command_timeout_seconds
        # Until the call returns, nobody knows what the connection would answer next.
        member.is_spoiled = True
        try:
            answer = await operation.start(member.connection)
            member.is_spoiled = False
            is_done = True
            return answer
        except CancelledError as error:
            if member.is_overdue and task.uncancel() <= cancelling:
                raise self._overdue(operation.title) from error
            raise
        except self._driver.caught_errors as error:
            if member.is_overdue and task.uncancel() <= cancelling:
                raise self._overdue(operation.title) from error
            raise self._translate(member, error, operation.title) from error
        finally:
            member.task = None
            member.is_overdue = False
            elapsed = monotonic() - started
            if elapsed >= config.slow_query_seconds or sqllog.is_wanted():
                rows = operation.row_count(answer) if is_done else sqllog.FAILED_ROWS
                self._report(operation.title, rows, elapsed)

    def _report(self, title: str, rows: int, elapsed: float) -> None:
        is_slow = elapsed >= self._config.slow_query_seconds
        sqllog.report(sqllog.StatementEvent(self.database, title, rows, elapsed * 1000, is_slow))

    def _overdue(self, title: str) -> ConnectionLostError:
        return ConnectionLostError(
            f"{title}: {self.database!r} took longer than "
            f"{self._config.command_timeout_seconds:g} s (command_timeout); its connection "
            "was given up"
        )

    def _translate(self, member: PoolMember, error: Exception, title: str) -> DatabaseError:
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

    # -- cursors of streams -------------------------------------------------------------------

    async def open_cursor(self, reader: object, operation: OpenCursor) -> None:
        """Starts a query; from now on `reader` may fetch its rows."""
        self._cursor = await self.run(operation)
        self._reader = weakref.ref(reader)

    async def next_rows(self, reader: object, title: str) -> list[Row]:
        """Returns the next rows of the cursor that `reader` opened, [] at the end."""
        self._require_cursor(reader, title)
        member = self.member
        if member.is_busy:
            await self._wait_turn(member)
        member.is_busy = True
        try:
            if member.is_spoiled:
                raise self._spoiled(title)
            cursor = self._require_cursor(reader, title)
            return await self._timed(member, NextRows(title, cursor))
        finally:
            member.leave_turn()

    async def close_cursor(self, reader: object) -> None:
        """Closes the cursor that `reader` opened, if that is still possible."""
        member, cursor = self._member, self._cursor
        if member is None or member.is_spoiled or not self._is_read_by(reader):
            return
        self.forget_reader()
        if member.is_busy:
            await self._wait_turn(member)
        member.is_busy = True
        try:
            if member.is_spoiled:
                raise self._spoiled(CLOSE_TITLE)
            if cursor is not None and cursor is self._cursor:  # nobody closed it meanwhile
                await self._close(member, cursor)
        finally:
            member.leave_turn()

    def forget_reader(self) -> None:
        """Lets the next operation close the cursor, even if somebody still holds its stream."""
        self._reader = None

    def _is_read_by(self, reader: object) -> bool:
        """Whether the open cursor is the one of `reader`, and not of a later transaction."""
        return self._cursor is not None and self._reader is not None and self._reader() is reader

    def _require_cursor(self, reader: object, title: str) -> RowCursor:
        if self._cursor is None or not self._is_read_by(reader):
            raise TransactionError(f"{title}: the stream ended with its transaction")
        return self._cursor

    async def _close_unread_cursor(
        self, member: PoolMember, cursor: RowCursor, operation: Operation[Any]
    ) -> None:
        """Closes a cursor that nobody reads any more, or whose transaction `operation` ends.

        TransactionError if somebody still reads it.
        """
        is_read = self._reader is not None and self._reader() is not None
        if is_read and not operation.ends_transaction:
            raise TransactionError(
                f"a stream is being read on this connection to {self.database!r}: read it to its "
                "end, close it (async with), or run the statement on a second connection"
            )
        await self._close(member, cursor)

    async def _close(self, member: PoolMember, cursor: RowCursor) -> None:
        await self._timed(member, CloseCursor(CLOSE_TITLE, cursor))
        self._cursor = None


CLOSE_TITLE = "close a stream"
