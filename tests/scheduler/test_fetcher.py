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
from scheduler.store import short_turns, turns
from scheduler.store.claims import ByIds, Claim
from scheduler.worker import fetcher as fetching
from scheduler.worker.fetcher import Fetcher, Source, work_alone
from scheduler.worker.overlap import decide
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
        self.worker.on_runnable = self.fetcher.became_runnable

    def work_alone(self, *, must_return: bool = False) -> None:
        """As a prefork child does."""

        def became_runnable(queues: frozenset[str]) -> None:
            self.source.runnable |= queues

        self.worker.on_runnable = became_runnable
        work_alone(
            self.worker.executor,
            self.source,
            clock=self.system.clock,
            must_return=lambda: must_return,
        )

    def all_end(self, seconds: float = 20) -> None:
        waiting = JobExecution.objects.filter(
            status__in=[RunStatus.PENDING, RunStatus.RUNNING], queue__in=self.queues
        )
        wait_until(lambda: not waiting.exists(), seconds, "all runs to end")

    def run_one(self, *, is_child: bool, must_return: bool = False) -> None:
        """Run what there is, in either shape of a worker, and write the first end."""
        if is_child:
            self.work_alone(must_return=must_return)
            return
        self.fetcher.start()
        wait_until(lambda: JobAttempt.objects.exists(), 20, "the end of a run")
        self.close()

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
    made.work_alone()
    assert [fresh(row).status for row in rows] == [RunStatus.SUCCESS] * 5
    assert gate.most == 1
    assert made.woken == [""]  # at its first claim: there may be more
    assert not made.worker.leases.running_task_count


def test_a_child_that_must_return_writes_its_end_and_wakes_another(system: SchedulerHarness):
    rows = [system.execution() for _ in range(3)]
    made = Fetching(system, places=1)
    made.work_alone(must_return=True)
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
    made.work_alone()
    assert {fresh(row).status for row in skipped} == {RunStatus.SKIPPED}
    assert fresh(last).status == RunStatus.SUCCESS


@pytest.mark.parametrize("at", ["the choice", "the turn", "the answer"])
def test_a_child_writes_the_end_of_its_run_whatever_is_wrong_with_its_next_claim(
    at: str, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    rows = [system.execution() for _ in range(2)]
    made = Fetching(system, places=1)
    choice, end_and_claim, chosen = made.source.choice, turns.end_and_claim, [0]

    def fault(*_: Any) -> Any:
        raise RuntimeError("a fault of ours")

    def second_choice_fails(places: int) -> Any:
        chosen[0] += 1
        return fault() if chosen[0] == 2 else choice(places)

    def fails_after_its_commit(*args: Any) -> Any:
        end_and_claim(*args)
        fault()

    if at == "the choice":
        monkeypatch.setattr(made.source, "choice", second_choice_fails)
    elif at == "the turn":
        monkeypatch.setattr(short_turns, "is_possible", fault)
    else:
        monkeypatch.setattr(turns, "end_and_claim", fails_after_its_commit)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        made.work_alone()
    (ended,) = (row for row in rows if fresh(row).status == RunStatus.SUCCESS)
    assert outcomes(ended) == ["SUCCESS"]
    assert not made.worker.leases.running_task_count


# --- an end that lets another run go on -----------------------------------------------------------


def two_in_line(system: SchedulerHarness, queue_of_second: str = "") -> list[JobExecution]:
    """Two runs of a job. While the first one goes on, another process puts the second in line."""
    job = system.job(overlap_policy="queue_one", handler_name="first")
    first = system.execution(job)
    second = system.execution(
        job, queue=queue_of_second, handler_name="ok", available_at=START + timedelta(seconds=1)
    )

    def claimed_elsewhere() -> None:
        JobExecution.objects.filter(pk=second.pk).update(available_at=START)
        claim = Claim(owner="another", lease_seconds=60, decide=decide)
        ((row, decision),) = claim.take(ByIds([second.pk]), START).held
        assert (row.id, decision.step) == (second.pk, "wait")
        connection.close()

    async def first_run(self: BaseHandler, params: Any) -> None:
        await asyncio.to_thread(claimed_elsewhere)

    system.handler("first", first_run)
    return [first, second]


def test_the_run_in_line_starts_where_the_one_before_it_ends(
    system: SchedulerHarness, fetching_worker: Fetching
):
    system.configure(poll_interval_seconds=60)  # nothing else makes it look within this test
    rows = two_in_line(system)
    fetching_worker.fetcher.start()
    fetching_worker.all_end()
    assert {fresh(row).status for row in rows} == {RunStatus.SUCCESS}
    assert fetching_worker.woken == []


def test_a_child_looks_once_more_when_its_last_end_has_let_a_run_go_on(system: SchedulerHarness):
    rows = two_in_line(system)
    made = Fetching(system, places=1)
    made.work_alone()
    assert {fresh(row).status for row in rows} == {RunStatus.SUCCESS}


@pytest.mark.parametrize("is_child", [True, False])
def test_the_workers_of_another_queue_are_woken_for_the_run_in_line(
    is_child: bool, system: SchedulerHarness
):
    first, second = two_in_line(system, queue_of_second="elsewhere")
    made = Fetching(system)
    made.run_one(is_child=is_child)
    assert "elsewhere" in made.woken
    assert (fresh(first).status, fresh(second).status) == (RunStatus.SUCCESS, RunStatus.PENDING)


@pytest.mark.parametrize("is_child", [True, False])
def test_what_a_drain_hands_back_wakes_others(is_child: bool, system: SchedulerHarness):
    system.configure(cancel_poll_seconds=0.2)
    made = Fetching(system)

    async def drains(self: BaseHandler, params: Any) -> None:
        made.worker.drain.set(system.clock.monotonic())
        await asyncio.sleep(60)

    system.handler("drains", drains)
    row = system.execution(handler_name="drains")
    made.run_one(is_child=is_child, must_return=True)
    assert (fresh(row).status, fresh(row).attempt) == (RunStatus.PENDING, 1)
    assert made.woken == (["", ""] if is_child else [""])
