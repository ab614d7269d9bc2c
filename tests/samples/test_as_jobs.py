"""Every sample as a job: a real beat, a real worker, real databases, results in job_executions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.system import System
from tests.samples.servers import as_handler_user

pytestmark = pytest.mark.processes

CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {"min_cron_interval_seconds": 1, "poll_interval_seconds": 0.5},
    "worker": {"cancel_poll_seconds": 0.5, "shutdown_timeout_seconds": 2},
}
CREATE = {"action": "create", "name": "apple", "value": "red"}
# Both names of each sample, its params, and what its result must contain.
SAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sample1": (CREATE, {"action": "create", "count": 1}),
    "sqlite_crud": ({}, {"action": "read"}),
    "sample2": (CREATE, {"action": "create", "count": 1}),
    "postgres_crud": ({}, {"action": "read"}),
    "sample3": ({}, {"from": "sqlite_2", "to": "postgres_1"}),
    "sync_sqlite_to_postgres": ({}, {"from": "sqlite_2", "to": "postgres_1"}),
    "sample4": (CREATE, {"action": "create", "count": 1}),
    "mysql_crud": ({}, {"action": "read"}),
    "sample5": ({}, {"from": "postgres_1", "to": "mysql_1"}),
    "sync_postgres_to_mysql": ({}, {"from": "postgres_1", "to": "mysql_1"}),
    "sample6": ({}, {"action": "report"}),
    "multi_db_report": ({}, {"action": "report"}),
    "sample7": (CREATE, {"action": "create", "count": 1}),
    "service_layer": ({}, {"action": "read"}),
    "sample8": ({"everywhere": True}, {"action": "work", "count": 9}),
    "do_work_pattern": ({}, {"action": "work", "count": 3}),
    "sample9": ({}, {"mode": "concurrent"}),
    "concurrent_queries": ({"action": "sequential"}, {"mode": "sequential"}),
    "sample": ({"message": "hello"}, {"action": "sample", "data": {"message": "hello"}}),
}


def insert_job(jobu: System, handler: str, params: dict[str, Any]) -> None:
    """Insert a job that runs every two seconds, as with an SQL client."""
    values = {
        "name": f"job of {handler}",
        "cron_expression": "*/2 * * * * *",
        "handler_name": handler,
        "handler_params": json.dumps(params),
        "max_retry": 0,
        "overlap_policy": "skip",
    }
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    jobu.sql(f"INSERT INTO cron_jobs ({names}) VALUES ({marks})", *values.values())


def ended(jobu: System) -> dict[str, dict[str, Any]]:
    """Returns the first finished execution of each handler."""
    rows = jobu.sql(
        "SELECT handler_name, status, result, error_message FROM job_executions"
        " WHERE finished_at IS NOT NULL AND status <> 'SKIPPED' ORDER BY id DESC"
    )
    return {row["handler_name"]: row for row in rows}


def test_every_sample_runs_as_a_job(
    system: Callable[..., System], postgres_url: str, mysql_url: str
):
    jobu = system(
        config=CONFIG,
        environment={
            "JOBU_POSTGRES_1_URL": as_handler_user(postgres_url),
            "JOBU_MYSQL_1_URL": as_handler_user(mysql_url),
        },
    )
    jobu.migrate()
    for handler, (params, _) in SAMPLES.items():
        insert_job(jobu, handler, params)

    jobu.start_worker(pool="threads", concurrency=8)
    jobu.start_beat()

    jobu.wait_until(lambda: len(ended(jobu)) == len(SAMPLES), 90, "a run of each sample")
    for handler, row in ended(jobu).items():
        assert row["status"] == "SUCCESS", f"{handler}: {row['error_message']}"
        result = row["result"]
        result = json.loads(result) if isinstance(result, str) else result
        assert result.items() >= SAMPLES[handler][1].items(), handler
    jobu.sql("DELETE FROM cron_jobs")


def test_a_sample_without_its_server_fails_once_and_says_what_to_do(
    system: Callable[..., System],
):
    jobu = system(config=CONFIG)
    jobu.migrate()
    insert_job(jobu, "sample3", {})
    jobu.sql("UPDATE cron_jobs SET max_retry = 3")

    jobu.start_worker(pool="prefork", concurrency=1)
    jobu.start_beat()

    row = jobu.wait_until(lambda: ended(jobu).get("sample3"), 60, "a run of sample3")
    assert row is not None
    assert row["status"] == "FAILED"
    assert "'postgres_1' is not configured" in row["error_message"]
    assert "JOBU_POSTGRES_1_URL" in row["error_message"]
    (tries,) = jobu.sql(
        "SELECT max(attempt) AS tries FROM job_attempts WHERE execution_id ="
        " (SELECT min(id) FROM job_executions WHERE status = 'FAILED')"
    )
    assert tries["tries"] == 1
