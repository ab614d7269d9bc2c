"""Jobs of the handler `command` in real workers: lines in the log, and nothing left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.harness.process_helpers import (
    SHORT,
    attempts,
    insert_run,
    wait_until_final,
    wait_until_running,
)
from tests.harness.system import System, deep_merge

pytestmark = [pytest.mark.processes, pytest.mark.database]

# A program and its child. Both ignore SIGTERM.
STUBBORN = (
    "trap '' TERM; (sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done') & echo $$; wait"
)


@pytest.fixture
def jobu(system: Any) -> System:
    worker = {"handler_packages": [], "commands": {"allow": ["/bin/echo"], "shell": True}}
    started: System = system(config=deep_merge(SHORT, {"worker": {**worker, "grace_seconds": 7}}))
    started.migrate()
    return started


def start(jobu: System, number: int, timeout_seconds: int = 60, **params: Any) -> int:
    return insert_run(
        jobu,
        "command",
        params=json.dumps(params),
        scheduled_time=f"2026-01-01 00:00:00.00000{number}",
        max_retry=0,
        timeout_seconds=timeout_seconds,
    )


def lines(jobu: System, run: int) -> list[str]:
    rows = jobu.sql("SELECT message FROM job_logs WHERE execution_id = %s ORDER BY id", run)
    return [row["message"] for row in rows]


def alive(pids: list[str]) -> list[str]:
    def state(pid: str) -> str:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "X"

    return [pid for pid in pids if state(pid) not in "ZX"]


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_worker_runs_programs_and_leaves_nothing_of_them(jobu: System, pool: str) -> None:
    worker = jobu.start_worker(pool=pool, concurrency=4)
    good = start(jobu, 1, argv=["/bin/echo", "one  two"])
    bad = start(jobu, 2, shell="echo on stderr >&2; exit 4")
    refused = start(jobu, 3, argv=["/usr/bin/env"])
    too_long = start(jobu, 4, timeout_seconds=2, shell=STUBBORN)

    rows = {run: wait_until_final(jobu, run, 60) for run in (good, bad, refused, too_long)}

    assert rows[good]["status"] == "SUCCESS"
    assert lines(jobu, good) == ["one  two"]
    assert rows[bad]["status"] == "FAILED"
    assert rows[bad]["error_message"].endswith("exit code 4")
    assert lines(jobu, bad) == ["on stderr"]
    assert rows[refused]["status"] == "FAILED"
    assert "worker.commands.allow" in rows[refused]["error_message"]
    assert rows[too_long]["status"] == "TIMEOUT"
    pids = lines(jobu, too_long)
    assert len(pids) == 2
    assert alive(pids) == []
    assert worker.is_alive  # it did not have to end for them


def test_drain_ends_a_program_and_hands_its_run_back(jobu: System, tmp_path: Path) -> None:
    worker = jobu.start_worker(pool="threads", concurrency=4)
    told = tmp_path / "pids"
    run = start(jobu, 1, shell=f"echo $$ > {told}; trap '' TERM; while :; do sleep 0.1; done")
    wait_until_running(jobu, run)
    jobu.wait_until(lambda: told.exists() and told.read_text().strip(), 30, "the program")

    worker.terminate()

    assert worker.wait(40) == os.EX_OK
    assert alive(told.read_text().split()) == []
    assert attempts(jobu, run) == ["RELEASED"]
