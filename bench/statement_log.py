"""Counts statements in a log of PostgreSQL that has `log_statement = all`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_STATEMENT = re.compile(r"LOG: +(?:statement|execute [^:]*): ?(.*)")
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|JOIN)\s+(?:ONLY\s+)?\"?([a-z_]+)\"?", re.IGNORECASE)
#: They have no table of ours.
_BARE = frozenset({"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "SHOW"})


def count_statements(lines: Iterable[str]) -> Counter[str]:
    """By verb and first table, such as `UPDATE job_executions`. A statement may take many lines."""
    counted: Counter[str] = Counter()
    statement: str | None = None
    for line in [*lines, "LOG:  end"]:
        if "LOG: " not in line and "DETAIL: " not in line:
            # The first line may be empty, as that of SQL in triple quotes is.
            statement = None if statement is None else f"{statement} {line.strip()}"
            continue
        if statement and statement.strip():
            counted[kind_of(statement)] += 1
        found = _STATEMENT.search(line)
        statement = found[1] if found else None
    return counted


def kind_of(statement: str) -> str:
    verb = statement.split(None, 1)[0].rstrip(";").upper()
    table = None if verb in _BARE else _TABLE.search(statement)
    return f"{verb} {table[1].lower()}" if table else verb
