"""Statements that PostgreSQL keeps planned for a session.

Django binds parameters in the client, so that each statement is a new one to the server, which
parses and plans it. For a long statement that costs more than to execute it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

from django.db import connection

from scheduler.limits import plan_by_indexes


class Prepared:
    """A statement of which each session prepares its own.

    `types`: the names of its parameters, as `:name` in the statement, with their types.
    """

    def __init__(self, name: str, types: Mapping[str, str], statement: str) -> None:
        self.name = name
        self.parameters = tuple(types)
        numbers = {parameter: f"${number}" for number, parameter in enumerate(types, 1)}
        numbered = _PARAMETER.sub(lambda found: numbers[found[1]], statement)
        self.prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {numbered}"
        self.execute = f"EXECUTE {name} ({', '.join(['%s'] * len(types))})"


_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


class _Sessions(threading.local):
    #: The driver's connection of this thread that has prepared these.
    session: Any = None
    names: frozenset[str] = frozenset()


_sessions = _Sessions()


def execute_prepared(statement: Prepared, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run it with the value of each parameter. Returns all rows as the driver returns them.

    For a connection with limits (limits.py), so that no code of a shop uses it meanwhile.
    """
    with connection.cursor() as cursor:
        # Before the statement is planned: the table may still be small.
        plan_by_indexes()
        if connection.connection is not _sessions.session:
            _sessions.session, _sessions.names = connection.connection, frozenset()
        if statement.name not in _sessions.names:
            cursor.execute(statement.prepare)
            _sessions.names |= {statement.name}
        cursor.execute(statement.execute, [values[name] for name in statement.parameters])
        return list(cursor.fetchall())
