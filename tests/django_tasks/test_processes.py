"""Calls of a real process are run by real workers: exactly once, whatever becomes of the caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.fork_server import the_fork_server
from tests.harness.process_helpers import FINAL, SHORT
from tests.harness.system import System

pytestmark = [pytest.mark.processes, pytest.mark.database]


class Shop:
    def __init__(self, system: Any, place: Path, config: dict[str, Any]) -> None:
        self.calls = place / "calls"
        environment = {"JOBU_TEST_CALLS": str(self.calls)}
        self.system: System = system(config=config, environment=environment)
        self.system.migrate()

    def enqueue(self, count: int, end: str, timeout: float = 60) -> int:
        """Returns the exit code of the process that enqueues."""
        done = the_fork_server().run(
            ["-m", "tests.django_tasks.enqueue_calls", str(count), end],
            environment=self.system.environment,
            timeout=timeout,
        )
        assert done.returncode in (0, -9), done.stdout + done.stderr
        return done.returncode

    def count(self) -> int:
        return int(self.system.sql("SELECT count(*) AS n FROM job_executions")[0]["n"])

    def wait_for_all(self, count: int, seconds: float) -> None:
        states = ", ".join(f"'{each}'" for each in FINAL)
        ended = f"SELECT count(*) AS n FROM job_executions WHERE status IN ({states})"
        self.system.wait_until(
            lambda: self.system.sql(ended)[0]["n"] == count, seconds, f"{count} ended runs"
        )

    def assert_each_ran_once(self, *expected: str) -> None:
        others = self.system.sql(
            "SELECT id, status, attempt, error_message FROM job_executions"
            " WHERE status <> 'SUCCESS' OR attempt <> 1"
        )
        assert others == []
        assert sorted(self.calls.read_text(encoding="utf-8").splitlines()) == sorted(expected)


def test_committed_calls_run_once_also_if_their_caller_is_killed(
    system: Any, tmp_path: Path
) -> None:
    """One test, because each start of a worker costs seconds."""
    shop = Shop(system, tmp_path, SHORT)
    shop.system.start_worker(pool="threads", concurrency=8)
    # No beat runs yet: the message that is sent on commit starts them.
    assert shop.enqueue(2, "commit") == 0
    shop.wait_for_all(2, 40)

    assert shop.enqueue(3, "cut off") == -9
    assert shop.count() == 2
    assert shop.enqueue(20, "killed") == -9
    assert shop.count() == 22
    shop.system.start_beat()
    shop.wait_for_all(22, 40)

    killed = [f"killed {number}" for number in range(20)]
    shop.assert_each_ran_once("commit 0", "commit 1", *killed)


@pytest.mark.slow
def test_ten_thousand_calls_of_one_transaction_run_once_each(system: Any, tmp_path: Path) -> None:
    # With the leases of production: a hundred threads wait for the one lock of SQLite for longer
    # than the four seconds of SHORT.
    shop = Shop(system, tmp_path, {"scheduler": SHORT["scheduler"]})
    shop.enqueue(10_000, "commit", timeout=300)
    shop.system.start_beat()
    for _ in range(2):
        shop.system.start_worker(pool="threads", concurrency=50)

    shop.wait_for_all(10_000, 900)
    shop.assert_each_ran_once(*(f"commit {number}" for number in range(10_000)))
