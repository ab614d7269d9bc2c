"""The limit: claim and finish on our own tables, in groups, and nothing else, in one process.

What a worker could reach if Python, Celery and the handlers cost nothing. Each group is locked,
written as RUNNING and committed; then fenced, written as SUCCESS with its attempts and committed.
On PostgreSQL also the bytes of WAL of one run.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from bench.environment import DATABASES, private_jobu
from bench.processes import run_python
from bench.rows import Row, emit

GROUPS = (1, 10, 50, 200)
_ROWS_PER_INSERT = 500
_LEASE_SECONDS = 60


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench limit", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--rows", type=int, default=2000, help="for each size of a group")
    parser.add_argument("--group", type=int, action="append", help=f"default: {GROUPS}")
    options = parser.parse_args(argv)
    with private_jobu(options.database):
        emit(_rows(options.database, options.rows, options.group or GROUPS))
    return 0


def limit_of(database: str, *, rows: int, group: int) -> float | None:
    """The same in a process of its own: Django has one database per process."""
    command = ["-m", "bench", "limit", "--database", database]
    output = run_python([*command, "--rows", str(rows), "--group", str(group)], {})
    rate = json.loads(output.splitlines()[0])["ours"]
    return None if rate is None else float(rate)


def _rows(database: str, count: int, groups: Sequence[int]) -> Iterator[Row]:
    table = _Table()
    for group in groups:
        table.fill(count if group > 1 else min(count, 500))
        before = table.wal_position()
        begun, cpu = time.perf_counter(), time.process_time()
        done = 0
        while claimed := table.claim(group):
            table.finish(claimed)
            done += len(claimed)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        wal = table.wal_position()
        yield Row(
            row=f"limit: claim and finish in groups of {group}",
            database=database,
            unit="runs a second",
            ours=done / seconds,
            more={"cpu_us": round(1e6 * cpu / done)},
        )
        if before is not None and wal is not None:
            yield Row(
                row=f"WAL of claim and finish in groups of {group}",
                database=database,
                unit="bytes a run",
                ours=(wal - before) / done,
                less_is_better=True,
            )


Claimed = list[tuple[int, int]]  # (id, attempt)


class _Table:
    """The statements, through Django's cursor, on job_executions and job_attempts."""

    def __init__(self) -> None:
        from django.db import connection

        self._connection = connection
        self._vendor = connection.vendor
        self._claim_id = ""
        only_pending = "" if self._vendor == "mysql" else " WHERE status = 'PENDING'"
        self._execute(
            f"CREATE INDEX bench_ready ON job_executions (status, available_at, id){only_pending}"
        )

    def fill(self, count: int) -> None:
        for begin in range(0, count, _ROWS_PER_INSERT):
            numbers = range(begin, min(begin + _ROWS_PER_INSERT, count))
            self._execute(
                "INSERT INTO job_executions (handler_name, scheduled_time, param_source) VALUES "
                + ", ".join(["('bench_nothing', %s, 'event')"] * len(numbers)),
                [f"2026-01-01 00:00:00.{number:06d}" for number in numbers],
            )
        statement = "ANALYZE TABLE" if self._vendor == "mysql" else "ANALYZE"
        self._execute(f"{statement} job_executions")

    def claim(self, group: int) -> Claimed:
        """At most so many runs begin. One transaction."""
        from django.db import transaction

        self._claim_id = uuid.uuid4().hex[:12]
        lock = {"postgresql": "FOR NO KEY UPDATE SKIP LOCKED", "mysql": "FOR UPDATE SKIP LOCKED"}
        now = self._instant(0)
        with transaction.atomic():
            found = self._execute(
                "SELECT id, attempt FROM job_executions WHERE status = 'PENDING'"
                " AND available_at <= %s ORDER BY available_at, id LIMIT %s "
                + lock.get(self._vendor, ""),
                [self._instant(1), group],
            )
            if found:
                self._execute(
                    "UPDATE job_executions SET status = 'RUNNING', attempt = attempt + 1,"
                    f" lease_token = {self._token()}, lease_owner = 'bench', started_at = %s,"
                    f" lease_expires_at = %s, deadline_at = %s WHERE id IN ({_marks(found)})",
                    [self._claim_id, now, *[self._instant(_LEASE_SECONDS)] * 2]
                    + [number for number, _ in found],
                )
        return found

    def finish(self, claimed: Claimed) -> None:
        """They end under their tokens. One transaction."""
        from django.db import transaction

        now = self._instant(0)
        tokens = [(number, f"{self._claim_id}-{number}") for number, _ in claimed]
        with transaction.atomic():
            held = self._execute(
                "SELECT id, lease_token FROM job_executions"
                + (" FORCE INDEX (PRIMARY)" if self._vendor == "mysql" else "")
                + f" WHERE id IN ({_marks(claimed)}) AND status = 'RUNNING' ORDER BY id"
                + {"postgresql": " FOR NO KEY UPDATE", "mysql": " FOR UPDATE"}.get(
                    self._vendor, ""
                ),
                [number for number, _ in claimed],
            )
            ours = set(tokens) & set(held)
            assert len(ours) == len(claimed)
            self._execute(
                "UPDATE job_executions SET status = 'SUCCESS', finished_at = %s, result = '{}',"
                " final_token = lease_token, lease_token = NULL, lease_expires_at = NULL,"
                f" deadline_at = NULL WHERE id IN ({_marks(claimed)})",
                [now, *[number for number, _ in claimed]],
            )
            self._execute(
                "INSERT INTO job_attempts (execution_id, attempt, lease_token, worker, started_at,"
                " ended_at, outcome, error, traceback) VALUES "
                + ", ".join(["(%s, %s, %s, 'bench', %s, %s, 'SUCCESS', '', '')"] * len(claimed)),
                [
                    value
                    for (number, attempt), (_, token) in zip(claimed, tokens, strict=True)
                    for value in (number, attempt + 1, token, now, now)
                ],
            )

    def wal_position(self) -> int | None:
        if self._vendor != "postgresql":
            return None
        return int(self._execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0])

    def _token(self) -> str:
        return "CONCAT(%s, '-', id)" if self._vendor == "mysql" else "%s || '-' || id"

    def _instant(self, seconds: float) -> Any:
        from datetime import UTC, datetime, timedelta

        instant = datetime.now(UTC) + timedelta(seconds=seconds)
        return instant if self._vendor == "postgresql" else instant.replace(tzinfo=None)

    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []


def _marks(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))
