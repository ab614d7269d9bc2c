"""What the tables share: the database's clock as a default, JSON, choices and CHECKs."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import reduce
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import CheckConstraint, Q
from django.db.models.functions import Now
from django.db.models.lookups import Exact, IContains, In
from django.utils.translation import pgettext_lazy

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField  # Django's class has no type arguments when it runs


class UtcNow(Now):
    """The database's current instant in UTC, whatever the time zone of an SQL client's session."""

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra)


UNREADABLE = "(not readable: nested too deep, or a number with too many digits)"


class StoredJSON(models.JSONField):
    """JSON whose value is UNREADABLE where Python cannot read what SQL has written.

    So one such row does not break the page that lists it.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        try:
            return super().from_db_value(value, expression, connection)
        except (RecursionError, ValueError):
            return UNREADABLE

    def deconstruct(self) -> Any:
        # The same column as a plain JSONField, so migrations need not know this class.
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class ExactText(_CharField):
    """Text that every database compares exactly: `report` and `Report` are two values.

    On MySQL a migration gives the column a binary collation; the others compare exactly by
    themselves. A search (`icontains`) still ignores case.
    """

    def deconstruct(self) -> Any:
        # The same column as a plain CharField, so migrations need not know this class.
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


@ExactText.register_lookup
class _IContains(IContains):
    """A search in text whose collation is binary."""

    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        text, text_params = self.process_lhs(compiler, connection)
        searched, searched_params = self.process_rhs(compiler, connection)
        statement = f"{text} COLLATE utf8mb4_unicode_ci LIKE {searched}"
        return statement, [*text_params, *searched_params]


class CollatedText(_CharField):
    """Text whose column has the server's collation on MySQL, and that filters compare exactly.

    For large tables: a column of another collation would have to be written anew. The comparison by
    the collation finds the rows by the index, and a comparison of the bytes drops those that only
    look alike to it.
    """

    def deconstruct(self) -> Any:
        # The same column as a plain CharField, so migrations need not know this class.
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


@CollatedText.register_lookup
class _Exact(Exact):  # type: ignore[type-arg]
    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        statement, params = self.as_sql(compiler, connection)
        if not self.rhs_is_direct_value():
            return statement, params
        text, text_params = self.process_lhs(compiler, connection)
        wanted, wanted_params = self.process_rhs(compiler, connection)
        bytes_are_same = f"CAST({text} AS BINARY) = CAST({wanted} AS BINARY)"
        return f"({statement} AND {bytes_are_same})", [*params, *text_params, *wanted_params]


@CollatedText.register_lookup
class _In(In):  # type: ignore[type-arg]
    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        statement, params = self.as_sql(compiler, connection)
        if not self.rhs_is_direct_value():
            return statement, params
        text, text_params = self.process_lhs(compiler, connection)
        _wanted, wanted_params = self.process_rhs(compiler, connection)
        wanted = ", ".join(["CAST(%s AS BINARY)"] * len(wanted_params))
        bytes_are_same = f"CAST({text} AS BINARY) IN ({wanted})"
        return f"({statement} AND {bytes_are_same})", [*params, *text_params, *wanted_params]


class TextList(property):
    """A list of texts that belongs to a row: sorted, each once, in a table of its own.

    `rows` is the related name of that table's foreign key, `column` the way from it to the text:
    its column, or one of the row that it `refers_to`. Reads the table at the first access, or what
    `prefetch_related(prefetch)` has read. An assignment changes only the object: store/jobs.py
    writes it.
    """

    def __init__(
        self, verbose_name: Any, *, rows: str, column: str, refers_to: str | None = None
    ) -> None:
        self.verbose_name, self.rows, self.refers_to = verbose_name, rows, refers_to
        self.column = column if refers_to is None else f"{refers_to}__{column}"
        self.prefetch = rows if refers_to is None else f"{rows}__{refers_to}"
        self._name = f"_{rows}_given"
        super().__init__(self._read, self._assign)

    def _read(self, row: Any) -> Any:
        if self._name in vars(row):
            return vars(row)[self._name]
        if row.pk is None:
            return []
        rows = getattr(row, self.rows).all()
        if self.refers_to is not None and not hasattr(row, "_prefetched_objects_cache"):
            rows = rows.select_related(self.refers_to)
        path = self.column.split("__")
        return sorted(reduce(getattr, path, each) for each in rows)

    def _assign(self, row: Any, value: Any) -> None:
        is_list = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        # Anything else stays as it is: validation refuses it by its name.
        vars(row)[self._name] = sorted(set(value)) if is_list else value


def choices_of(values: Iterable[StrEnum]) -> list[tuple[str, Any]]:
    # The same messages as in scheduler/labels.py.
    return [(value.value, pgettext_lazy(type(value).__name__, value.value)) for value in values]


def one_of(field: str, values: type[StrEnum], name: str) -> CheckConstraint:
    return CheckConstraint(condition=Q(**{f"{field}__in": [v.value for v in values]}), name=name)


def between(field: str, low: object, high: object, name: str) -> CheckConstraint:
    return CheckConstraint(condition=Q(**{f"{field}__gte": low, f"{field}__lte": high}), name=name)
