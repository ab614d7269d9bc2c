"""SQL in files: `load_queries` returns one object that works on each of the three engines.

aiosql parses the files; one adapter runs the queries on our connections. The connection of a call
decides which text runs. So a module may load its files when it is imported, even if no database is
configured by then.

`sales.sql` holds the queries. `sales.postgres.sql`, `sales.mysql.sql` and `sales.sqlite.sql` beside
it are overlays. An overlay holds only the queries whose text differs there, with the same names
and the same parameters.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiosql.queries import Queries as AiosqlQueries
from aiosql.query_loader import QueryLoader
from aiosql.types import QueryDatum, SQLOperationType
from aiosql.utils import SQLLoadException, SQLParseException

from dbpools.aiosql_adapter import ADAPTER
from dbpools.binding import DIALECTS, Dialect, compile_statement
from dbpools.database import BaseDatabase
from dbpools.errors import QueryExecutionError, QueryLoadError, did_you_mean
from dbpools.registry import DatabaseRegistry
from dbpools.statements import Statements


def load_queries(path: str | Path, db: str | BaseDatabase | None = None) -> "Queries":
    """Returns the queries of a .sql file, or of all files below a directory.

    A subdirectory becomes an attribute. With `db`, and if that database is registered by now, each
    query must have a text for it. QueryLoadError names the file and the line of what is missing,
    defined twice or undeclared.
    """
    place = Path(path)
    if place.is_dir():
        queries = _load_directory(place)
    else:
        queries = Queries(str(place), _load_file(place), {})
    database = DatabaseRegistry.get_all().get(db) if isinstance(db, str) else db
    if database is not None:
        queries.require(database.dialect)
    return queries


@dataclass(frozen=True)
class Query:
    """One query with the text of one engine."""

    run: Callable[..., Any]
    """The function that aiosql made: `run(connection, **parameters)`."""
    takes_rows: bool
    """Whether it takes a list of parameters, and runs once for each element."""


class Queries:
    """Queries by name: `await queries.by_id(tx, id=7)`. The mark decides what a call returns.

    `name(...)` returns rows: await it for a list, or use `async for`; `name_cursor(...)` streams
    the same rows. `^` returns one row or None, `$` one value, `!` the number of affected rows, `*!`
    the same for a list of parameters, `<!` the new id, `#` (a script) None.
    """

    def __init__(
        self,
        place: str,
        by_dialect: Mapping[str, Mapping[str, Query]],
        children: "Mapping[str, Queries]",
    ) -> None:
        self._place = place
        self._by_dialect = by_dialect
        self._children = children

    @property
    def available_queries(self) -> list[str]:
        """The name of every query; a query of a subdirectory has a dot in its name."""
        own = {name for queries in self._by_dialect.values() for name in queries}
        below = {
            f"{child}.{name}"
            for child, queries in self._children.items()
            for name in queries.available_queries
        }
        return sorted(own | below)

    def require(self, dialect: Dialect) -> None:
        """QueryLoadError if a query has no text for that engine."""
        own = {name for name in self.available_queries if "." not in name}
        if missing := sorted(own - set(self._by_dialect[dialect.name])):
            raise QueryLoadError(
                f"{self._place}: no {dialect.name} text for {', '.join(missing)}; add it to the "
                f"file or to its .{dialect.name}.sql overlay"
            )
        for child in self._children.values():
            child.require(dialect)

    def __getattr__(self, name: str) -> Any:
        if name in self._children:
            return self._children[name]
        if name.startswith("__") or name not in self.available_queries:
            known = self.available_queries
            raise AttributeError(f"{self._place} has no query {name!r}{did_you_mean(name, known)}")

        def query(connection: Statements, *args: Any, **parameters: Any) -> Any:
            found = self._by_dialect[connection.dialect.name].get(name)
            if found is None:
                raise QueryLoadError(
                    f"{self._place}: query {name!r} has no text for {connection.dialect.name}"
                )
            takes_rows = found.takes_rows
            if bool(args) != takes_rows or (takes_rows and (parameters or len(args) > 1)):
                wanted = "one list of parameters" if takes_rows else "named parameters (name=value)"
                raise QueryExecutionError(f"{name}: give the connection and then {wanted}")
            answer = found.run(connection, *args, **parameters)
            return RowsOfQuery(answer) if isinstance(answer, AsyncGenerator) else answer

        query.__name__ = name
        return query

    def __dir__(self) -> list[str]:
        return [*self.available_queries, *self._children]


class RowsOfQuery:
    """The rows of a query: `await` it for a list, or `async for` over it."""

    def __init__(self, rows: AsyncGenerator[Any, None]) -> None:
        self._rows = rows

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self._all().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._rows

    async def _all(self) -> list[Any]:
        return [row async for row in self._rows]


# A script, a list of rows and an insert may leave out the list of their parameters.
_LISTS_OPTIONAL = ("#", "*!", "<!")


class _Loader(QueryLoader):
    """aiosql's parser, but our binder decides what is a parameter.

    aiosql's own scan also finds `:word` in comments and after a backslash-escaped quote.
    """

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(ADAPTER(), None, attribute=None, mandatory_parameters=False)
        self._dialect = dialect
        self._where = ""
        # The mark of a query that must list its parameters and does not.
        self._mark_without_list: str | None = None

    def load_query_data_from_sql(
        self, sql: str, ns_parts: list[str], fname: Path | str = "<unknown>"
    ) -> list[QueryDatum]:
        found = super().load_query_data_from_sql(sql, ns_parts, fname)
        if not found and compile_statement(sql, self._dialect).verb:
            raise SQLParseException(
                "there is SQL, and no query with a name: write a line such as "
                "`-- name: by_id(id)^` above it"
            )
        return found

    def _get_name_op(
        self, text: str, floc: tuple[Path | str, int]
    ) -> tuple[str, SQLOperationType, list[str] | None]:
        self._where = f"line {floc[1]}"
        try:
            name, operation, parameters = super()._get_name_op(text, floc)
        except SQLParseException as error:
            example = "a query begins with a line such as `-- name: by_id(id)^`"
            raise SQLParseException(f"{error}; {example}") from error
        mark = text.strip()[len(name) :].strip()
        is_lacking = parameters is None and mark not in _LISTS_OPTIONAL
        self._mark_without_list = mark if is_lacking else None
        return name, operation, parameters

    def _build_signature(self, sql: str, qname: str, sig: list[str] | None) -> inspect.Signature:
        used = dict.fromkeys(compile_statement(sql, self._dialect).names)
        if self._mark_without_list is not None:
            wanted = f"{qname}({', '.join(used)}){self._mark_without_list}"
            raise SQLParseException(
                f"{self._where}: {qname} has no list of parameters: write `-- name: {wanted}`"
            )
        if sig is not None:
            undeclared = [name for name in used if name not in sig]
            unused = [name for name in sig if name not in used]
            if undeclared:
                raise SQLParseException(
                    f"{self._where}: {qname} uses :{', :'.join(undeclared)} without declaring it: "
                    f"write {qname}({', '.join([*sig, *undeclared])})"
                )
            if unused:
                raise SQLParseException(
                    f"{self._where}: {qname} declares {', '.join(unused)} but does not use it"
                )
        keyword = inspect.Parameter.KEYWORD_ONLY
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return inspect.Signature([own, *(inspect.Parameter(name, keyword) for name in used)])


def _load_directory(place: Path) -> Queries:
    files = sorted(place.glob("*.sql"))
    children = {
        below.name: _load_directory(below)
        for below in sorted(place.iterdir())
        if below.is_dir() and any(below.rglob("*.sql"))
    }
    if not files and not children:
        raise QueryLoadError(f"{place}: no .sql file in this directory")
    return Queries(str(place), _load_files(files), children)


def _load_file(place: Path) -> dict[str, dict[str, Query]]:
    overlays = [place.with_suffix(f".{name}.sql") for name in DIALECTS]
    files = [file for file in (place, *overlays) if file.is_file()]
    if not files:
        raise QueryLoadError(f"{place}: no such file or directory")
    return _load_files(files)


def _load_files(files: Iterable[Path]) -> dict[str, dict[str, Query]]:
    base = [file for file in files if _overlay_dialect(file) is None]
    loaded = {}
    for name, dialect in DIALECTS.items():
        overlays = [file for file in files if _overlay_dialect(file) == name]
        common = _parse(base, dialect)
        different = _parse(overlays, dialect)
        for query, datum in different.items():
            _check_overlay(common.get(query), datum)
        try:
            loaded[name] = _made_by_aiosql({**common, **different})
        except SQLLoadException as error:
            raise QueryLoadError(f"{', '.join(map(str, base + overlays))}: {error}") from error
    return loaded


def _made_by_aiosql(data: Mapping[str, QueryDatum]) -> dict[str, Query]:
    many = SQLOperationType.INSERT_UPDATE_DELETE_MANY
    made = AiosqlQueries(ADAPTER(), kwargs_only=True).load_from_list([*data.values()])
    return {
        # aiosql offers its functions as attributes, and `name_cursor` beside each `name`.
        name: Query(
            run=getattr(made, name),
            takes_rows=name in data and data[name].operation_type is many,
        )
        for name in made.available_queries
    }


def _overlay_dialect(file: Path) -> str | None:
    word = Path(file.stem).suffix.removeprefix(".")
    return word if word in DIALECTS else None


def _parse(files: Iterable[Path], dialect: Dialect) -> dict[str, QueryDatum]:
    found: dict[str, QueryDatum] = {}
    for file in files:
        try:
            data = _Loader(dialect).load_query_data_from_file(file, encoding="utf-8")
        except (SQLParseException, SQLLoadException, UnicodeDecodeError) as error:
            raise QueryLoadError(f"{file}: {error}") from error
        for datum in data:
            earlier = found.get(datum.query_name)
            if earlier is not None:
                raise QueryLoadError(
                    f"query {datum.query_name!r} is defined twice: {_where(earlier)} and "
                    f"{_where(datum)}"
                )
            found[datum.query_name] = datum
    return found


def _check_overlay(base: QueryDatum | None, overlay: QueryDatum) -> None:
    if base is None:
        return
    if base.operation_type is not overlay.operation_type:
        raise QueryLoadError(
            f"{_where(overlay)}: {overlay.query_name} is a {overlay.operation_type.name} here and "
            f"a {base.operation_type.name} in {_where(base)}"
        )
    if sorted(base.parameters or ()) != sorted(overlay.parameters or ()):
        raise QueryLoadError(
            f"{_where(overlay)}: {overlay.query_name} takes ({', '.join(overlay.parameters or ())}"
            f") here and ({', '.join(base.parameters or ())}) in {_where(base)}"
        )


def _where(datum: QueryDatum) -> str:
    file, line = datum.floc
    return f"{file}:{line}"
