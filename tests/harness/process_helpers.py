"""Helpers of the tests with real beats and workers: short times, a ledger, queries."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.harness.system import System

HANDLERS = Path(__file__).parent / "process_handlers"
FINAL = ("SUCCESS", "FAILED", "TIMEOUT", "CANCELLED", "SKIPPED")

# The settings of production with shorter times, so that a rescue takes seconds.
SHORT: dict[str, dict[str, Any]] = {
    "scheduler": {
        "min_cron_interval_seconds": 1,
        "poll_interval_seconds": 0.5,
        "sweep_interval_seconds": 1,
    },
    "worker": {
        "handler_packages": ["ledger_handlers"],
        "lease_seconds": 4,
        "heartbeat_seconds": 1,
        "cancel_poll_seconds": 0.5,
        "grace_seconds": 2,
        "shutdown_timeout_seconds": 2,
    },
}
# From the fault until the run starts again: lease + sweep + back-off, and the time that a loaded
# two-core machine takes to start processes.
RESCUE_BOUND_SECONDS = 4 + 1 + 2 + 40


class Ledger:
    """The events that the handlers have recorded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._run(
            "CREATE TABLE ledger (id INTEGER PRIMARY KEY, execution_id INTEGER, attempt INTEGER,"
            " token TEXT, what TEXT, pid INTEGER)"
        )

    def _run(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    def count(self, what: str) -> int:
        return int(self._run(f"SELECT count(*) FROM ledger WHERE what = '{what}'")[0][0])

    def pids(self) -> set[int]:
        """Returns the pids of the processes that have run a handler."""
        return {pid for (pid,) in self._run("SELECT DISTINCT pid FROM ledger")}

    def begun(self) -> Counter[tuple[int, int]]:
        """Returns how often each (execution, attempt) began. More than 1 is a broken promise."""
        rows = self._run("SELECT execution_id, attempt FROM ledger WHERE what = 'begin'")
        return Counter((execution, attempt) for execution, attempt in rows)


def insert_job(jobu: System, name: str, **columns: Any) -> None:
    """Inserts a job as a user does with an SQL client."""
    values = {"cron_expression": "* * * * * *", "handler_name": "ledger", **columns, "name": name}
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    jobu.sql(f"INSERT INTO cron_jobs ({names}) VALUES ({marks})", *values.values())


def insert_run(jobu: System, handler: str, **columns: Any) -> int:
    """Inserts an execution without a slot, as an event does. Returns its id."""
    values = {
        "handler_name": handler,
        "scheduled_time": "2026-01-01 00:00:00.000001",
        "param_source": "event",
        **columns,
    }
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    jobu.sql(f"INSERT INTO job_executions ({names}) VALUES ({marks})", *values.values())
    return int(jobu.sql("SELECT max(id) AS id FROM job_executions")[0]["id"])


def execution(jobu: System, execution_id: int) -> dict[str, Any]:
    return jobu.sql("SELECT * FROM job_executions WHERE id = %s", execution_id)[0]


def attempts(jobu: System, execution_id: int) -> list[str]:
    """Returns the outcomes of the ended attempts, in order."""
    rows = jobu.sql(
        "SELECT outcome FROM job_attempts WHERE execution_id = %s ORDER BY attempt", execution_id
    )
    return [row["outcome"] for row in rows]


def wait_until_running(jobu: System, execution_id: int) -> None:
    jobu.wait_until(
        lambda: execution(jobu, execution_id)["status"] == "RUNNING", 40, "the run to begin"
    )


def wait_until_final(jobu: System, execution_id: int, timeout: float) -> dict[str, Any]:
    jobu.wait_until(
        lambda: execution(jobu, execution_id)["status"] in FINAL, timeout, "a final state"
    )
    return execution(jobu, execution_id)


def stop_scheduling_and_drain(jobu: System, timeout: float) -> None:
    jobu.sql("UPDATE cron_jobs SET is_enabled = %s", False)
    jobu.wait_until(
        lambda: (
            jobu.sql(
                "SELECT count(*) AS n FROM job_executions WHERE status IN ('PENDING', 'RUNNING')"
            )[0]["n"]
            == 0
        ),
        timeout,
        "all executions to end",
    )


def assert_every_slot_has_one_row(jobu: System) -> int:
    """Asserts that each job has one row per second from its first row to its watermark.

    Returns the number of rows.
    """
    watermarks = {
        row["id"]: instant(row["next_run_at"])
        for row in jobu.sql("SELECT id, next_run_at FROM cron_jobs")
    }
    slots: dict[int, list[datetime]] = {}
    for row in jobu.sql("SELECT job_id, scheduled_time FROM job_executions"):
        slots.setdefault(row["job_id"], []).append(instant(row["scheduled_time"]))
    assert slots.keys() == watermarks.keys()
    for job_id, found in slots.items():
        first = min(found)
        seconds = round((watermarks[job_id] - first).total_seconds())
        expected = [first + timedelta(seconds=n) for n in range(seconds)]
        assert sorted(found) == expected, f"job {job_id}"
    return sum(map(len, slots.values()))


def instant(value: Any) -> datetime:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(found, datetime)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def assert_no_attempt_began_twice(ledger: Ledger) -> None:
    assert [key for key, times in ledger.begun().items() if times > 1] == []


def slots_recorded(jobu: System) -> int:
    return int(jobu.sql("SELECT count(*) AS n FROM job_executions")[0]["n"])
