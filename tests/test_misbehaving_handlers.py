"""Misbehaving handlers in real workers: the run ends with a helpful message, and other runs are not
affected.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    insert_run,
    wait_until_final,
    wait_until_running,
)
from tests.harness.servers import Redis
from tests.harness.system import System, deep_merge

pytestmark = pytest.mark.processes

# By name of the misbehaviour: the status, and a text of the error or result.
OUTCOMES: dict[str, tuple[str, str]] = {
    "Exception": ("FAILED", "an ordinary failure"),
    "BaseException": ("FAILED", "BaseException: not an Exception"),
    "SystemExit": ("FAILED", "SystemExit"),
    "KeyboardInterrupt": ("FAILED", "KeyboardInterrupt"),
    "GeneratorExit": ("FAILED", "GeneratorExit"),
    "CancelledError": ("FAILED", "Cancelled"),
    "RecursionError": ("FAILED", "RecursionError"),
    "MemoryError": ("FAILED", "MemoryError"),
    "ExceptionGroup": ("FAILED", "ExceptionGroup"),
    "unprintable": ("FAILED", "Unprintable"),
    "long message": ("FAILED", "ValueError: xxx"),
    "object": ("FAILED", "found"),
    "50 MB": ("SUCCESS", "larger than 65536 bytes"),
    "NUL": ("SUCCESS", "a"),
    "NaN": ("SUCCESS", "NaN"),
    "surrogate": ("SUCCESS", "a"),
    "deep": ("SUCCESS", "deeper than"),
}
# These end their whole process.
DEADLY = {
    "exit code 0": ("FAILED", "worker lost"),
    "killed": ("FAILED", "worker lost"),
}


@pytest.fixture
def jobu(system: Any, redis_server: Redis) -> System:
    packages = ["misbehaving_handlers", "handlers.samples"]
    config = deep_merge(SHORT, {"worker": {"handler_packages": packages}})
    started: System = system(
        broker_url=redis_server.create_database(), config=config, handler_paths=(HANDLERS,)
    )
    started.migrate()
    return started


def misbehave(jobu: System, how: str, **columns: Any) -> int:
    params = json.dumps({"how": how})
    return insert_run(jobu, "misbehaves", params=params, max_retry=0, **columns)


def assert_ended(jobu: System, runs: dict[str, int], expected: dict[str, tuple[str, str]]) -> None:
    for how, run in runs.items():
        row = wait_until_final(jobu, run, 60)
        texts = f"{row['error_message']} {row['result']}"
        assert row["status"] == expected[how][0], (how, texts[:500])
        assert expected[how][1].lower() in texts.lower(), (how, texts[:500])
        assert len(texts) < 150_000, how


def run_neighbours(jobu: System, count: int = 5) -> list[int]:
    return [insert_run(jobu, "sample", max_retry=0) for _ in range(count)]


def assert_unharmed(jobu: System, neighbours: list[int]) -> None:
    for run in neighbours:
        row = wait_until_final(jobu, run, 60)
        assert (row["status"], row["attempt"]) == ("SUCCESS", 1), row["error_message"]


# The databases differ in what they refuse to store, and that is the same in both pools.
@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.database)])
def test_run_of_a_misbehaving_handler_ends_and_other_runs_continue(jobu: System, pool: str) -> None:
    expected = OUTCOMES if pool == "threads" else OUTCOMES | DEADLY
    jobu.start_beat()
    worker = jobu.start_worker(pool=pool, concurrency=2)
    worker.wait_for_log("ready.", 60)
    runs = {how: misbehave(jobu, how) for how in expected}
    neighbours = run_neighbours(jobu)

    assert_ended(jobu, runs, expected)
    assert_unharmed(jobu, neighbours)

    assert worker.is_alive
    assert_unharmed(jobu, run_neighbours(jobu, 2))


@pytest.mark.parametrize(
    ("handler", "params", "exit_code", "in_log"),
    [
        ("misbehaves", {"how": "exit code 0"}, 0, ""),
        # No Python of the process runs any more. Its stack names the run.
        ("holds_the_gil", {"letters": 40}, 1, "in execution_{id}"),
    ],
    ids=["exits", "holds the GIL"],
)
def test_handler_that_ends_a_shared_process_costs_the_other_runs_nothing(
    jobu: System, handler: str, params: dict[str, Any], exit_code: int, in_log: str
) -> None:
    jobu.start_beat()
    worker = jobu.start_worker(pool="threads", concurrency=4)
    slow = insert_run(jobu, "sample", params=json.dumps({"sleep_seconds": 3}), max_retry=0)
    wait_until_running(jobu, slow)
    deadly = insert_run(jobu, handler, params=json.dumps(params), max_retry=0, timeout_seconds=2)

    assert worker.wait(60) == exit_code
    assert in_log.format(id=deadly) in worker.log()

    def is_rescued(run: int) -> bool:
        row = jobu.sql("SELECT status FROM job_executions WHERE id = %s", run)[0]
        return bool(row["status"] != "RUNNING")

    jobu.wait_until(lambda: is_rescued(slow) and is_rescued(deadly), 60, "the rescue of both")
    lost = jobu.sql("SELECT outcome FROM job_attempts WHERE execution_id = %s", slow)
    assert [row["outcome"] for row in lost] == ["LOST"]
    jobu.sql("DELETE FROM job_executions WHERE id = %s", deadly)
    # Runs without a job wait 30 s before the next attempt. Shorten only that.
    jobu.sql("UPDATE job_executions SET available_at = created_at")
    jobu.start_worker(pool="threads")
    row = wait_until_final(jobu, slow, 60)
    assert (row["status"], row["attempt"], row["failures"]) == ("SUCCESS", 2, 0)


@pytest.mark.parametrize("lines", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_log_of_a_handler_that_logs_endlessly_is_limited(jobu: System, lines: int) -> None:
    jobu.start_beat()
    jobu.start_worker()
    talker = insert_run(jobu, "talks_much", params=json.dumps({"lines": lines}), max_retry=0)
    neighbours = run_neighbours(jobu)

    row = wait_until_final(jobu, talker, 300)
    assert row["status"] == "SUCCESS"

    def kept() -> int:
        rows = jobu.sql("SELECT count(*) AS n FROM job_logs WHERE execution_id = %s", talker)
        return int(rows[0]["n"])

    # The thread that renews leases may still save some lines after the outcome is written.
    jobu.wait_until(kept, 20, "the lines")
    assert kept() <= 1100
    assert_unharmed(jobu, neighbours)


def test_changes_of_a_handler_to_its_process_do_not_affect_the_next_run(jobu: System) -> None:
    jobu.start_beat()
    worker = jobu.start_worker(concurrency=1)
    untidy = insert_run(jobu, "leaves_things_behind", max_retry=0)

    assert wait_until_final(jobu, untidy, 60)["status"] == "SUCCESS"
    assert_unharmed(jobu, run_neighbours(jobu, 3))
    assert worker.is_alive


def test_a_handler_that_holds_the_gil_past_its_lease_is_declared_lost(jobu: System) -> None:
    jobu.start_beat()
    jobu.start_worker(concurrency=2)
    greedy = insert_run(
        jobu, "holds_the_gil", params=json.dumps({"letters": 29}), max_retry=0, timeout_seconds=2
    )
    wait_until_running(jobu, greedy)
    neighbours = run_neighbours(jobu)

    row = wait_until_final(jobu, greedy, 60)
    assert row["status"] in ("FAILED", "TIMEOUT")
    assert "worker lost" in row["error_message"] or "timed out" in row["error_message"]
    assert_unharmed(jobu, neighbours)
