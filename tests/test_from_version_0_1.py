"""The tables of version 0.1.0 become ours, with the runs that are in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from scheduler.clock import host_now
from tests.harness.system import System

pytestmark = [pytest.mark.processes, pytest.mark.database]


STARTED, LATER = "2026-01-01 00:00:01", "2099-01-01 00:00:00"
# Not so long ago that it is pruned.
ENDED = f"{host_now() - timedelta(hours=1):%Y-%m-%d %H:%M:%S}"
# What is in a column that differs from its default; of each state that 0.1.0 leaves behind.
LEFT: dict[str, dict[str, Any]] = {
    "waits": {"publish_count": 2, "publish_at": LATER},
    "never sent": {},
    "will be tried again": {"attempt": 1, "failures": 1, "started_at": STARTED},
    "is running": {
        "status": "RUNNING",
        "attempt": 1,
        "started_at": STARTED,
        "publish_at": None,
        "lease_token": "1" * 32,
        "lease_owner": "killed@host:1",
        "lease_expires_at": "2026-01-01 00:01:00",
        "deadline_at": LATER,
        "running_key": 1,
    },
    "has ended": {
        "status": "SUCCESS",
        "attempt": 1,
        "started_at": STARTED,
        "finished_at": ENDED,
        "publish_at": None,
        "final_token": "2" * 32,
    },
    "has failed": {
        "status": "FAILED",
        "attempt": 4,
        "failures": 4,
        "started_at": STARTED,
        "finished_at": ENDED,
        "publish_at": None,
        "final_token": "3" * 32,
        "error_message": "boom",
    },
    "was skipped": {
        "status": "SKIPPED",
        "finished_at": ENDED,
        "publish_at": None,
        "error_message": "the run before was still running",
    },
}
# status, claims, charged failures
AFTERWARDS = {
    "waits": ("SUCCESS", 1, 0),
    "never sent": ("SUCCESS", 1, 0),
    "will be tried again": ("SUCCESS", 2, 1),
    "is running": ("SUCCESS", 2, 1),
    "has ended": ("SUCCESS", 1, 0),
    "has failed": ("FAILED", 4, 4),
    "was skipped": ("SKIPPED", 0, 0),
}


def test_what_version_0_1_left_in_each_state_runs_to_its_end_once(
    system: Callable[..., System],
) -> None:
    jobu = system(
        config={"worker": {"lease_seconds": 3, "heartbeat_seconds": 0.5, "pool": "threads"}}
    )
    jobu.manage("migrate", "scheduler", "0006", "-v0")
    for name, columns in LEFT.items():
        jobu.sql(
            "INSERT INTO cron_jobs (name, cron_expression, handler_name, is_enabled,"
            " retry_backoff_seconds) VALUES (%s, '0 0 1 1 *', 'sample', %s, 0)",
            name,
            False,
        )
        values = {
            "job_name": name,
            "handler_name": "sample",
            "scheduled_time": "2026-01-01 00:00:00",
            "available_at": STARTED,
            **columns,
        }
        jobu.sql(
            f"INSERT INTO job_executions (job_id, {', '.join(values)})"
            f" SELECT id, {', '.join(['%s'] * len(values))} FROM cron_jobs WHERE name = %s",
            *values.values(),
            name,
        )

    jobu.manage("migrate", "-v0")
    jobu.start_beat()
    jobu.start_worker(pool="threads")

    def unfinished() -> list[Any]:
        return jobu.sql("SELECT id FROM job_executions WHERE status IN ('PENDING', 'RUNNING')")

    jobu.wait_until(lambda: not unfinished(), 60, "all of them to end")
    rows = jobu.sql("SELECT job_name, status, attempt, failures FROM job_executions")
    found = {row["job_name"]: (row["status"], row["attempt"], row["failures"]) for row in rows}
    assert found == AFTERWARDS
    assert len(rows) == len(LEFT)
    jobu.sql("DELETE FROM cron_jobs")  # its executions still go with it
    assert jobu.sql("SELECT * FROM job_executions") == []
