"""A beat or a worker that freezes inside a transaction stops the others for a bounded time."""

from __future__ import annotations

import contextlib

import psycopg
import pymysql
import pytest

from bench.soak.sabotage import FREEZE_VARIABLE, SETTINGS
from scheduler.limits import IDLE_IN_TRANSACTION_SECONDS
from tests.harness.process_helpers import (
    assert_every_slot_has_one_row,
    insert_job,
    slots_recorded,
    stop_scheduling_and_drain,
)
from tests.harness.system import Part, System

# SQLite has no sessions that a server could end: docs/production.md says what happens there.
pytestmark = [pytest.mark.processes, pytest.mark.database("postgres", "mysql")]

# A tick of another beat, and a busy machine.
_MARGIN_SECONDS = 5


def freezing(jobu: System, point: str, part: str) -> Part:
    healthy = jobu.environment
    jobu.environment = {**healthy, "DJANGO_SETTINGS_MODULE": SETTINGS, FREEZE_VARIABLE: point}
    try:
        return jobu.start_beat() if part == "beat" else jobu.start_worker(pool="threads")
    finally:
        jobu.environment = healthy


def test_a_beat_that_freezes_in_its_transaction_holds_its_jobs_for_ten_seconds(jobu: System):
    insert_job(jobu, "every second", misfire_policy="all", max_catchup=100)
    frozen = freezing(jobu, "record.advanced:3", "beat")
    jobu.wait_until(lambda: frozen.is_stopped, 60, "the beat to freeze")
    before = slots_recorded(jobu)
    other = jobu.start_beat()
    jobu.wait_until(
        lambda: slots_recorded(jobu) > before,
        IDLE_IN_TRANSACTION_SECONDS + _MARGIN_SECONDS,
        "slots of the other beat",
    )

    frozen.cont()
    frozen.wait_for_log("beat works again")
    frozen.terminate()
    other.terminate()
    assert (frozen.wait(10), other.wait(10)) == (0, 0)
    assert_every_slot_has_one_row(jobu)


def test_a_worker_that_freezes_while_it_writes_an_end_holds_its_run_for_ten_seconds(jobu: System):
    insert_job(jobu, "every second", overlap_policy="queue_one", retry_backoff_seconds=0)
    jobu.start_beat()
    frozen = freezing(jobu, "end.recorded", "worker")
    jobu.wait_until(lambda: frozen.is_stopped, 60, "the worker to freeze")
    (run,) = jobu.sql("SELECT id FROM job_executions WHERE status = 'RUNNING'")

    def is_free() -> bool:
        lock = "SELECT id FROM job_executions WHERE id = %s FOR UPDATE NOWAIT"
        with contextlib.suppress(psycopg.errors.LockNotAvailable, pymysql.OperationalError):
            return bool(jobu.sql(lock, run["id"]))
        return False

    assert not is_free()
    jobu.wait_until(is_free, IDLE_IN_TRANSACTION_SECONDS + _MARGIN_SECONDS, "the run to be free")
    jobu.start_worker(pool="threads")

    def has_ended() -> bool:
        rows = jobu.sql("SELECT status FROM job_executions WHERE id = %s", run["id"])
        return rows == [{"status": "SUCCESS"}]

    jobu.wait_until(has_ended, 60, "the run by the other worker")
    frozen.cont()
    stop_scheduling_and_drain(jobu, timeout=60)
    assert_every_slot_has_one_row(jobu)
