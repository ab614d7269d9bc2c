"""Transactions on one database: begin, commit, rollback, savepoints.

They mean the same on every engine, namely what they mean on PostgreSQL: after a failed statement
the transaction accepts only a rollback, or the rollback of a savepoint around the failure. A commit
is then an error.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import Any

from dbpools.binding import compile_statement
from dbpools.connection import PooledConnection
from dbpools.driver import Driver, Ending
from dbpools.errors import (
    ConnectionLostError,
    DatabaseError,
    ReadOnlyTransactionError,
    TransactionError,
)
from dbpools.operations import (
    Answer,
    Begin,
    BeginReadOnlyPart,
    Command,
    End,
    EndReadOnlyPart,
    OpenCursor,
    StatementOperation,
)
from dbpools.shielded import shielded
from dbpools.statements import Parameters, Statements
from dbpools.stream import RowStream

log = logging.getLogger("dbpools.transaction")

# With the verbs of DDL, before which MySQL would commit what the outer function has written.
WRITE_VERBS = {
    *("INSERT", "REPLACE", "UPDATE", "DELETE"),
    *("TRUNCATE", "DROP", "ALTER", "CREATE", "RENAME"),
}


class _State(Enum):
    IDLE = "no transaction has begun"
    OPEN = "the transaction is open"
    FAILED = "a statement failed in this transaction"
    OVER = "the connection was given back"


class TransactionContext(Statements):
    """A connection with a transaction on it. Tasks that share it take turns."""

    def __init__(self, connection: PooledConnection, *, autocommit: bool = False) -> None:
        self._connection = connection
        self._autocommit = autocommit
        self._state = _State.IDLE
        self._failure: BaseException | None = None
        self._is_read_only = False
        self._savepoints: list[str] = []
        self._nested_read_only = 0
        self._savepoint_count = 0
        self._is_doomed = False
        """True if not even the rollback of a savepoint can help."""

    # -- what it is ---------------------------------------------------------------------------

    @property
    def database(self) -> str:
        return self._connection.database

    @property
    def driver(self) -> Driver:
        return self._connection.driver

    @property
    def raw(self) -> Any:
        """The connection of the engine's own library, for what dbpools does not offer."""
        return self._connection.raw

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open and can take statements."""
        return self._state is _State.OPEN

    @property
    def is_read_only(self) -> bool:
        """Whether the whole transaction is read-only."""
        return self._is_read_only

    @property
    def is_in_savepoint(self) -> bool:
        """Whether a savepoint, or a nested @transactional, is open."""
        return bool(self._savepoints)

    @property
    def failure(self) -> BaseException | None:
        """The error after which this transaction can only be rolled back."""
        return self._failure

    # -- its life -----------------------------------------------------------------------------

    async def begin(self, *, readonly: bool = False) -> None:
        """Starts a transaction. TransactionError if one is open."""
        if self._state is not _State.IDLE:
            raise TransactionError(f"begin() on {self.database!r}: {self._state.value} already")
        await self._connection.run(Begin("begin", readonly))
        self._state = _State.OPEN
        self._is_read_only = readonly

    async def commit(self) -> None:
        """Makes the work since begin() permanent. TransactionError if nothing can be committed.

        Runs to its end even if this task is cancelled; the cancellation is raised afterwards.
        """
        self._require_no_savepoint("commit()")
        if self._state is _State.FAILED:
            raise TransactionError(
                f"commit() on {self.database!r}: a statement failed before ({self._failure}), so "
                "nothing can be committed; roll back, or run what may fail in a savepoint()"
            ) from self._failure
        if self._state is not _State.OPEN:
            raise TransactionError(
                f"commit() on {self.database!r} without begin(): {self._state.value}"
            )
        await shielded(self._end(Ending.COMMIT))

    async def commit_unless_ended(self) -> None:
        """Commits, unless the code has called commit() or rollback() already."""
        if self._state is not _State.IDLE:
            await self.commit()

    async def rollback(self) -> None:
        """Undoes the work since begin(). TransactionError without begin()."""
        self._require_no_savepoint("rollback()")
        if self._state not in (_State.OPEN, _State.FAILED):
            raise TransactionError(
                f"rollback() on {self.database!r} without begin(): {self._state.value}"
            )
        await shielded(self._end(Ending.ROLLBACK))

    async def flush(self) -> None:
        """Commits what is pending and begins a new transaction of the same kind."""
        readonly = self._is_read_only
        await self.commit()
        await self.begin(readonly=readonly)

    async def _end(self, ending: Ending) -> None:
        title = ending.lower()
        try:
            await self._connection.run(End(title, ending))
        except ConnectionLostError as error:
            self._fail(error)
            if ending is Ending.ROLLBACK:
                self._state = _State.IDLE  # the server rolls back what lost its connection
                return
            raise TransactionError(
                f"commit on {self.database!r}: the connection broke during COMMIT, so it may or "
                "may not have taken effect; look before running this again"
            ) from error
        except DatabaseError as error:
            self._fail(error)
            raise TransactionError(f"{title} on {self.database!r} was refused: {error}") from error
        self._state = _State.IDLE
        self._failure = None
        self._is_doomed = False
        self._is_read_only = False

    def finish(self) -> None:
        """For the owner: from now on every use is an error."""
        self._state = _State.OVER

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether the connection broke during COMMIT."""
        return isinstance(self._failure, ConnectionLostError)

    # -- savepoints ---------------------------------------------------------------------------

    @asynccontextmanager
    async def savepoint(self, *, readonly: bool = False) -> AsyncIterator["TransactionContext"]:
        """A part that can be undone alone: an exception in it rolls back only this part.

        With `readonly` the database refuses writes in it. MySQL cannot change the mode of an open
        transaction: there the text of each statement is checked, and other writes are undone.
        """
        self._require_open("savepoint()")
        readonly = readonly and not self._is_read_only
        self._savepoint_count += 1
        name = f"dbpools_{self._savepoint_count}"
        await self._command("savepoint", f"SAVEPOINT {name}")
        self._savepoints.append(name)
        try:
            if readonly:
                await self._enter_read_only()
            yield self
        except BaseException:
            await self._undo_savepoint(name, readonly)
            raise
        if self._state is _State.FAILED:
            failure = self._failure
            await self._undo_savepoint(name, readonly)
            raise TransactionError(
                f"savepoint on {self.database!r}: a statement failed in it ({failure}) and the "
                "error was swallowed; its work is rolled back. Catch the error outside it"
            ) from failure
        if readonly:
            await self._undo_savepoint(name, readonly)
        else:
            self._leave_savepoint(name)
            await self._command("release savepoint", f"RELEASE SAVEPOINT {name}")

    async def _undo_savepoint(self, name: str, readonly: bool) -> None:
        """Rolls back to the savepoint. If that works, the transaction is open again."""
        try:
            self._leave_savepoint(name)
            self._connection.forget_reader()  # its stream began in the savepoint and ends with it
            undo = (f"ROLLBACK TO SAVEPOINT {name}", f"RELEASE SAVEPOINT {name}")
            await self._connection.run(Command("rollback to savepoint", undo))
            if readonly:
                self._nested_read_only -= 1
                if not self._nested_read_only:
                    await self._connection.run(EndReadOnlyPart("end read-only"))
        except BaseException as error:
            # The database rolled back everything (a deadlock), or the connection is gone.
            log.warning("savepoint on %s could not be rolled back: %r", self.database, error)
            self._fail(error)
            self._is_doomed = True
            if not isinstance(error, DatabaseError):
                raise
            return
        if self._state is _State.FAILED and not self._is_doomed:
            self._state = _State.OPEN
            self._failure = None

    def _leave_savepoint(self, name: str) -> None:
        if not self._savepoints or self._savepoints[-1] != name:
            error = TransactionError(
                f"savepoints on {self.database!r} ended out of order: concurrent tasks cannot "
                "each have a savepoint in one transaction; give each its own transaction"
            )
            self._savepoints = [kept for kept in self._savepoints if kept != name]
            self._fail(error)
            self._is_doomed = True
            raise error
        self._savepoints.pop()

    async def _enter_read_only(self) -> None:
        self._nested_read_only += 1
        if self._nested_read_only == 1:
            await self._connection.run(BeginReadOnlyPart("begin read-only"))

    async def _command(self, title: str, sql: str) -> None:
        try:
            await self._connection.run(Command(title, (sql,)))
        except BaseException as error:
            self._fail(error)
            raise

    # -- statements ---------------------------------------------------------------------------

    def stream(
        self,
        sql: str,
        params: Parameters = None,
        *,
        chunk_rows: int = 500,
        name: str | None = None,
    ) -> RowStream:
        """Rows as they arrive, `chunk_rows` at a time: for results too large to hold.

        Needs an open transaction. While it is read, the transaction takes no other statement.
        """
        self._require_open("stream()")
        operation = OpenCursor(*self.bind(sql, params, name), chunk_rows)
        self._refuse_write(operation)
        return RowStream(self._connection, operation, self._step_of_stream)

    @contextmanager
    def _step_of_stream(self, is_first: bool) -> Iterator[None]:
        """What `run` does around a statement: a stream uses the connection without it."""
        if is_first:
            self._require_open("stream()")
        try:
            yield
        except BaseException as error:
            if type(error) is not TransactionError:
                self._fail(error)
                self._connection.forget_reader()  # the traceback of the error holds the stream
            raise

    async def run(self, operation: StatementOperation[Answer]) -> Answer:
        """Runs a statement if the transaction accepts one now, and checks what it did to it."""
        if self._state is not _State.OPEN and not (self._state is _State.IDLE and self._autocommit):
            self._require_open(operation.title)
        was_open = self._state is _State.OPEN
        self._refuse_write(operation)
        try:
            answer = await self._connection.run(operation)
        except BaseException as error:
            # A plain TransactionError is a misuse that never reached the database.
            if was_open and type(error) is not TransactionError:
                self._fail(error)
            raise
        if was_open:
            self._check_still_open(operation.title)
            if self._must_look_for_writes() and operation.changed_rows(answer):
                raise self._write_in_read_only(operation.title)
        return answer

    def _check_still_open(self, title: str) -> None:
        if not self._connection.member.connection.is_in_transaction():
            error = TransactionError(
                f"{title} ended the transaction on {self.database!r} (MySQL commits before "
                "DDL): what came before it is committed. Run such statements in "
                "db.connection(autocommit=True)"
            )
            self._fail(error)
            raise error

    def _must_look_for_writes(self) -> bool:
        """In a read-only part of a transaction whose database cannot refuse writes there."""
        return self._nested_read_only > 0 and not self._connection.member.connection.nest_read_only

    def _refuse_write(self, operation: StatementOperation[Any]) -> None:
        if self._must_look_for_writes() and (
            operation.is_script
            or compile_statement(operation.sql, self.dialect).verb in WRITE_VERBS
        ):
            raise self._write_in_read_only(operation.title)

    def _write_in_read_only(self, title: str) -> ReadOnlyTransactionError:
        error = ReadOnlyTransactionError(
            f"{title}: a write in a read-only part of the transaction on {self.database!r}; "
            "it is rolled back"
        )
        self._fail(error)
        return error

    def _fail(self, error: BaseException) -> None:
        if self._state in (_State.OPEN, _State.IDLE):
            self._state = _State.FAILED
            self._failure = error

    def _require_open(self, what: str) -> None:
        if self._state is _State.OPEN:
            return
        if self._state is _State.FAILED:
            raise TransactionError(
                f"{what} on {self.database!r}: a statement failed before ({self._failure}); roll "
                "back first, or run what may fail in a savepoint()"
            ) from self._failure
        if self._state is _State.OVER:
            raise TransactionError(
                f"{what} on {self.database!r}: this transaction is over and its connection was "
                "given back; a task that outlives a transaction needs its own"
            )
        raise TransactionError(
            f"{what} on {self.database!r} outside a transaction: call begin(), use "
            "db.transaction(), or db.connection(autocommit=True)"
        )

    def _require_no_savepoint(self, what: str) -> None:
        if self._savepoints:
            raise TransactionError(
                f"{what} on {self.database!r} inside a savepoint or a nested @transactional: "
                "only the outermost one may end the transaction"
            )
