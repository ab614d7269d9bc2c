"""Ends are written in groups: what one row does to the others, and what a lost answer does."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection

from scheduler.models import JobAttempt
from scheduler.states import AttemptOutcome, RunStatus
from scheduler.store import endings
from scheduler.worker.figures import Tally
from scheduler.worker.reporting import Reporter
from scheduler.worker.verdict import Verdict
from tests.harness.scheduler_harness import SchedulerHarness, fresh, outcomes

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

GROUP = 9


def succeeded(result: object) -> Verdict:
    return Verdict(status=RunStatus.SUCCESS, outcome=AttemptOutcome.SUCCESS, result=result)


class Ends:
    """A reporter, and runs of its process that end together."""

    def __init__(self, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("scheduler.worker.reporting._PAUSE_SECONDS", 0.01)
        self.leases = system.worker.leases
        self.reporter = Reporter(
            clock=system.clock,
            leases=self.leases,
            settings=lambda: system.settings,
            tally=Tally(),
        )
        self.rows = [system.execution() for _ in range(GROUP)]
        self.held = [system.held(row) for row in self.rows]
        for held in self.held:
            held.report.log("INFO", "a line")
        self.leases.hold(self.held)

    def write(self) -> list[RunStatus | None]:
        ends = [(held, succeeded({"n": number})) for number, held in enumerate(self.held)]
        return [one.status if one else None for one in self.reporter.write(ends)]


@pytest.fixture
def ends(system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch) -> Ends:
    return Ends(system, monkeypatch)


def test_a_group_is_one_transaction(ends: Ends):
    commits: list[str] = []

    def count(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        commits.append(statement)
        return execute(statement, params, many, context)

    with connection.execute_wrapper(count):
        assert ends.write() == [RunStatus.SUCCESS] * GROUP
    assert sum("INSERT INTO job_attempts" in statement for statement in commits) == 1
    for number, row in enumerate(ends.rows):
        assert (fresh(row).result, outcomes(row)) == ({"n": number}, ["SUCCESS"])


@pytest.mark.parametrize("culprit", [0, 4, GROUP - 1])
def test_a_row_that_the_database_refuses_does_not_hold_the_others(culprit: int, ends: Ends):
    poison = ends.rows[culprit].pk

    def refuse(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        if statement.lstrip().startswith("UPDATE") and f'{{"n": {culprit}}}' in str(params):
            raise OperationalError("a packet bigger than max_allowed_packet")
        return execute(statement, params, many, context)

    with connection.execute_wrapper(refuse):
        written = ends.write()
    expected = [RunStatus.SUCCESS] * GROUP
    expected[culprit] = RunStatus.FAILED
    assert written == expected
    assert [fresh(row).status for row in ends.rows] == expected
    assert fresh(ends.rows[culprit]).reason_code == "outcome_not_stored"
    assert JobAttempt.objects.filter(execution_id=poison).count() == 1


def test_a_group_whose_commit_answer_was_lost_is_written_once(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
):
    commit = connection._commit  # type: ignore[attr-defined]
    lost = [0]

    def commit_and_lose() -> None:
        commit()
        if not lost[0] and JobAttempt.objects.exists():
            lost[0] += 1
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "_commit", commit_and_lose)
    assert ends.write() == [RunStatus.SUCCESS] * GROUP
    assert lost == [1]
    assert JobAttempt.objects.count() == GROUP


def test_a_run_that_is_no_longer_ours_is_left_alone(ends: Ends, system: SchedulerHarness):
    taken = ends.held[3].lease
    rescued = endings.Ending(
        lease=taken, outcome=AttemptOutcome.LOST, status=RunStatus.FAILED, charged=True
    )
    assert endings.end([rescued], now=system.clock.now())
    written = ends.write()
    assert written.pop(3) is None
    assert written == [RunStatus.SUCCESS] * (GROUP - 1)
    assert fresh(ends.rows[3]).status == RunStatus.FAILED
