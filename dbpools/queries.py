"""SQL in files: `load_queries` gives one object that works on any of the three engines.

aiosql parses the files; one adapter runs the queries on our connections. Which text runs is decided
by the connection at the call, so files can be loaded when a module is imported, before any database
is configured.

`sales.sql` holds the queries; `sales.postgres.sql`, `sales.mysql.sql` and `sales.sqlite.sql` beside
it are overlays and hold only what is different there, under the same name and parameters.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable
from pathlib import Path
from typing import Any

from aiosql.queries import Queries
from aiosql.query_loader import QueryLoader
from aiosql.types import QueryDatum, SQLOperationType
from aiosql.utils import SQLLoadException, SQLParseException

from dbpools.aiosql_adapter import ADAPTER
from dbpools.binding import DIALECTS, Dialect, compile_statement
from dbpools.connection import Statements
from dbpools.database import BaseDatabase
from dbpools.errors import QueryExecutionError, QueryLoadError, did_you_mean
from dbpools.registry import DatabaseRegistry


def load_queries(path: str | Path, db: str | BaseDatabase | None = None) -> "QuerySet":
    """The queries of a .sql file, or of all below a directory (a subdirectory is an attribute).

    With `db`, and if that database is registered by now, each query must have a text for it.
    QueryLoadError names the file and line of what is missing, doubled or undeclared.
    """
    place = Path(path)
    if place.is_dir():
        queries = _load_directory(place)
    else:
        queries = QuerySet(str(place), _load_file(place), {})
    database = DatabaseRegistry.get_all().get(db) if isinstance(db, str) else db
    if database is not None:
        queries.require(database.dialect)
    return queries


class QuerySet:
    """Queries by name: `await queries.by_id(tx, id=7)`. What comes back depends on the mark.

    `name(...)` rows: await it for a list, or `async for`; `name_cursor(...)` the same as a stream;
    `^` one row or None; `$` one value; `!` affected rows; `*!` the same for a list of parameters;
    `<!` the new id; `#` a script, None.
    """

    def __init__(
        self,
        place: str,
        by_dialect: dict[str, Queries],
        children: "dict[str, QuerySet]",
    ) -> None:
        self._place = place
        self._by_dialect = by_dialect
        self._children = children

    @property
    def available_queries(self) -> list[str]:
        """Every query's name, those of subdirectories with a dot."""
        own = {name for each in self._by_dialect.values() for name in each.available_queries}
        below = {
            f"{child}.{name}"
            for child, queries in self._children.items()
            for name in queries.available_queries
        }
        return sorted(own | below)

    def require(self, dialect: Dialect) -> None:
        """QueryLoadError if a query has no text for that engine."""
        present = set(self._by_dialect[dialect.name].available_queries)
        own = {name for name in self.available_queries if "." not in name}
        if missing := sorted(own - present):
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
            found = getattr(self._by_dialect[connection.dialect.name], name, None)
            if found is None:
                raise QueryLoadError(
                    f"{self._place}: query {name!r} has no text for {connection.dialect.name}"
                )
            takes_rows = getattr(found, "operation", None) is _MANY
            if bool(args) != takes_rows or (takes_rows and (parameters or len(args) > 1)):
                wanted = "one list of parameters" if takes_rows else "named parameters (name=value)"
                raise QueryExecutionError(f"{name}: give the connection and then {wanted}")
            answer: Any = found(connection, *args, **parameters)
            return RowsOfQuery(answer) if hasattr(answer, "asend") else answer

        query.__name__ = name
        return query

    def __dir__(self) -> list[str]:
        return [*self.available_queries, *self._children]


_MANY = SQLOperationType.INSERT_UPDATE_DELETE_MANY


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


class _Loader(QueryLoader):
    """aiosql's parser, but what is a parameter is decided by our binder.

    aiosql's own scan takes `:word` in comments and after a backslash-escaped quote for parameters.
    """

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(ADAPTER(), None, attribute=None, mandatory_parameters=True)
        self._dialect = dialect

    def _build_signature(self, sql: str, qname: str, sig: list[str] | None) -> inspect.Signature:
        used = dict.fromkeys(compile_statement(sql, self._dialect).names)
        if sig is not None:
            undeclared = [name for name in used if name not in sig]
            unused = [name for name in sig if name not in used]
            if undeclared:
                raise SQLParseException(
                    f"{qname} uses :{', :'.join(undeclared)} without declaring it: "
                    f"write {qname}({', '.join([*sig, *undeclared])})"
                )
            if unused:
                raise SQLParseException(f"{qname} declares {', '.join(unused)} but does not use it")
        keyword = inspect.Parameter.KEYWORD_ONLY
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return inspect.Signature([own, *(inspect.Parameter(name, keyword) for name in used)])


def _load_directory(place: Path) -> QuerySet:
    files = sorted(place.glob("*.sql"))
    children = {
        below.name: _load_directory(below)
        for below in sorted(place.iterdir())
        if below.is_dir() and any(below.rglob("*.sql"))
    }
    if not files and not children:
        raise QueryLoadError(f"{place}: no .sql file in this directory")
    return QuerySet(str(place), _load_files(files), children)


def _load_file(place: Path) -> dict[str, Queries]:
    overlays = [place.with_suffix(f".{name}.sql") for name in DIALECTS]
    files = [file for file in (place, *overlays) if file.is_file()]
    if not files:
        raise QueryLoadError(f"{place}: no such file or directory")
    return _load_files(files)


def _load_files(files: Iterable[Path]) -> dict[str, Queries]:
    base = [file for file in files if _overlay_dialect(file) is None]
    loaded = {}
    for name, dialect in DIALECTS.items():
        overlays = [file for file in files if _overlay_dialect(file) == name]
        common = _parse(base, dialect)
        different = _parse(overlays, dialect)
        for query, datum in different.items():
            _check_overlay(common.get(query), datum)
        queries = Queries(ADAPTER(), kwargs_only=True)
        try:
            loaded[name] = queries.load_from_list([*{**common, **different}.values()])
        except SQLLoadException as error:
            raise QueryLoadError(f"{', '.join(map(str, base + overlays))}: {error}") from error
    return loaded


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
