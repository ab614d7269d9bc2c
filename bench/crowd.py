"""Fills a private job database with many rows, each a copy of one that jobu has made itself.

The database multiplies the row with all its columns, so nothing here knows which columns a version
has, and a million rows take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.asking import Asking
from tests.harness.system import System
from tests.harness.waiting import wait_until

_PART = 100_000


def planned_job(
    jobu: System, ask: Asking, *, name: str, expression: str, handler: str, **columns: Any
) -> int:
    """Inserts a job and returns its id when beat, which must run, has planned it."""
    values = {"cron_expression": expression, "handler_name": handler, "timezone": "UTC", **columns}
    jobu.sql(
        f"INSERT INTO cron_jobs (name, {', '.join(values)}) VALUES (%s{', %s' * len(values)})",
        name,
        *values.values(),
    )
    number = int(ask.one("SELECT id FROM cron_jobs WHERE name = %s", name))
    wait_until(
        lambda: ask.one("SELECT next_run_at FROM cron_jobs WHERE id = %s", number),
        30,
        "beat to plan a job",
        details=jobu.logs,
    )
    return number


def multiply(
    ask: Asking, table: str, row_id: int, copies: int, expressions: Mapping[str, str]
) -> None:
    """Adds so many copies of a row. `expressions`: columns that differ, as SQL of the number `n`.

    `n` runs from 1.
    """
    columns = [name for name in _columns(ask, table) if name != "id"]
    unknown = set(expressions) - set(columns)
    if unknown:
        raise ValueError(f"{table} has no column {', '.join(sorted(unknown))}")
    chosen = ", ".join(expressions.get(name, f"t.{name}") for name in columns)
    ask.rows("CREATE TABLE bench_digits (d INTEGER)")
    ask.rows(f"INSERT INTO bench_digits VALUES {', '.join(f'({d})' for d in range(10))}")
    try:
        for first in range(0, copies, _PART):
            last = min(first + _PART, copies)
            ask.rows(
                f"INSERT INTO {table} ({', '.join(columns)})"
                f" SELECT {chosen} FROM {table} t CROSS JOIN {_numbers(first, last)}"
                f" WHERE t.id = {int(row_id)}"
            )
    finally:
        ask.rows("DROP TABLE bench_digits")
    refresh_statistics(ask)


def text_with_number(ask: Asking, text: str) -> str:
    """An SQL expression: the text followed by the number of the copy."""
    if ask.vendor == "mysql":
        return f"CONCAT('{text}', n)"
    return f"'{text}' || CAST(n AS varchar(12))"


def refresh_statistics(ask: Asking) -> None:
    """As a database does by itself within minutes."""
    tables = ("cron_jobs", "job_executions")
    if ask.vendor == "postgresql":
        ask.rows(f"VACUUM (ANALYZE) {', '.join(tables)}")
    elif ask.vendor == "mysql":
        ask.rows(f"ANALYZE TABLE {', '.join(tables)}")
    else:
        ask.rows("ANALYZE")


def _columns(ask: Asking, table: str) -> list[str]:
    if ask.vendor == "sqlite":
        return [row[1] for row in ask.rows(f"PRAGMA table_info({table})")]
    schema = "database()" if ask.vendor == "mysql" else "current_schema()"
    found = ask.rows(
        "SELECT column_name FROM information_schema.columns"
        f" WHERE table_schema = {schema} AND table_name = %s ORDER BY ordinal_position",
        table,
    )
    return [row[0] for row in found]


def _numbers(first: int, last: int) -> str:
    """A derived table whose column n holds the numbers from `first` + 1 to `last`."""
    places = range(5)
    number = " + ".join(f"{10**place} * d{place}.d" for place in places)
    tables = ", ".join(f"bench_digits d{place}" for place in places)
    return (
        f"(SELECT {first} + c + 1 AS n FROM (SELECT {number} AS c FROM {tables}) counted"
        f" WHERE c < {last - first}) numbered"
    )
