"""Everything that a connection can be asked to do, one class each.

An operation carries its arguments, starts the matching method of the driver's connection, and knows
how many rows its answer stands for. The layers above it (a connection, a transaction, a batch)
look at the operation, and need not know which method it calls.
"""

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from dbpools.driver import Args, DriverConnection, Ending, RowCursor
from dbpools.values import Row

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class Operation(ABC, Generic[Answer]):
    """One call of a driver's connection."""

    title: str
    """What the SQL log and error messages call it."""

    ends_transaction: ClassVar[bool] = False

    @abstractmethod
    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, Answer]:
        """Returns the coroutine of the driver; the caller awaits it."""

    def row_count(self, answer: Answer) -> int:
        """How many rows were returned or changed, for the SQL log."""
        return 0


@dataclass(slots=True, eq=False)
class StatementOperation(Operation[Answer]):
    """An operation whose SQL text a person wrote."""

    sql: str
    """The text as the driver takes it."""

    is_script: ClassVar[bool] = False

    def changed_rows(self, answer: Answer) -> int:
        """How many rows were written, as far as the answer shows it."""
        return 0


@dataclass(slots=True, eq=False)
class Execute(StatementOperation[int]):
    """A statement that answers with the number of rows that it changed."""

    args: Args

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, int]:
        return connection.execute(self.sql, self.args)

    def row_count(self, answer: int) -> int:
        return answer

    def changed_rows(self, answer: int) -> int:
        return answer


@dataclass(slots=True, eq=False)
class ExecuteMany(StatementOperation[int]):
    """A statement that runs once for each list of arguments."""

    rows: list[Args]

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, int]:
        return connection.execute_many(self.sql, self.rows)

    def row_count(self, answer: int) -> int:
        return answer

    def changed_rows(self, answer: int) -> int:
        return answer


@dataclass(slots=True, eq=False)
class Insert(StatementOperation[Any]):
    """An INSERT of one row that answers with the new id."""

    args: Args

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, Any]:
        return connection.insert(self.sql, self.args)

    def row_count(self, answer: Any) -> int:
        return 1

    def changed_rows(self, answer: Any) -> int:
        return 1


@dataclass(slots=True, eq=False)
class Fetch(StatementOperation[list[Row]]):
    """A query that answers with its rows."""

    args: Args
    limit: int
    """How many rows at most; 0 for all."""

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, list[Row]]:
        return connection.query(self.sql, self.args, self.limit)

    def row_count(self, answer: list[Row]) -> int:
        return len(answer)


@dataclass(slots=True, eq=False)
class FetchValue(StatementOperation[Any]):
    """A query that answers with the first column of its first row."""

    args: Args

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, Any]:
        return connection.value(self.sql, self.args)

    def row_count(self, answer: Any) -> int:
        return 1


@dataclass(slots=True, eq=False)
class Script(StatementOperation[None]):
    """A text of several statements."""

    is_script: ClassVar[bool] = True

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, None]:
        return connection.script(self.sql)


@dataclass(slots=True, eq=False)
class OpenCursor(StatementOperation[RowCursor]):
    """A query whose rows are fetched in chunks."""

    args: Args
    chunk_rows: int

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, RowCursor]:
        return connection.stream(self.sql, self.args, self.chunk_rows)


@dataclass(slots=True, eq=False)
class NextRows(Operation[list[Row]]):
    """The next chunk of an open cursor."""

    cursor: RowCursor

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, list[Row]]:
        return self.cursor.next_rows()

    def row_count(self, answer: list[Row]) -> int:
        return len(answer)


@dataclass(slots=True, eq=False)
class CloseCursor(Operation[None]):
    """The end of an open cursor."""

    cursor: RowCursor

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, None]:
        return self.cursor.close()


@dataclass(slots=True, eq=False)
class Begin(Operation[None]):
    """The start of a transaction."""

    readonly: bool

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, None]:
        return connection.begin(self.readonly)


@dataclass(slots=True, eq=False)
class End(Operation[None]):
    """The COMMIT or ROLLBACK of a transaction."""

    ending: Ending

    ends_transaction: ClassVar[bool] = True

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, None]:
        return connection.end(self.ending)


@dataclass(slots=True, eq=False)
class Command(Operation[None]):
    """Statements of dbpools itself, such as SAVEPOINT."""

    statements: tuple[str, ...]

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, None]:
        return connection.command(*self.statements)


class BeginReadOnlyPart(Operation[None]):
    """From here on the database refuses writes, if it can."""

    __slots__ = ()

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, None]:
        return connection.begin_nested_read_only()


class EndReadOnlyPart(Operation[None]):
    """The database allows writes again."""

    __slots__ = ()

    def start(self, connection: DriverConnection) -> Coroutine[Any, Any, None]:
        return connection.end_nested_read_only()
