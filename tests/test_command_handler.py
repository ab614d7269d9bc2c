"""Jobs of the handler `command` in real workers: lines in the log, and nothing left behind."""

from __future__ import annotations

import json
import os
from functools import partial
from itertools import count
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

pytestmark = pytest.mark.processes

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


_slots = count()


def start(jobu: System, queue: str, timeout_seconds: int = 60, **params: Any) -> int:
    return insert_run(
        jobu,
        "command",
        params=json.dumps(params),
        queue=queue,
        scheduled_time=f"2026-01-01 00:00:00.{next(_slots):06}",
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


def _has_text(path: Path) -> bool:
    return path.exists() and bool(path.read_text().strip())


def test_workers_run_programs_and_leave_nothing_of_them(jobu: System, tmp_path: Path) -> None:
    # Both pools at once: the long part of the test is to wait for what has to be killed.
    pools = ("threads", "prefork")
    workers = {pool: jobu.start_worker(pool=pool, concurrency=4, queues=[pool]) for pool in pools}
    started = {
        pool: {
            "good": start(jobu, pool, argv=["/bin/echo", "one  two"]),
            "bad": start(jobu, pool, shell="echo on stderr >&2; exit 4"),
            "refused": start(jobu, pool, argv=["/usr/bin/env"]),
            "too_long": start(jobu, pool, timeout_seconds=2, shell=STUBBORN),
        }
        for pool in pools
    }
    for pool, runs in started.items():
        rows = {what: wait_until_final(jobu, run, 60) for what, run in runs.items()}

        assert rows["good"]["status"] == "SUCCESS", pool
        assert lines(jobu, runs["good"]) == ["one  two"]
        assert rows["bad"]["status"] == "FAILED"
        assert rows["bad"]["error_message"].endswith("exit code 4")
        assert lines(jobu, runs["bad"]) == ["on stderr"]
        assert rows["refused"]["status"] == "FAILED"
        assert "worker.commands.allow" in rows["refused"]["error_message"]
        assert rows["too_long"]["status"] == "TIMEOUT"
        pids = lines(jobu, runs["too_long"])
        assert len(pids) == 2
        assert alive(pids) == []
        assert workers[pool].is_alive  # it did not have to end for them

    # A drain ends a program and hands its run back.
    told = {pool: tmp_path / pool for pool in pools}
    endless = "echo $$ > {}; trap '' TERM; while :; do sleep 0.1; done"
    left = {pool: start(jobu, pool, shell=endless.format(told[pool])) for pool in pools}
    for pool in pools:
        wait_until_running(jobu, left[pool])
        jobu.wait_until(partial(_has_text, told[pool]), 30, "the program")
    for worker in workers.values():
        worker.terminate()
    for pool, worker in workers.items():
        assert worker.wait(40) == os.EX_OK
        assert alive(told[pool].read_text().split()) == []
        assert attempts(jobu, left[pool]) == ["RELEASED"], pool
