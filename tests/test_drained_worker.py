"""A worker that a person drains: it takes no runs, hands back what does not end, and stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scheduler.states import ReasonCode
from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    Ledger,
    execution,
    insert_run,
    wait_until_final,
    wait_until_running,
)
from tests.harness.system import System

pytestmark = [pytest.mark.processes]
UNTIL_A_HEARTBEAT = 20


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_drained_worker_hands_back_stays_and_takes_runs_again(
    system: Callable[..., System], ledger: Ledger, pool: str
) -> None:
    jobu = system(
        config=SHORT,
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path)},
    )
    jobu.migrate()
    worker = jobu.start_worker(pool=pool)
    worker.wait_for_log("ready.")
    slow = insert_run(jobu, "slow_first_time")
    wait_until_running(jobu, slow)

    jobu.sql("UPDATE scheduler_process SET drained_at = heartbeat_at, drained_by = 'kim'")
    jobu.wait_until(
        lambda: execution(jobu, slow)["status"] == "PENDING", UNTIL_A_HEARTBEAT, "the hand-back"
    )
    assert execution(jobu, slow)["reason_code"] == ReasonCode.WORKER_DRAINED
    assert "worker is drained by a person" in worker.log()
    later = insert_run(jobu, "ledger")
    jobu.wait_until(
        lambda: jobu.sql("SELECT running FROM scheduler_process")[0]["running"] == 0,
        UNTIL_A_HEARTBEAT,
        "a heartbeat of the idle worker",
    )
    assert worker.is_alive
    assert [execution(jobu, run)["status"] for run in (slow, later)] == ["PENDING", "PENDING"]

    jobu.sql("UPDATE scheduler_process SET drained_at = NULL")
    for run in (slow, later):
        assert wait_until_final(jobu, run, 40)["status"] == "SUCCESS"
