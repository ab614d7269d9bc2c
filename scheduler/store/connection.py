"""The database's clock, and the few places where the three databases differ."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from django.db import connection, transaction
from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)

_NOW = {
    # Not now(), which is the start of the transaction: a tick may wait for locks after it.
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
}

# Seconds between a run's start and its end.
TOOK: Final = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM finished_at - started_at) AS double precision)",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, started_at, finished_at) / 1000000e0",
    "sqlite": "(julianday(finished_at) - julianday(started_at)) * 86400.0",
}


def database_now() -> datetime:
    """The database's current instant, aware UTC. One query."""
    row = fetch_one(_NOW[connection.vendor], ())
    now = instant(row[0]) if row else None
    assert now is not None
    return now


# Statements that run often are SQL and not ORM: compiling an ORM query costs more than running it.


def execute(statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> int:
    """Run one statement and return how many rows it changed. Parameters may be aware instants."""
    with connection.cursor() as cursor:
        cursor.execute(statement, outgoing(parameters))
        return int(cursor.rowcount)


def insert_one(statement: str, parameters: Sequence[Any]) -> int:
    """Insert one row and return its id."""
    returning = connection.vendor == "postgresql"
    # As the ORM does: in a transaction that an error has broken, this is refused in clear words,
    # and an error of this statement breaks the transaction that is open.
    with transaction.mark_for_rollback_on_error(), connection.cursor() as cursor:
        cursor.execute(
            f"{statement} RETURNING id" if returning else statement,
            outgoing(parameters),
        )
        return int(cursor.fetchone()[0] if returning else cursor.lastrowid)


def fetch_one(statement: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    """The first row as the driver returns it. Convert with `instant` and `from_json`."""
    with connection.cursor() as cursor:
        cursor.execute(statement, outgoing(parameters))
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def fetch_all(
    statement: str, parameters: Sequence[Any] | Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """All rows as the driver returns them. Convert with `instant` and `from_json`."""
    with connection.cursor() as cursor:
        cursor.execute(statement, outgoing(parameters))
        rows: list[tuple[Any, ...]] = list(cursor.fetchall())
        return rows


def outgoing(values: Sequence[Any] | Mapping[str, Any]) -> list[Any] | dict[str, Any]:
    """The values as the driver takes them."""
    if isinstance(values, Mapping):
        return dict(zip(values, _outgoing(list(values.values())), strict=True))
    return _outgoing(values)


def _outgoing(values: Sequence[Any]) -> list[Any]:
    adapted: list[Any] = []
    for value in values:
        if type(value) in _PLAIN:
            adapted.append(value)
        elif isinstance(value, datetime):
            adapted.append(connection.ops.adapt_datetimefield_value(value))
        else:
            # Some drivers look a type up by its exact class and do not know a StrEnum as str.
            adapted.append(value.value if isinstance(value, StrEnum) else value)
    return adapted


_PLAIN: Final = frozenset({str, int, bool, type(None)})


def instant(value: Any) -> datetime | None:
    """The value of a timestamp column, as aware UTC."""
    if value is None:
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    assert isinstance(value, datetime)
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def from_json(value: Any) -> Any:
    """The value of a JSON column. Under Django all three drivers return it as text."""
    return json.loads(value) if isinstance(value, str | bytes) else value


def to_json(value: Any) -> str | None:
    """The text of strict JSON for a JSON column. None becomes SQL's NULL."""
    return None if value is None else json.dumps(value, allow_nan=False)


def lock_skipping(rows: QuerySet[M]) -> QuerySet[M]:
    """`rows` locked for update, without those that another process holds.

    SQLite has no row locks: there the transaction holds the lock of the file (BEGIN IMMEDIATE).
    """
    features = connection.features
    if not features.has_select_for_update_skip_locked:
        return rows
    # PostgreSQL: to insert an execution takes a key share lock on its job. FOR UPDATE would block
    # it, FOR NO KEY UPDATE does not.
    return rows.select_for_update(skip_locked=True, no_key=features.has_select_for_no_key_update)


def lock_in_order(rows: QuerySet[M]) -> QuerySet[M]:
    """`rows` locked for update by id. Waits for those that another process holds."""
    features = connection.features
    ordered = rows.order_by("id")
    if not features.has_select_for_update:
        return ordered
    return ordered.select_for_update(no_key=features.has_select_for_no_key_update)


#: Ends a SELECT of one table whose rows are locked.
LOCK: Final = {"postgresql": "FOR NO KEY UPDATE", "mysql": "FOR UPDATE", "sqlite": ""}
#: The same, without those that another process holds.
SKIP_LOCKED: Final = {
    "postgresql": "FOR NO KEY UPDATE SKIP LOCKED",
    "mysql": "FOR UPDATE SKIP LOCKED",
    "sqlite": "",
}


def marks(values: Collection[Any]) -> str:
    """The place holders of a list in SQL."""
    return ", ".join(["%s"] * len(values))


def numbers(values: Iterable[int]) -> str:
    """A list of numbers as SQL, sorted. Place holders for many ids cost more than the statement."""
    return ", ".join(map(str, sorted(map(int, values))))
