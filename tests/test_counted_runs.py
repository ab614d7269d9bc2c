"""Counters of metrics with real beats and workers: they equal the tables, whoever is killed."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.conftest import SystemFactory
from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    Ledger,
    insert_job,
    insert_run,
    wait_until_final,
)
from tests.harness.system import System

pytestmark = [pytest.mark.processes]


@pytest.fixture
def jobu(system: SystemFactory, ledger: Ledger) -> System:
    jobu = system(
        config=SHORT,
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path)},
    )
    jobu.migrate()
    return jobu


@pytest.mark.database
def test_counters_equal_the_tables_although_a_beat_and_a_worker_are_killed(jobu: System):
    insert_job(jobu, "works")
    insert_run(jobu, "unknown", max_retry=0)
    doomed = [jobu.start_beat(), jobu.start_worker(pool="threads")]
    jobu.start_beat()
    jobu.start_worker(pool="threads")
    jobu.wait_until(lambda: ended_of(jobu).get("SUCCESS", 0) > 2, 60, "counted runs")

    for part in doomed:
        part.kill()
    jobu.sql("update cron_jobs set is_enabled = false")

    wait_until_equal(jobu)
    assert ended_of(jobu)["FAILED"] == 1
    figures = wait_for_figures(jobu, "ends", 1)
    assert figures["claims"]["runs"] >= figures["claims"]["groups"] > 0
    assert figures["loop"]["probes"] > 0


def test_children_of_prefork_hand_their_figures_to_the_worker(jobu: System):
    # A child is replaced after its task, and the next one goes on counting.
    jobu.start_worker("--max-tasks-per-child=1", "--concurrency=2", pool="prefork")
    for _ in range(3):
        runs = [insert_run(jobu, "ledger", scheduled_time=f"2026-01-0{n}") for n in (1, 2, 3)]
        for run in runs:
            wait_until_final(jobu, run, 60)

    figures = wait_for_figures(jobu, "ends", 9)

    assert figures["ends"] == {"groups": 9, "runs": 9}
    assert figures["claims"] == {"groups": 9, "runs": 9}


def wait_until_equal(jobu: System) -> None:
    def is_equal() -> bool:
        rows = jobu.sql("select job_id, status from job_executions where finished_at is not null")
        if unfinished(jobu) or ended_of(jobu) != Counter(row["status"] for row in rows):
            return False
        return all(
            ended_of(jobu, job) == Counter(r["status"] for r in rows if r["job_id"] == job)
            for job in {row["job_id"] for row in rows} - {None}
        )

    jobu.wait_until(is_equal, 60, "counters that equal the table")


def unfinished(jobu: System) -> list[dict[str, Any]]:
    return jobu.sql("select id from job_executions where finished_at is null")


def ended_of(jobu: System, job_id: int = 0) -> dict[str, int]:
    rows = jobu.sql("select ended from jobu_job_counters where job_id = %s", job_id)
    return dict(as_json(rows[0]["ended"])) if rows else {}


def wait_for_figures(jobu: System, group: str, runs: int) -> dict[str, Any]:
    """The figures of a worker, once it has counted so many runs."""

    def figures() -> list[dict[str, Any]]:
        rows = jobu.sql("select figures from scheduler_process where kind = 'worker'")
        all_figures = [as_json(row["figures"]) or {} for row in rows]
        return [each for each in all_figures if each.get(group, {}).get("runs", 0) >= runs]

    return jobu.wait_until(figures, 30, "figures of a worker")[0]


def as_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
