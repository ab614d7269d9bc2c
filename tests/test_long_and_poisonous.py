"""Runs that are longer than their lease, runs that kill their worker, and workers that get stop
signals of a shell or a supervisor.
"""

from __future__ import annotations

import json
import signal
from typing import Any

import psutil
import pytest

from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    Ledger,
    assert_every_slot_has_one_row,
    assert_no_attempt_began_twice,
    attempts,
    execution,
    insert_job,
    insert_run,
    stop_scheduling_and_drain,
    wait_until_final,
    wait_until_running,
)
from tests.harness.servers import Redis
from tests.harness.system import System, deep_merge

pytestmark = pytest.mark.processes


@pytest.fixture
def jobu(system: Any, redis_server: Redis, ledger: Ledger) -> System:
    packages = ["ledger_handlers", "misbehaving_handlers"]
    made: System = system(
        broker_url=redis_server.create_database(),
        config=deep_merge(SHORT, {"worker": {"handler_packages": packages}}),
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path)},
    )
    made.migrate()
    return made


def test_a_run_of_several_leases_is_never_rescued(jobu: System, ledger: Ledger) -> None:
    jobu.start_beat()
    lease = SHORT["worker"]["lease_seconds"]
    runs = []
    for pool in ("prefork", "threads"):
        jobu.start_worker(pool=pool, queues=[pool])
        params = json.dumps({"sleep_seconds": 3 * lease})
        runs.append(insert_run(jobu, "ledger", params=params, queue=pool))

    for run in runs:
        row = wait_until_final(jobu, run, 60)
        assert (row["status"], row["attempt"], row["failures"]) == ("SUCCESS", 1, 0)
        assert attempts(jobu, run) == ["SUCCESS"]
    assert_no_attempt_began_twice(ledger)


def test_a_run_that_always_kills_its_worker_ends_after_its_attempts(
    jobu: System, ledger: Ledger
) -> None:
    insert_job(
        jobu,
        "poison",
        handler_name="misbehaves",
        handler_params=json.dumps({"how": "killed"}),
        cron_expression="0 0 1 1 *",
        max_retry=2,
        retry_backoff_seconds=0,
    )
    job = jobu.sql("SELECT id FROM cron_jobs")[0]["id"]
    jobu.start_beat()
    worker = jobu.start_worker()
    poison = insert_run(jobu, "misbehaves", job_id=job, max_retry=2, params='{"how": "killed"}')
    neighbour = insert_run(jobu, "ledger", params=json.dumps({"sleep_seconds": 8}))

    row = wait_until_final(jobu, poison, 100)

    assert (row["status"], row["attempt"]) == ("FAILED", 3)
    assert "worker lost" in row["error_message"]
    assert attempts(jobu, poison) == ["LOST"] * 3
    neighbour_row = wait_until_final(jobu, neighbour, 30)
    assert (neighbour_row["status"], neighbour_row["attempt"]) == ("SUCCESS", 1)
    assert worker.is_alive


ENDINGS = [
    pytest.param((signal.SIGTERM, signal.SIGTERM), id="TERM TERM", marks=pytest.mark.slow),
    pytest.param((signal.SIGTERM, signal.SIGQUIT), id="TERM QUIT", marks=pytest.mark.slow),
    pytest.param((signal.SIGINT, signal.SIGINT), id="INT INT"),
    pytest.param((signal.SIGTERM, signal.SIGKILL), id="TERM KILL"),
]


@pytest.mark.parametrize("signals", ENDINGS)
def test_a_run_ends_after_any_pair_of_stop_signals_to_its_worker(
    jobu: System, ledger: Ledger, signals: tuple[signal.Signals, signal.Signals]
) -> None:
    run = insert_run(jobu, "slow_first_time", max_retry=3)
    jobu.start_beat()
    leaving = jobu.start_worker()
    wait_until_running(jobu, run)

    leaving.send(signals[0])
    leaving.wait_for_log("draining")
    leaving.send(signals[1])

    leaving.wait(40)
    leaving.kill()  # kills also children that survived a SIGKILL to their parent
    jobu.start_worker()
    jobu.wait_until(lambda: execution(jobu, run)["status"] == "PENDING", 60, "it to be given back")
    # Runs without a job wait 30 s before the next attempt. Shorten only that.
    jobu.sql("UPDATE job_executions SET available_at = created_at")
    row = wait_until_final(jobu, run, 60)
    assert (row["status"], row["attempt"]) == ("SUCCESS", 2)
    assert_no_attempt_began_twice(ledger)


def test_worker_that_replaces_its_children_loses_no_run(jobu: System, ledger: Ledger) -> None:
    for number in range(4):
        # On a busy machine a short lease may expire. The run is then rescued, not lost.
        insert_job(
            jobu,
            f"job {number}",
            misfire_grace_seconds=3600,
            max_retry=5,
            retry_backoff_seconds=0,
        )
    jobu.start_beat()
    worker = jobu.start_worker("--max-tasks-per-child=5")
    jobu.wait_until(lambda: ledger.count("end") > 30, 100, "30 runs")
    stop_scheduling_and_drain(jobu, timeout=100)

    assert_every_slot_has_one_row(jobu)
    assert_no_attempt_began_twice(ledger)
    assert jobu.sql("SELECT DISTINCT status FROM job_executions") == [{"status": "SUCCESS"}]
    assert len(ledger.pids()) > 3
    assert worker.is_alive


def test_a_worker_whose_child_does_not_end_is_ended_by_force_within_its_bound(
    jobu: System,
) -> None:
    worker = jobu.start_worker(concurrency=2)
    worker.wait_for_log("ready.")
    (child, *_) = psutil.Process(worker.pid).children()
    child.suspend()  # the pool waits for it for ever

    worker.terminate()

    # shutdown_timeout_seconds + grace_seconds + FORCE_AFTER_SECONDS
    assert worker.wait(2 + 2 + 10 + 15) == 1
    assert "has not ended 14 s after it was told to" in worker.log()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
