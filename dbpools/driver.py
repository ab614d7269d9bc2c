"""What each engine must implement. Everything else is written once, in the modules above.

A `Driver` opens connections and explains errors. A `DriverConnection` runs statements that are
already in the engine's own parameter style. Neither knows pools, tasks, logs or timeouts.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import Enum, StrEnum
from typing import Any, ClassVar

from dbpools.binding import Dialect
from dbpools.values import AdapterTable, Row

# Errors of Python and of the network that a driver may raise beside its own. TimeoutError and
# ConnectionError are OSErrors.
COMMON_ERRORS = (OSError, EOFError, ValueError, TypeError, ArithmeticError, LookupError)

Args = Sequence[Any] | dict[str, Any] | None


class Ending(StrEnum):
    """How a transaction ends: the SQL command."""

    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"


class Fault(Enum):
    """What a driver's error means to dbpools."""

    STATEMENT = "statement"
    """The statement is wrong or refused; the connection is sound."""
    READ_ONLY = "read_only"
    """A write in a read-only transaction."""
    LOST = "lost"
    """The connection is broken, or the server is away: another connection may work."""


class RowCursor(ABC):
    """The rows of one statement, fetched in chunks."""

    @abstractmethod
    async def next_rows(self) -> list[Row]:
        """Returns the next rows; an empty list at the end."""

    @abstractmethod
    async def close(self) -> None:
        """Frees what the server holds for the cursor."""


class DriverConnection(ABC):
    """One open connection of one engine."""

    raw: Any
    """The connection of the engine's own library."""
    begin_write: ClassVar[tuple[str, ...]] = ("START TRANSACTION READ WRITE",)
    begin_read_only: ClassVar[tuple[str, ...]] = ("START TRANSACTION READ ONLY",)
    nest_read_only: ClassVar[tuple[str, ...]] = ()
    """Forbids writes inside a write transaction; empty if the engine cannot do that."""
    allow_writes: ClassVar[tuple[str, ...]] = ()
    """Needed after anything read-only on an engine whose session keeps that mode."""
    _must_allow_writes = False

    @abstractmethod
    async def query(self, sql: str, args: Args, limit: int) -> list[Row]:
        """Returns the rows of a statement: at most `limit`, or all if it is 0."""

    async def value(self, sql: str, args: Args) -> Any:
        """Returns the first column of the first row; None if there is no row."""
        rows = await self.query(sql, args, 1)
        return next(iter(rows[0].values())) if rows else None

    @abstractmethod
    async def execute(self, sql: str, args: Args) -> int:
        """Runs a statement. Returns how many rows it inserted, updated or deleted."""

    @abstractmethod
    async def execute_many(self, sql: str, rows: list[Args]) -> int:
        """Runs a statement once per argument list. Returns how many rows changed in all."""

    @abstractmethod
    async def insert(self, sql: str, args: Args) -> Any:
        """Runs an INSERT. Returns the new id, or the first column of its RETURNING."""

    @abstractmethod
    async def stream(self, sql: str, args: Args, chunk_rows: int) -> RowCursor:
        """Starts a query whose rows are fetched in chunks."""

    @abstractmethod
    async def command(self, *statements: str) -> None:
        """Runs statements without parameters and rows, in as few round trips as possible."""

    @abstractmethod
    async def script(self, sql: str) -> None:
        """Runs a text of several statements, without parameters."""

    @abstractmethod
    def is_open(self) -> bool:
        """Whether the connection seems to be alive. Does not ask the server."""

    @abstractmethod
    def is_in_transaction(self) -> bool:
        """Whether the server has a transaction open, according to its last answer."""

    def lend_raw(self) -> Any:
        """Returns `raw` to somebody whose statements are not seen."""
        return self.raw

    async def begin(self, readonly: bool) -> None:
        """Starts a transaction."""
        if readonly:
            self._must_allow_writes = bool(self.allow_writes)
        await self.command(*(self.begin_read_only if readonly else self.begin_write))

    async def end(self, ending: Ending) -> None:
        """Ends the transaction that `begin` started."""
        await self._then_allow_writes(ending.value)

    async def begin_nested_read_only(self) -> None:
        """Forbids writes from here to the savepoint's end, if the engine can do that."""
        if self.nest_read_only:
            self._must_allow_writes = bool(self.allow_writes)
            await self.command(*self.nest_read_only)

    async def end_nested_read_only(self) -> None:
        """Allows writes again, after the savepoint was rolled back."""
        await self._then_allow_writes()

    async def _then_allow_writes(self, *statements: str) -> None:
        again = self.allow_writes if self._must_allow_writes else ()
        if statements or again:
            await self.command(*statements, *again)
        self._must_allow_writes = False

    async def ping(self) -> None:
        """Checks that the server answers."""
        await self.query("SELECT 1", None, 0)

    def needs_reset(self) -> bool:
        """Whether `reset` has anything to do. Does not ask the server."""
        return self._must_allow_writes

    async def reset(self) -> None:
        """Clears all that this user left in the session. Runs outside a transaction."""
        await self._then_allow_writes()

    @abstractmethod
    async def close(self) -> None:
        """Closes the connection and tells the server that it ends."""

    @abstractmethod
    async def abandon(self) -> None:
        """Closes a connection that is broken or in the middle of a statement."""


class Driver(ABC):
    """One engine."""

    dialect: ClassVar[Dialect]
    adapters: ClassVar[AdapterTable]
    errors: ClassVar[tuple[type[Exception], ...]]
    """What its library raises, beside the errors of Python and of the network."""

    caught_errors: ClassVar[tuple[type[Exception], ...]]
    """Everything that the use of a connection may raise."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.caught_errors = (*COMMON_ERRORS, *cls.errors)

    @abstractmethod
    async def connect(self) -> DriverConnection:
        """Opens a connection that is ready for use."""

    @abstractmethod
    def fault(self, error: BaseException) -> Fault:
        """What an error of this engine means."""

    def hint(self, error: BaseException) -> str:
        """What a person can do about an error; an empty string if there is nothing to add."""
        return ""


class DuplicateColumnError(ValueError):
    """Two columns of a result have the same name: a mapping would lose one."""


def to_rows(names: Sequence[str], found: Iterable[Sequence[Any]]) -> list[Row]:
    """Returns mappings of column -> value. DuplicateColumnError if two columns have one name."""
    rows = [dict(zip(names, values, strict=False)) for values in found]
    if rows and len(rows[0]) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DuplicateColumnError(
            f"more than one column is named {', '.join(twice)}: rename with AS"
        )
    return rows
