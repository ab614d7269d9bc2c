"""The tables of version 0.1.0 become ours, with the runs that wait in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness.system import System

pytestmark = [pytest.mark.processes, pytest.mark.database]


def test_runs_that_waited_for_a_message_wait_for_a_worker(system: Callable[..., System]) -> None:
    jobu = system()
    jobu.manage("migrate", "scheduler", "0016", "-v0")
    jobu.sql("INSERT INTO cron_jobs (name, cron_expression, handler_name) VALUES ('a', '', 'b')")
    (job,) = jobu.sql("SELECT id FROM cron_jobs")
    for status, publish_at, finished_at in (
        ("PENDING", "2099-01-01 00:00:00", None),
        ("SUCCESS", None, "2026-01-01 00:00:00"),
    ):
        jobu.sql(
            "INSERT INTO job_executions (job_id, handler_name, scheduled_time, status,"
            " available_at, publish_at, publish_count, finished_at)"
            " VALUES (%s, 'b', %s, %s, '2026-01-01 00:00:00', %s, 3, %s)",
            job["id"],
            f"2026-01-01 00:00:0{int(finished_at is None)}",
            status,
            publish_at,
            finished_at,
        )

    jobu.manage("migrate", "-v0")

    rows = jobu.sql("SELECT * FROM job_executions ORDER BY id")
    assert [row["status"] for row in rows] == ["PENDING", "SUCCESS"]
    assert str(rows[0]["available_at"]).startswith("2026-01-01 00:00:00")
    assert "publish_at" not in rows[0]
    jobu.sql("DELETE FROM cron_jobs")  # its executions still go with it
    assert jobu.sql("SELECT * FROM job_executions") == []
