"""Tests the promises of the README with real beats, workers, brokers and databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import psutil
import pytest
import redis

from tests.harness.process_helpers import (
    RESCUE_BOUND_SECONDS,
    Ledger,
    assert_every_slot_has_one_row,
    assert_no_attempt_began_twice,
    attempts,
    execution,
    insert_job,
    insert_run,
    slots_recorded,
    stop_scheduling_and_drain,
    wait_until_final,
    wait_until_running,
)
from tests.harness.servers import Redis
from tests.harness.system import Part, System

pytestmark = pytest.mark.processes
# Tests that depend on the database run on each database. The others, about processes and signals,
# run once.
on_each_database = pytest.mark.database


@on_each_database
@pytest.mark.parametrize(
    ("jobs", "seconds"), [(60, 5), pytest.param(200, 60, marks=pytest.mark.slow)]
)
def test_two_beats_and_two_workers_run_every_slot_exactly_once(
    jobu: System, ledger: Ledger, jobs: int, seconds: int
) -> None:
    for number in range(jobs):
        # Slots that are late on a busy machine must not count as missed.
        insert_job(jobu, f"job {number}", misfire_grace_seconds=3600)
    parts = [jobu.start_beat(), jobu.start_beat(), *(jobu.start_worker() for _ in range(2))]

    jobu.wait_until(lambda: ledger.count("begin") > 0, 60, "the first run")
    jobu.wait_until(
        lambda: slots_recorded(jobu) >= jobs * seconds, 60 + 2 * seconds, f"{seconds} s of slots"
    )
    stop_scheduling_and_drain(jobu, timeout=180 + 4 * seconds)

    slots = assert_every_slot_has_one_row(jobu)
    assert slots >= jobs * seconds
    assert_no_attempt_began_twice(ledger)
    assert jobu.sql("SELECT DISTINCT status, attempt FROM job_executions") == [
        {"status": "SUCCESS", "attempt": 1}
    ]
    assert len(ledger.begun()) == slots
    assert all(part.is_alive for part in parts), jobu.logs()


@on_each_database
def test_beat_killed_between_commit_and_wake_up_loses_no_slot(
    jobu: System, ledger: Ledger, redis_server: Redis
) -> None:
    insert_job(jobu, "every second", misfire_grace_seconds=3600)
    jobu.start_worker()
    beat = jobu.start_beat()
    jobu.wait_until(lambda: ledger.count("end") > 0, 60, "the first run")

    # Freeze the broker, so that beat waits between the commit and the wake-up.
    redis_server.freeze()
    newest = jobu.sql("SELECT max(id) AS id FROM job_executions")[0]["id"]
    jobu.wait_until(
        lambda: jobu.sql("SELECT id FROM job_executions WHERE id > %s", newest),
        30,
        "a slot that is committed while nobody can be woken",
    )
    beat.kill()
    redis_server.thaw()
    jobu.start_beat()
    after = ledger.count("end")

    jobu.wait_until(lambda: ledger.count("end") > after + 2, 60, "runs after the crash")
    stop_scheduling_and_drain(jobu, timeout=60)
    assert_every_slot_has_one_row(jobu)
    assert_no_attempt_began_twice(ledger)
    assert jobu.sql("SELECT DISTINCT status FROM job_executions") == [{"status": "SUCCESS"}]


@on_each_database
def test_run_of_a_killed_worker_starts_again_within_the_lease_time(
    jobu: System, ledger: Ledger
) -> None:
    run = insert_run(jobu, "slow_first_time")
    jobu.start_beat()
    doomed = jobu.start_worker()
    jobu.wait_until(lambda: ledger.count("begin") == 1, 60, "the run to begin")

    doomed.kill()
    jobu.start_worker()
    jobu.wait_until(
        lambda: execution(jobu, run)["status"] == "PENDING", RESCUE_BOUND_SECONDS, "the rescue"
    )
    # Runs without a job wait 30 s before the next attempt. Shorten only that.
    jobu.sql("UPDATE job_executions SET available_at = created_at")

    row = wait_until_final(jobu, run, RESCUE_BOUND_SECONDS)
    assert (row["status"], row["attempt"], row["failures"]) == ("SUCCESS", 2, 1)
    assert attempts(jobu, run) == ["LOST", "SUCCESS"]
    assert_no_attempt_began_twice(ledger)


@on_each_database
def test_broker_that_loses_all_messages_loses_no_run(
    jobu: System, ledger: Ledger, redis_server: Redis
) -> None:
    for number in range(10):
        insert_job(jobu, f"job {number}", misfire_grace_seconds=3600)
    jobu.start_beat()
    jobu.start_worker()
    jobu.wait_until(lambda: ledger.count("begin") > 0, 60, "the first run")

    for _ in range(5):
        redis.Redis.from_url(jobu.broker_url or "").flushall()
        before = slots_recorded(jobu)
        jobu.wait_until(
            lambda before=before: slots_recorded(jobu) >= before + 10,  # type: ignore[misc]
            30,
            "more slots after a FLUSHALL",
        )
    stop_scheduling_and_drain(jobu, timeout=60)

    assert_every_slot_has_one_row(jobu)
    assert_no_attempt_began_twice(ledger)
    assert jobu.sql("SELECT DISTINCT status FROM job_executions") == [{"status": "SUCCESS"}]


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_without_any_message_finds_its_runs_by_itself(jobu: System, pool: str) -> None:
    """No beat, no door: nobody sends a wake-up."""
    jobu.start_worker(pool=pool).wait_for_log("ready.")
    runs = [insert_run(jobu, "ledger") for _ in range(5)]
    for run in runs:
        assert wait_until_final(jobu, run, 20)["status"] == "SUCCESS"


@on_each_database
def test_worker_paused_longer_than_its_lease_cannot_write_the_outcome(
    jobu: System, ledger: Ledger
) -> None:
    run = insert_run(jobu, "ledger", params=json.dumps({"sleep_seconds": 3}))
    jobu.start_beat()
    paused = jobu.start_worker("--hostname=paused@test")
    wait_until_running(jobu, run)

    paused.stop()
    jobu.wait_until(
        lambda: execution(jobu, run)["status"] == "PENDING", RESCUE_BOUND_SECONDS, "the rescue"
    )
    paused.cont()
    # The run's process ends, or it is refused before it has noticed that it was frozen.
    signs = ("was frozen for", "Timeout (0:00:", "stale attempt 1, outcome discarded")
    jobu.wait_until(lambda: any(sign in paused.log() for sign in signs), 30, "the frozen process")

    assert execution(jobu, run)["status"] == "PENDING"
    assert attempts(jobu, run) == ["LOST"]


BLOCKS, IGNORES = "blocks_the_loop", "ignores_cancellation"


# A child of prefork has one run. In threads the first culprit ends the process of the other.
@pytest.mark.parametrize(
    ("pool", "culprits"),
    [("prefork", (BLOCKS, IGNORES)), ("threads", (BLOCKS,)), ("threads", (IGNORES,))],
)
def test_run_that_cannot_be_stopped_times_out_and_other_runs_lose_no_attempt(
    jobu: System, ledger: Ledger, pool: str, culprits: tuple[str, ...]
) -> None:
    jobu.start_beat()
    neighbour = insert_run(jobu, "slow_first_time")
    worker = jobu.start_worker(pool=pool, concurrency=3)
    wait_until_running(jobu, neighbour)
    runs = {each: insert_run(jobu, each, timeout_seconds=1, max_retry=0) for each in culprits}

    for handler, culprit in runs.items():
        row = wait_until_final(jobu, culprit, 60)
        how = "blocked the event loop" if handler == BLOCKS else "ignored its"
        assert row["status"] == "TIMEOUT"
        assert handler in row["error_message"]
        assert how in row["error_message"]
    if pool == "prefork":
        # Only the children of these runs were killed; the other child continued.
        assert execution(jobu, neighbour)["status"] == "RUNNING"
        assert worker.is_alive
    else:
        # The whole process ended, so that its supervisor starts another one.
        assert worker.wait(20) == 75
        jobu.start_worker(pool=pool)
        row = wait_until_final(jobu, neighbour, 60)
        assert (row["status"], row["failures"]) == ("SUCCESS", 0)
        assert attempts(jobu, neighbour) == ["RELEASED", "SUCCESS"]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_stopping_worker_hands_back_runs_that_do_not_finish_in_time(
    jobu: System, ledger: Ledger, pool: str
) -> None:
    run = insert_run(jobu, "slow_first_time")
    jobu.start_beat()
    leaving = jobu.start_worker(pool=pool)
    wait_until_running(jobu, run)

    leaving.terminate()

    assert leaving.wait(40) == 0
    row = execution(jobu, run)
    assert (row["status"], row["attempt"], row["failures"]) == ("PENDING", 1, 0)
    jobu.start_worker(pool=pool)
    row = wait_until_final(jobu, run, 60)
    assert (row["status"], row["attempt"], row["failures"]) == ("SUCCESS", 2, 0)
    assert attempts(jobu, run) == ["RELEASED", "SUCCESS"]


def test_an_idle_worker_keeps_its_children(jobu: System) -> None:
    worker = jobu.start_worker()
    worker.wait_for_log("ready.")
    children = {child.pid for child in psutil.Process(worker.pid).children()}

    # Wait longer than all work that a child does after its start.
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(3)

    assert len(children) == 2
    assert {child.pid for child in psutil.Process(worker.pid).children()} == children


def test_sigterm_to_the_whole_process_group_also_lets_runs_finish(
    jobu: System, ledger: Ledger
) -> None:
    run = insert_run(jobu, "ledger", params=json.dumps({"sleep_seconds": 1}))
    jobu.start_beat()
    leaving = jobu.start_worker()
    wait_until_running(jobu, run)

    signal_group(leaving)

    assert leaving.wait(40) == 0
    assert execution(jobu, run)["status"] == "SUCCESS"


def signal_group(part: Part) -> None:
    os.killpg(part.pid, signal.SIGTERM)


def test_a_running_execution_is_cancelled_within_seconds(jobu: System, ledger: Ledger) -> None:
    run = insert_run(jobu, "slow_first_time")
    jobu.start_beat()
    jobu.start_worker()
    wait_until_running(jobu, run)

    jobu.sql("UPDATE job_executions SET cancel_requested_at = started_at WHERE id = %s", run)

    row = wait_until_final(jobu, run, 20)
    assert (row["status"], row["failures"]) == ("CANCELLED", 0)
    assert ledger.count("end") == 0


def test_beat_stops_at_once_and_deletes_its_process_row(jobu: System) -> None:
    beat = jobu.start_beat()
    jobu.wait_until(
        lambda: jobu.sql("SELECT name FROM scheduler_process WHERE kind = 'beat'"), 40, "beat alive"
    )

    beat.terminate()

    assert beat.wait(10) == 0
    assert jobu.sql("SELECT name FROM scheduler_process WHERE kind = 'beat'") == []
