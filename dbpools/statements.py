"""Statements and their parameters, written once for all engines and all kinds of connection."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dbpools.binding import Dialect, compile_statement, title_of
from dbpools.driver import Args, Driver
from dbpools.errors import QueryExecutionError, TransactionError
from dbpools.operations import (
    Answer,
    Execute,
    ExecuteMany,
    Fetch,
    FetchValue,
    Insert,
    Script,
    StatementOperation,
)
from dbpools.values import Row

Parameters = Mapping[str, Any] | Sequence[Any] | None


BoundStatement = tuple[str, str, Args]
"""What the SQL log calls a statement, its text and its arguments as the driver takes them."""


class Statements(ABC):
    """Runs SQL.

    `:name` parameters come as a mapping. A sequence fills the engine's own markers: `?` on SQLite,
    `$1` on PostgreSQL, `%s` on MySQL. The SQL log calls the statement `name`.

    A text is one statement; a `;` and comments may stand behind it. `execute_script` takes several.
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
        """The driver of its engine."""

    @abstractmethod
    async def run(self, operation: StatementOperation[Answer]) -> Answer:
        """Runs an operation. Every statement goes through this method."""

    @property
    def dialect(self) -> Dialect:
        """How this engine writes SQL."""
        return self.driver.dialect

    async def execute(self, sql: str, params: Parameters = None, *, name: str | None = None) -> int:
        """Returns how many rows the statement inserted, updated or deleted.

        A row that UPDATE found counts even if it did not change.
        """
        return await self.run(Execute(*self.bind(sql, params, name)))

    async def executemany(
        self, sql: str, rows: Iterable[Parameters], *, name: str | None = None
    ) -> int:
        """Runs the statement once per row of parameters. Returns how many rows changed in all."""
        bound = [self.bind(sql, row, name) for row in rows]
        if not bound:
            return 0
        title, text, _ = bound[0]
        return await self.run(ExecuteMany(title, text, [args for _, _, args in bound]))

    async def fetch_all(
        self, sql: str, params: Parameters = None, *, name: str | None = None
    ) -> list[Row]:
        """Returns every row, as a dict of column -> value."""
        return await self.run(Fetch(*self.bind(sql, params, name), limit=0))

    async def fetch_one(
        self, sql: str, params: Parameters = None, *, name: str | None = None
    ) -> Row | None:
        """Returns the first row, or None."""
        rows = await self.run(Fetch(*self.bind(sql, params, name), limit=1))
        return rows[0] if rows else None

    async def fetch_val(
        self, sql: str, params: Parameters = None, *, name: str | None = None
    ) -> Any:
        """Returns the first column of the first row; None if there is no row."""
        return await self.run(FetchValue(*self.bind(sql, params, name)))

    async def insert(self, sql: str, params: Parameters = None, *, name: str | None = None) -> Any:
        """Runs an INSERT. Returns the first column of its RETURNING, or the new id.

        PostgreSQL reports no id without RETURNING: the answer is then None.
        """
        return await self.run(Insert(*self.bind(sql, params, name)))

    async def execute_script(self, sql: str, *, name: str | None = None) -> None:
        """Runs a text of several statements. It takes no parameters."""
        await self.run(Script(name or title_of(sql), sql))

    def bind(self, sql: str, params: Parameters, name: str | None) -> BoundStatement:
        """Puts the parameters in their places. Asks no database."""
        driver = self.driver
        dialect = driver.dialect
        statement = compile_statement(sql, dialect)
        title = name or statement.title
        if statement.control:
            raise TransactionError(
                f"{statement.control} in SQL text would go behind the back of the transaction; "
                "use begin(), commit(), rollback() or savepoint()"
            )
        if statement.is_several:
            raise QueryExecutionError(
                f"{title}: the text has several statements; run them one by one, or use "
                "execute_script(), which takes no parameters"
            )
        try:
            if not params and not statement.names:
                return title, sql, None
            if params is None or isinstance(params, Mapping):
                args = self._adapt_all(statement.names, statement.arguments(params or {}))
                by_name = dialect.style == "pyformat"
                named = dict(zip(statement.names, args, strict=True)) if by_name else args
                return title, statement.sql, named
            if isinstance(params, (str, bytes)) or not isinstance(params, Sequence):
                raise TypeError("parameters are a mapping or a list, not one value")
            places = [str(number) for number in range(1, len(params) + 1)]
            return title, sql, self._adapt_all(places, params)
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
        # Adapt them again, one by one, to find out which parameter it is.
        for name, value in zip(names, values, strict=True):
            try:
                adapt(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"parameter :{name}: {error}") from error
        raise AssertionError("adapting is deterministic")
