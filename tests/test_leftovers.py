"""What an attempt leaves running acts no more when the next attempt begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    attempts,
    insert_job,
    insert_run,
    wait_until_final,
)
from tests.harness.system import System, deep_merge

pytestmark = pytest.mark.processes

# These end without their process.
PROCESSES = ("process", "orphan", "plain")
# These end only with their process.
INSIDE = ("task", "shielded", "thread", "thread of a thread", "executor")


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    return tmp_path / "effects"


@pytest.fixture
def jobu(system: Any, effects: Path) -> System:
    # Half a second of grace for a thread, as SHORT would give, is too little on a loaded machine.
    worker = {"handler_packages": ["leftover_handlers"], "grace_seconds": 7}
    config = deep_merge(SHORT, {"worker": worker})
    started: System = system(
        config=config,
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_EFFECTS": str(effects)},
    )
    started.migrate()
    # The shortest back-off, so that the next attempt begins as soon as it may.
    insert_job(started, "retries", is_enabled=False, retry_backoff_seconds=0)
    return started


def start(jobu: System, how: str, timeout_seconds: int = 1) -> int:
    (job,) = jobu.sql("SELECT id FROM cron_jobs")
    number = len(jobu.sql("SELECT id FROM job_executions"))
    return insert_run(
        jobu,
        "leaves_plain" if how == "plain" else "leaves",
        job_id=job["id"],
        params=json.dumps({"how": how}),
        scheduled_time=f"2026-01-01 00:00:00.0000{number + 1:02}",
        max_retry=1,
        timeout_seconds=timeout_seconds,
    )


def assert_first_attempts_stopped(jobu: System, runs: dict[str, int], effects: Path) -> None:
    for how, run in runs.items():
        row = wait_until_final(jobu, run, 60)
        assert row["status"] == "SUCCESS", (how, row["error_message"])
        first, last = attempts(jobu, run)
        # Of several in one process, the first one to end it has the others handed back.
        assert first in (("LOST",) if how == "killed" else ("TIMEOUT", "RELEASED")), how
        assert last == "SUCCESS", how
    lines = effects.read_text(encoding="utf-8").splitlines()
    for how in runs:
        begins = lines.index(f"{how}: begins again")
        assert f"{how}: acts" in lines[:begins]
        assert f"{how}: acts" not in lines[begins:], how


def test_child_process_starts_no_attempt_beside_what_the_last_one_left(
    jobu: System, effects: Path
) -> None:
    jobu.start_beat()
    worker = jobu.start_worker(concurrency=4)
    runs = {"killed": start(jobu, "killed", timeout_seconds=60)}
    runs |= {how: start(jobu, how) for how in (*PROCESSES, *INSIDE)}

    assert_first_attempts_stopped(jobu, runs, effects)
    assert worker.is_alive


def test_shared_process_starts_no_attempt_beside_what_the_last_one_left(
    jobu: System, effects: Path
) -> None:
    jobu.start_beat()
    worker = jobu.start_worker(pool="threads", concurrency=8)
    kinds = (*PROCESSES, "multiprocessing")
    runs = {how: start(jobu, how) for how in kinds}
    assert_first_attempts_stopped(jobu, runs, effects)
    assert worker.is_alive

    # It waits for its own timeout of a minute, and is handed back before that.
    neighbour = start(jobu, "nothing", timeout_seconds=60)
    runs = {how: start(jobu, how) for how in INSIDE}
    assert worker.wait(60) == 75
    jobu.start_worker(pool="threads")

    assert_first_attempts_stopped(jobu, runs, effects)
    wait_until_final(jobu, neighbour, 30)
    assert attempts(jobu, neighbour) == ["RELEASED", "SUCCESS"]
