"""What an engine must say about itself; everything else is written once, above.

A `Driver` opens connections and explains errors. A `DriverConnection` runs statements that are
already in the engine's own parameter style. Neither knows of pools, tasks, logs or timeouts.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, ClassVar

from dbpools.binding import Dialect
from dbpools.config import DatabaseConfig, Schema
from dbpools.values import AdapterTable, Row

# What drivers let through from Python and the network, beside their own errors. TimeoutError and
# ConnectionError are OSErrors.
COMMON_ERRORS = (OSError, EOFError, ValueError, TypeError, ArithmeticError, LookupError)

Args = Sequence[Any] | dict[str, Any] | None


class Fault(Enum):
    """What a driver's error means to us."""

    STATEMENT = "statement"
    """The statement is wrong or refused; the connection is well."""
    READ_ONLY = "read_only"
    """A write in a read-only transaction."""
    LOST = "lost"
    """The connection is broken, or the server is away: another connection may do."""


class RowCursor(ABC):
    """The rows of one statement, fetched as they are asked for."""

    @abstractmethod
    async def next_rows(self) -> list[Row]:
        """The next rows; an empty list at the end."""

    @abstractmethod
    async def close(self) -> None:
        """Give the server's side of the cursor up."""


class DriverConnection(ABC):
    """One open connection of one engine."""

    raw: Any
    """The driver's own connection, for those who want its strengths."""
    begin_write: ClassVar[tuple[str, ...]] = ("START TRANSACTION READ WRITE",)
    begin_read_only: ClassVar[tuple[str, ...]] = ("START TRANSACTION READ ONLY",)
    nest_read_only: ClassVar[tuple[str, ...]] = ()
    """Forbids writes inside a write transaction; empty where the database cannot."""
    allow_writes: ClassVar[tuple[str, ...]] = ()
    """Needed after anything read-only, where the mode belongs to the session."""
    _must_allow_writes = False

    @abstractmethod
    async def query(self, sql: str, args: Args, limit: int) -> list[Row]:
        """The rows of a statement; at most `limit` of them unless it is 0."""

    async def value(self, sql: str, args: Args) -> Any:
        """The first column of the first row; None where there is no row."""
        rows = await self.query(sql, args, 1)
        return next(iter(rows[0].values())) if rows else None

    @abstractmethod
    async def execute(self, sql: str, args: Args) -> int:
        """Run a statement; how many rows it inserted, updated or deleted."""

    @abstractmethod
    async def execute_many(self, sql: str, rows: list[Args]) -> int:
        """Run a statement once per argument list; how many rows changed altogether."""

    @abstractmethod
    async def insert(self, sql: str, args: Args) -> Any:
        """Run an INSERT; the new id, or the first column of what it returns."""

    @abstractmethod
    async def stream(self, sql: str, args: Args, chunk_rows: int) -> RowCursor:
        """Start a query whose rows come in chunks."""

    @abstractmethod
    async def command(self, *statements: str) -> None:
        """Run statements that have neither parameters nor rows, in as few round trips as can be."""

    @abstractmethod
    async def script(self, sql: str) -> None:
        """Run a text of several statements, without parameters."""

    @abstractmethod
    def is_open(self) -> bool:
        """Whether the connection looks alive, without asking the server."""

    @abstractmethod
    def is_in_transaction(self) -> bool:
        """Whether the server has a transaction open, as far as the last answer told."""

    async def begin(self, readonly: bool) -> None:
        """Start a transaction."""
        if readonly:
            self._must_allow_writes = bool(self.allow_writes)
        await self.command(*(self.begin_read_only if readonly else self.begin_write))

    async def end(self, word: str) -> None:
        """COMMIT or ROLLBACK the transaction that `begin` started."""
        await self._then_allow_writes(word)

    async def begin_nested_read_only(self) -> None:
        """Forbid writes from here to the savepoint's end, where the database can."""
        if self.nest_read_only:
            self._must_allow_writes = bool(self.allow_writes)
            await self.command(*self.nest_read_only)

    async def end_nested_read_only(self) -> None:
        """Allow writes again, after the savepoint was rolled back."""
        await self._then_allow_writes()

    async def _then_allow_writes(self, *statements: str) -> None:
        again = self.allow_writes if self._must_allow_writes else ()
        if statements or again:
            await self.command(*statements, *again)
        self._must_allow_writes = False

    async def ping(self) -> None:
        """Ask the server for a sign of life."""
        await self.query("SELECT 1", None, 0)

    def needs_reset(self) -> bool:
        """Whether `reset` has anything to do. Asks nobody."""
        return self._must_allow_writes

    async def reset(self) -> None:
        """Leave nothing of this user's session for the next one. Runs outside a transaction."""
        await self._then_allow_writes()

    @abstractmethod
    async def close(self) -> None:
        """Say good-bye and close."""

    @abstractmethod
    async def abandon(self) -> None:
        """Close without courtesy: the connection is broken, or in the middle of a statement."""


class Driver(ABC):
    """One engine."""

    dialect: ClassVar[Dialect]
    schema: ClassVar[Schema]
    adapters: ClassVar[AdapterTable]
    errors: ClassVar[tuple[type[Exception], ...]]
    """What its library raises, beside the common errors of Python and the network."""

    trouble: ClassVar[tuple[type[Exception], ...]]
    """All that using a connection may raise: `errors` and the common ones."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.trouble = (*COMMON_ERRORS, *cls.errors)

    def __init__(self, config: DatabaseConfig) -> None:
        """Checks what only this engine can check. ConfigurationError."""
        self.config = config

    @abstractmethod
    async def connect(self) -> DriverConnection:
        """Open a connection, ready for use."""

    @abstractmethod
    def fault(self, error: BaseException) -> Fault:
        """What kind of trouble an error of this engine is."""

    def hint(self, error: BaseException) -> str:
        """What to do about an error, for those that need saying; else an empty string."""
        return ""


class DuplicateColumnError(ValueError):
    """Two columns of a result have one name: a mapping would lose one."""


def to_rows(names: Sequence[str], found: Iterable[Sequence[Any]]) -> list[Row]:
    """Mappings of column -> value. DuplicateColumnError if two columns have one name."""
    rows = [dict(zip(names, values, strict=False)) for values in found]
    if rows and len(rows[0]) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DuplicateColumnError(
            f"more than one column is named {', '.join(twice)}: rename with AS"
        )
    return rows
