"""Statements that PostgreSQL keeps planned for a session.

Django binds parameters in the client, in Python, so that each statement is a new one to the server,
which parses and plans it. For what runs often that costs more than to execute it. Here the driver
sends the parameters beside the statement, and the server prepares it once.

So the text of such a statement must be constant: a list of ids is one parameter (`among`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.db import connection

from scheduler.limits import is_limited
from scheduler.store.connection import execute, fetch_all, numbers, outgoing

# The driver prepares a statement by itself when it has run so often.
_NEVER: Final = 1_000_000_000
Values = Sequence[Any] | Mapping[str, Any]


def can_prepare() -> bool:
    """Whether statements are prepared: on a connection that only our code uses (limits.py)."""
    is_psycopg_3 = hasattr(connection.connection, "pgconn")
    return connection.vendor == "postgresql" and is_limited() and is_psycopg_3


def fetch_often(statement: str, values: Values) -> list[tuple[Any, ...]]:
    """As `fetch_all`, for a statement whose text is constant."""
    cursor = _cursor()
    if cursor is None:
        return fetch_all(statement, values)
    cursor.execute(statement, outgoing(values))
    return list(cursor.fetchall())


def execute_often(statement: str, values: Values) -> int:
    """As `execute`, for a statement whose text is constant."""
    cursor = _cursor()
    if cursor is None:
        return execute(statement, values)
    cursor.execute(statement, outgoing(values))
    return int(cursor.rowcount)


def among(ids: Iterable[int]) -> tuple[str, list[str]]:
    """A condition on an id, as SQL, and its values: `id {condition}`."""
    listed = numbers(ids)
    if connection.vendor == "postgresql":
        return "= ANY(%s::bigint[])", [f"{{{listed}}}"]
    return f"IN ({listed})", []


class _Session(threading.local):
    #: The driver's connection of this thread, and one cursor for all statements: to make one costs
    #: as much as to send a small statement.
    session: Any = None
    cursor: Any = None


_session = _Session()


def _cursor() -> Any:
    """A cursor that prepares what it executes. None: statements are not prepared here."""
    if connection.vendor != "postgresql":
        return None
    connection.close_if_health_check_failed()
    if not can_prepare():
        return None
    if connection.connection is not _session.session:
        _session.cursor = _preparing_cursor(connection.connection)
        _session.session = connection.connection
    # As connection.cursor() does it: with Django's errors, wrappers and log of statements.
    return connection._prepare_cursor(_session.cursor)  # type: ignore[attr-defined]


def _preparing_cursor(session: Any) -> Any:
    # Only where PostgreSQL is used is its driver installed.
    from psycopg import Cursor
    from psycopg.types.datetime import TimestamptzLoader

    class Preparing(Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
            return super().execute(query, params, prepare=True)

    # Django has switched it off (None): nothing else is prepared.
    session.prepare_threshold = _NEVER
    cursor = Preparing(session)
    # Django's own is written in Python.
    cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
    return cursor
