"""Transactions on one database: begin, commit, rollback, savepoints.

One meaning on every engine, PostgreSQL's: after a failed statement the transaction takes nothing
but rollback, or the rollback of a savepoint around the failure. Committing it is an error.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import Any

from dbpools.binding import compile_statement
from dbpools.connection import Parameters, PooledConnection, Statements
from dbpools.driver import Driver
from dbpools.errors import (
    ConnectionLostError,
    DatabaseError,
    ReadOnlyTransactionError,
    TransactionError,
)
from dbpools.shielded import shielded
from dbpools.stream import RowStream

log = logging.getLogger("dbpools.transaction")


WRITES = ("execute", "execute_many", "insert")
"""The ways of running a statement whose answer tells that it wrote."""
# With those of DDL, before which MySQL would commit what the outer function has written.
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
    """A connection with a transaction on it. Several tasks that share it take turns."""

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
        """True when not even the rollback of a savepoint can help."""

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
        """Start a transaction. TransactionError if one is open."""
        if self._state is not _State.IDLE:
            raise TransactionError(f"begin() on {self.database!r}: {self._state.value} already")
        await self._connection.run("begin", "begin", readonly)
        self._state = _State.OPEN
        self._is_read_only = readonly

    async def commit(self) -> None:
        """Make the work since begin() last. TransactionError if there is nothing to commit.

        Runs to its end even if this task is cancelled meanwhile; the cancellation comes after.
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
        await shielded(self._end("COMMIT"))

    async def commit_unless_ended(self) -> None:
        """Commit, except where the code has said commit() or rollback() itself already."""
        if self._state is not _State.IDLE:
            await self.commit()

    async def rollback(self) -> None:
        """Undo the work since begin(). TransactionError without begin()."""
        self._require_no_savepoint("rollback()")
        if self._state not in (_State.OPEN, _State.FAILED):
            raise TransactionError(
                f"rollback() on {self.database!r} without begin(): {self._state.value}"
            )
        await shielded(self._end("ROLLBACK"))

    async def flush(self) -> None:
        """Commit what is pending and go on in a new transaction of the same kind."""
        readonly = self._is_read_only
        await self.commit()
        await self.begin(readonly=readonly)

    async def _end(self, word: str) -> None:
        try:
            await self._connection.run("end", word.lower(), word)
        except ConnectionLostError as error:
            self._fail(error)
            if word == "ROLLBACK":
                self._state = _State.IDLE  # the server rolls back what lost its connection
                return
            raise TransactionError(
                f"commit on {self.database!r}: the connection broke during COMMIT, so it may or "
                "may not have taken effect; look before running this again"
            ) from error
        except DatabaseError as error:
            self._fail(error)
            raise TransactionError(
                f"{word.lower()} on {self.database!r} was refused: {error}"
            ) from error
        self._state = _State.IDLE
        self._failure = None
        self._is_doomed = False
        self._is_read_only = False

    def finish(self) -> None:
        """For the owner: from here on every use is an error."""
        self._state = _State.OVER

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether the connection broke during COMMIT."""
        return isinstance(self._failure, ConnectionLostError)

    # -- savepoints ---------------------------------------------------------------------------

    @asynccontextmanager
    async def savepoint(self, *, readonly: bool = False) -> AsyncIterator["TransactionContext"]:
        """A part that can be undone by itself: an exception in it rolls back only this part.

        With `readonly` the database refuses writes in it. MySQL cannot change a transaction's
        mode: there the statement is looked at, and what writes nevertheless is undone.
        """
        self._require_open("savepoint()")
        readonly = readonly and not self._is_read_only
        self._savepoint_count += 1
        name = f"dbpools_{self._savepoint_count}"
        await self._step(f"SAVEPOINT {name}")
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
            await self._step(f"RELEASE SAVEPOINT {name}")

    async def _undo_savepoint(self, name: str, readonly: bool) -> None:
        """Roll back to the savepoint; the transaction is open again afterwards if that worked."""
        try:
            self._leave_savepoint(name)
            self._connection.forget_stream()  # it began in here, and goes with it
            await self._connection.run(
                "command",
                "rollback to savepoint",
                f"ROLLBACK TO SAVEPOINT {name}",
                f"RELEASE SAVEPOINT {name}",
            )
            if readonly:
                self._nested_read_only -= 1
                if not self._nested_read_only:
                    await self._connection.run("end_nested_read_only", "end read-only")
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
            await self._connection.run("begin_nested_read_only", "begin read-only")

    async def _step(self, sql: str) -> None:
        try:
            await self._connection.run("command", sql.split(" dbpools_")[0].lower(), sql)
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
        bound = self.bind(sql, params, name)
        self._refuse_write("stream", bound[2], bound[0])
        return RowStream(self._connection, bound, chunk_rows, self._step_of_stream)

    @contextmanager
    def _step_of_stream(self, is_first: bool) -> Iterator[None]:
        """A stream does not go through `run`, but is bound to the transaction in the same way."""
        if is_first:
            self._require_open("stream()")
        try:
            yield
        except BaseException as error:
            if type(error) is not TransactionError:
                self._fail(error)
                self._connection.forget_stream()  # the error's traceback holds it
            raise

    async def run(self, method: str, title: str, *args: Any) -> Any:
        """Every statement goes through here: is this a moment for it, and did it do harm?"""
        if self._state is not _State.OPEN and not (self._state is _State.IDLE and self._autocommit):
            self._require_open(title)
        was_open = self._state is _State.OPEN
        self._refuse_write(method, title, args[0])
        try:
            answer = await self._connection.run(method, title, *args)
        except BaseException as error:
            # A plain TransactionError is a misuse that never reached the database.
            if was_open and type(error) is not TransactionError:
                self._fail(error)
            raise
        if was_open:
            self._check_still_open(title)
            if answer and method in WRITES and self._must_look_for_writes():
                raise self._write_in_read_only(title)
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
        """In a read-only part where the database cannot be told to refuse them."""
        return self._nested_read_only > 0 and not self._connection.member.connection.nest_read_only

    def _refuse_write(self, method: str, title: str, sql: str) -> None:
        if self._must_look_for_writes() and (
            method == "script" or compile_statement(sql, self.dialect).verb in WRITE_VERBS
        ):
            raise self._write_in_read_only(title)

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
