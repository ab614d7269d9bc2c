"""Where the runs of a process come from: places, wake-ups, polling, lost answers, the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from handlers import BaseHandler
from scheduler.models import JobAttempt, JobExecution
from scheduler.states import RunStatus
from scheduler.store.claims import ByIds, Claim
from scheduler.worker import fetcher as fetching
from scheduler.worker.fetcher import Fetcher, Source, work_alone
from tests.harness.scheduler_harness import START, SchedulerHarness, Worker, fresh, outcomes
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


class Fetching:
    """A worker process of three places that fetches by itself."""

    def __init__(self, system: SchedulerHarness, *, places: int = 3) -> None:
        self.system = system
        self.worker: Worker = system.new_worker("fetching")
        self.woken: list[str] = []
        self.queues = [""]
        self.source = Source(
            clock=system.clock, queues=lambda: self.queues, wake_others=self.woken.append
        )
        self.fetcher = Fetcher(
            executor=self.worker.executor,
            leases=self.worker.leases,
            clock=system.clock,
            source=self.source,
            places=places,
        )
        self.worker.on_end = self.fetcher.run_ended

    def all_end(self, seconds: float = 20) -> None:
        waiting = JobExecution.objects.filter(
            status__in=[RunStatus.PENDING, RunStatus.RUNNING], queue__in=self.queues
        )
        wait_until(lambda: not waiting.exists(), seconds, "all runs to end")

    def close(self) -> None:
        self.fetcher.close()
        assert self.fetcher.join(20)


@pytest.fixture
def fetching_worker(system: SchedulerHarness) -> Iterator[Fetching]:
    made = Fetching(system)
    yield made
    made.close()


class Gate:
    """A handler that waits, and how many of its runs go on."""

    def __init__(self, system: SchedulerHarness) -> None:
        self.open = threading.Event()
        self.running = self.most = 0
        gate = self

        async def waits(self: BaseHandler, params: Any) -> None:
            gate.running += 1
            gate.most = max(gate.most, gate.running)
            await asyncio.to_thread(gate.open.wait, 30)
            gate.running -= 1

        system.handler("gate", waits)


def test_a_process_never_runs_more_than_it_has_places_for(
    system: SchedulerHarness, fetching_worker: Fetching
):
    gate = Gate(system)
    rows = [system.execution(handler_name="gate") for _ in range(8)]
    fetching_worker.fetcher.start()
    wait_until(lambda: gate.running == 3, 20, "three runs")
    # It was idle and is full now, so others are told that there is more: twice, one may get lost.
    wait_until(lambda: fetching_worker.woken == [""], 20, "the others to be woken")
    gate.open.set()
    fetching_worker.all_end()
    assert gate.most == 3
    assert {fresh(row).status for row in rows} == {RunStatus.SUCCESS}
    assert {fresh(row).attempt for row in rows} == {1}
    assert fetching_worker.woken == [""]


def test_a_row_of_which_nobody_was_told_starts_within_the_poll(
    system: SchedulerHarness, fetching_worker: Fetching
):
    fetching_worker.fetcher.start()
    system.execution()
    fetching_worker.all_end(5)
    assert fetching_worker.woken == []


def test_a_wake_up_makes_it_look_at_once(
    system: SchedulerHarness, fetching_worker: Fetching, monkeypatch: pytest.MonkeyPatch
):
    system.configure(poll_interval_seconds=60)
    monkeypatch.setattr(fetching, "_IDLE_SECONDS", 60.0)
    fetching_worker.fetcher.start()
    wait_until(lambda: fetching_worker.fetcher._poll_at > 0, 20, "its first look")
    system.execution()
    fetching_worker.fetcher.poke()
    fetching_worker.all_end(5)


def test_other_queues_are_left_alone(system: SchedulerHarness, fetching_worker: Fetching):
    other = system.execution(queue="other")
    fetching_worker.fetcher.start()
    system.execution()
    fetching_worker.all_end()
    assert fresh(other).status == RunStatus.PENDING


def test_a_process_that_ends_takes_nothing_more_and_writes_what_it_has(
    system: SchedulerHarness, fetching_worker: Fetching
):
    gate = Gate(system)
    running = system.execution(handler_name="gate")
    fetching_worker.fetcher.start()
    wait_until(lambda: gate.running == 1, 20, "the run")
    fetching_worker.fetcher.close()
    waiting = system.execution()
    fetching_worker.fetcher.poke()
    assert not fetching_worker.fetcher.join(0.3)
    gate.open.set()
    assert fetching_worker.fetcher.join(20)
    assert (fresh(running).status, fresh(waiting).status) == (RunStatus.SUCCESS, RunStatus.PENDING)


def test_trouble_with_the_database_does_not_end_the_thread(
    system: SchedulerHarness,
    fetching_worker: Fetching,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(fetching, "_FIRST_BACKOFF_SECONDS", 0.01)
    claim, failures = fetching_worker.worker.executor.claim, [3]

    def fails(*arguments: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise OperationalError("the database is away")
        return claim(*arguments)

    monkeypatch.setattr(fetching_worker.worker.executor, "claim", fails)
    system.execution()
    fetching_worker.fetcher.start()
    fetching_worker.all_end()
    assert caplog.text.count("cannot claim or report") == 1


# --- lost answers ---------------------------------------------------------------------------------


class LostAnswer:
    """The next COMMIT of this thread happens, and its answer is lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        commit = connection._commit  # type: ignore[attr-defined]
        self.lost = 0

        def commit_and_lose() -> None:
            commit()
            if not self.lost:
                self.lost += 1
                raise OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(connection, "_commit", commit_and_lose)


def test_a_claim_whose_answer_was_lost_and_that_cannot_be_asked_for_is_asked_for_later(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    row = system.execution()
    executor = system.worker.executor
    ask, away = Claim.taken_after_all, [True]

    def asked(self: Claim, now: Any) -> Any:
        if away[0]:
            raise OperationalError("the database is away")
        return ask(self, now)

    monkeypatch.setattr(Claim, "taken_after_all", asked)
    LostAnswer(monkeypatch)
    with pytest.raises(OperationalError):
        executor.claim(ByIds([row.pk]))
    assert fresh(row).status == RunStatus.RUNNING
    away[0] = False
    # Whatever it is asked to claim, it first begins what is its own already.
    (held,) = executor.claim(ByIds([])).runs
    executor.wait_for(held)
    executor.report([held])
    assert (fresh(row).status, fresh(row).attempt) == (RunStatus.SUCCESS, 1)


def test_an_end_and_the_next_claim_are_one_commit(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    first, second = system.execution(), system.execution()
    executor = system.worker.executor
    (held,) = executor.claim(ByIds([first.pk])).runs
    executor.wait_for(held)
    commit, commits = connection._commit, [0]  # type: ignore[attr-defined]

    def count() -> None:
        commits[0] += 1
        commit()

    monkeypatch.setattr(connection, "_commit", count)
    (following,) = executor.report_and_claim(held, ByIds([second.pk])).runs
    assert commits == [1]
    assert (fresh(first).status, fresh(second).status) == (RunStatus.SUCCESS, RunStatus.RUNNING)
    executor.wait_for(following)
    executor.report([following])
    assert fresh(second).status == RunStatus.SUCCESS


@pytest.mark.parametrize("happened", [True, False])
def test_an_end_with_a_claim_whose_answer_was_lost_does_both_once(
    happened: bool, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    first, second = system.execution(), system.execution()
    executor = system.worker.executor
    (held,) = executor.claim(ByIds([first.pk])).runs
    executor.wait_for(held)
    if happened:
        LostAnswer(monkeypatch)
    else:
        commit, lost = connection._commit, [False]  # type: ignore[attr-defined]

        def never_commits() -> None:
            if not lost[0]:
                lost[0] = True
                connection._rollback()  # type: ignore[attr-defined]
                raise OperationalError("server closed the connection unexpectedly")
            commit()

        monkeypatch.setattr(connection, "_commit", never_commits)
    begun = executor.report_and_claim(held, ByIds([second.pk]))
    while not begun.runs:
        begun = executor.claim(ByIds([second.pk]))
    executor.wait_for(begun.runs[0])
    executor.report(begun.runs)
    for row in (first, second):
        assert (fresh(row).status, fresh(row).attempt) == (RunStatus.SUCCESS, 1)
        assert outcomes(row) == ["SUCCESS"]


# --- a child of the prefork pool ------------------------------------------------------------------


def test_a_child_runs_what_there_is_one_after_the_other(system: SchedulerHarness):
    gate = Gate(system)
    gate.open.set()
    rows = [system.execution(handler_name="gate") for _ in range(5)]
    made = Fetching(system, places=1)
    work_alone(made.worker.executor, made.source, clock=system.clock, must_return=lambda: False)
    assert [fresh(row).status for row in rows] == [RunStatus.SUCCESS] * 5
    assert gate.most == 1
    assert made.woken == [""]  # at its first claim: there may be more
    assert not made.worker.leases.running_task_count


def test_a_child_that_must_return_writes_its_end_and_wakes_another(system: SchedulerHarness):
    rows = [system.execution() for _ in range(3)]
    made = Fetching(system, places=1)
    work_alone(made.worker.executor, made.source, clock=system.clock, must_return=lambda: True)
    statuses = sorted(fresh(row).status for row in rows)
    assert statuses == [RunStatus.PENDING, RunStatus.PENDING, RunStatus.SUCCESS]
    assert made.woken == ["", ""]
    assert JobAttempt.objects.count() == 1


def test_a_child_goes_on_behind_runs_that_must_wait(system: SchedulerHarness):
    job = system.job(overlap_policy="skip")
    system.claim(system.execution(job))
    skipped = [
        system.execution(job, scheduled_time=START - timedelta(milliseconds=milliseconds))
        for milliseconds in (100, 200)
    ]
    last = system.execution()
    made = Fetching(system, places=1)
    work_alone(made.worker.executor, made.source, clock=system.clock, must_return=lambda: False)
    assert {fresh(row).status for row in skipped} == {RunStatus.SKIPPED}
    assert fresh(last).status == RunStatus.SUCCESS
