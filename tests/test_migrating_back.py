"""Migrations are taken back whole, or refused before anything has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.system import System

pytestmark = [pytest.mark.processes, pytest.mark.database, pytest.mark.timeout(300)]

NEVER = "9999-12-31 00:00:00"
# What is in a run that differs from its default.
WAITING: dict[str, dict[str, Any]] = {
    "FANNED_OUT": {"status": "FANNED_OUT", "shard_count": 1, "attempt": 1},
    "wait for upstream jobs": {"reason_code": "upstream_awaited", "available_at": NEVER},
    "wait for an approval": {"reason_code": "awaits_approval", "available_at": NEVER},
    "are held by a freeze": {"reason_code": "frozen_held", "available_at": NEVER},
    "wait for a place": {"reason_code": "limit_reached", "in_line": 1 << 62},
}
ENDED = "2026-01-01 00:00:00"


def insert(jobu: System, job: int, second: int, **columns: Any) -> None:
    values = {
        "job_id": job,
        "handler_name": "sample",
        "scheduled_time": f"2026-01-01 00:00:{second:02}",
        **columns,
    }
    jobu.sql(
        f"INSERT INTO job_executions ({', '.join(values)})"
        f" VALUES ({', '.join(['%s'] * len(values))})",
        *values.values(),
    )


def applied(jobu: System) -> list[str]:
    rows = jobu.sql("SELECT name FROM django_migrations WHERE app = 'scheduler' ORDER BY name")
    return [row["name"] for row in rows]


def test_rows_that_the_older_version_cannot_hold_stop_the_way_back_before_it_begins(
    system: Callable[..., System],
):
    jobu = system()
    jobu.migrate()
    jobu.sql(
        "INSERT INTO cron_jobs (name, cron_expression, handler_name, is_enabled)"
        " VALUES ('a', '0 0 1 1 *', 'sample', %s)",
        False,
    )
    (job,) = jobu.sql("SELECT id FROM cron_jobs")
    insert(jobu, job["id"], 0, status="SUCCESS", finished_at=ENDED)
    for second, columns in enumerate(WAITING.values(), start=1):
        insert(jobu, job["id"], second, **columns)
    (parent,) = jobu.sql("SELECT id FROM job_executions WHERE status = 'FANNED_OUT'")
    shard = {"parent_id": parent["id"], "shard": 0, "shard_count": 1}
    insert(jobu, job["id"], 20, **shard, status="SUCCESS", finished_at=ENDED)
    jobu.sql("UPDATE job_executions SET job_id = NULL WHERE parent_id IS NOT NULL")
    before, rows = applied(jobu), jobu.sql("SELECT * FROM job_executions ORDER BY id")

    with pytest.raises(AssertionError) as refused:
        jobu.manage("migrate", "scheduler", "0033", "-v0")

    said = str(refused.value)
    assert "Nothing was changed" in said
    assert "Traceback" not in said
    for what in (*WAITING, "runs are shards", "a reason that the older version does not know"):
        assert what in said
    assert applied(jobu) == before
    assert jobu.sql("SELECT * FROM job_executions ORDER BY id") == rows

    # As it says: what waits is cancelled, shards are deleted, reasons are forgotten.
    jobu.sql("DELETE FROM job_executions WHERE parent_id IS NOT NULL")
    jobu.sql(
        "UPDATE job_executions SET status = 'CANCELLED', finished_at = %s, in_line = NULL,"
        " available_at = %s WHERE finished_at IS NULL",
        ENDED,
        ENDED,
    )
    jobu.sql("UPDATE job_executions SET reason_code = NULL, reason_facts = NULL")
    jobu.manage("migrate", "scheduler", "0033", "-v0", timeout=200)
    assert applied(jobu)[-1] == "0033_fewer_indexes"
    left = "SELECT id, status FROM job_executions ORDER BY id"
    older = jobu.sql(left)
    assert len(older) == len(rows) - 1

    # And forward again, with all that belongs to the tables.
    jobu.manage("migrate", "-v0", timeout=200)
    assert applied(jobu) == before
    assert jobu.sql(left) == older
    insert(jobu, job["id"], 30, status="FANNED_OUT", shard_count=1, attempt=1)
    (parent,) = jobu.sql("SELECT id FROM job_executions WHERE status = 'FANNED_OUT'")
    jobu.sql(
        "INSERT INTO job_executions (handler_name, scheduled_time, parent_id, shard)"
        " VALUES ('sample', %s, %s, 0)",
        ENDED,
        parent["id"],
    )
    jobu.sql("DELETE FROM job_executions WHERE id = %s", parent["id"])
    assert jobu.sql(left) == older
    jobu.sql("DELETE FROM cron_jobs")
    assert jobu.sql(left) == []
