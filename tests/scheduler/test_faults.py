"""The database fails in the middle of a run.

The faults lie between Django and the driver, not in our own functions: the answer to a statement is
lost after the statement was executed, or before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection

from handlers import BaseHandler
from scheduler.clock import DatabaseClock
from scheduler.models import CronJob, JobAttempt, JobExecution, JobLog
from scheduler.states import FINAL, ReasonCode, RunStatus
from scheduler.store.connection import database_now
from tests.harness.scheduler_harness import SchedulerHarness, fresh, outcomes, statuses

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

LOST = "server closed the connection unexpectedly"


@pytest.fixture(autouse=True)
def quick_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that failed is tried again at once: nobody here repairs the database meanwhile."""
    monkeypatch.setattr("scheduler.worker.reporting._PAUSE_SECONDS", 0.01)


class Faults:
    """Breaks the statements that `choose` picks. Executed or not, the caller sees an error."""

    def __init__(self, choose: Callable[[str], bool], *, done: bool, times: int = 1) -> None:
        self.choose = choose
        self.done = done
        self.left = times
        self.seen: list[str] = []

    def __call__(self, execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        if self.left > 0 and self.choose(statement):
            self.left -= 1
            self.seen.append(statement)
            if self.done:
                execute(statement, params, many, context)
            raise OperationalError(LOST)
        return execute(statement, params, many, context)


@contextmanager
def lost_commits(
    monkeypatch: pytest.MonkeyPatch, after: str, times: int = 1
) -> Iterator[list[int]]:
    """Lose the answer to the COMMIT of each transaction with a statement that contains `after`.

    The transaction is in the database, and the client sees a broken connection.
    """
    marked = [False]
    lost = [0]

    def watch(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        marked[0] = marked[0] or after in statement
        return execute(statement, params, many, context)

    commit = connection._commit  # type: ignore[attr-defined]

    def commit_and_lose() -> None:
        commit()
        if marked[0] and lost[0] < times:
            lost[0] += 1
            marked[0] = False
            raise OperationalError(LOST)

    with monkeypatch.context() as patch, connection.execute_wrapper(watch):
        patch.setattr(connection, "_commit", commit_and_lose)
        yield lost


def claims(statement: str) -> bool:
    return statement.lstrip().startswith("UPDATE job_executions") and "lease_owner" in statement


def ends(statement: str) -> bool:
    return statement.lstrip().startswith("UPDATE job_executions") and "final_token" in statement


# --- claim ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allow", "skip"])
def test_a_claim_whose_answer_was_lost_is_found_and_run(
    policy: str, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    row = system.execution(system.job(overlap_policy=policy))
    with lost_commits(monkeypatch, after="lease_owner") as lost:
        assert system.worker.execute(row.pk) == RunStatus.SUCCESS
    assert lost == [1]
    assert (fresh(row).status, fresh(row).attempt) == (RunStatus.SUCCESS, 1)
    assert outcomes(row) == ["SUCCESS"]


def test_a_claim_that_did_not_happen_leaves_the_run_to_the_next_one(system: SchedulerHarness):
    row = system.execution()
    with connection.execute_wrapper(Faults(claims, done=False)):
        assert system.deliver() == [None]
    assert (fresh(row).status, fresh(row).attempt) == (RunStatus.PENDING, 0)
    assert system.deliver() == [RunStatus.SUCCESS]


# --- finish ---------------------------------------------------------------------------------------


def test_an_outcome_whose_commit_answer_was_lost_is_written_once(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    row = system.execution()
    with lost_commits(monkeypatch, after="INSERT INTO job_attempts") as lost:
        assert system.worker.execute(row.pk) == RunStatus.SUCCESS
    assert lost == [1]
    assert (fresh(row).status, fresh(row).failures) == (RunStatus.SUCCESS, 0)
    assert outcomes(row) == ["SUCCESS"]


def test_a_retry_whose_commit_answer_was_lost_is_charged_once(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    row = system.execution(handler_name="fail")
    with lost_commits(monkeypatch, after="INSERT INTO job_attempts"):
        system.worker.execute(row.pk)
    assert (fresh(row).status, fresh(row).failures) == (RunStatus.PENDING, 1)
    assert outcomes(row) == ["FAILED"]


def test_an_outcome_that_did_not_arrive_is_written_again_with_all_its_details(
    system: SchedulerHarness,
):
    async def talks(self: BaseHandler, params: Any) -> dict[str, int]:
        self.context.log.info("a line")
        self.context.progress(70, "nearly")
        return {"n": 1}

    system.handler("talks", talks)
    row = system.execution(handler_name="talks")
    with connection.execute_wrapper(Faults(ends, done=False)):
        assert system.worker.execute(row.pk) == RunStatus.SUCCESS
    after = fresh(row)
    assert (after.result, after.progress) == ({"n": 1}, 70)
    assert list(JobLog.objects.values_list("message", flat=True)) == ["a line"]


def test_log_lines_saved_before_their_answer_was_lost_do_not_spoil_the_outcome(
    system: SchedulerHarness,
):
    async def talks(self: BaseHandler, params: Any) -> None:
        self.context.log.info("a line")

    system.handler("talks", talks)
    row = system.execution(handler_name="talks")
    with connection.execute_wrapper(
        Faults(lambda statement: "INSERT INTO job_logs" in statement, done=True)
    ):
        assert system.worker.execute(row.pk) == RunStatus.SUCCESS
    assert JobLog.objects.count() == 1


def test_a_run_whose_details_the_database_refuses_still_becomes_final(system: SchedulerHarness):
    async def gives(self: BaseHandler, params: Any) -> dict[str, str]:
        return {"poison": "x"}

    system.handler("gives", gives)
    row = system.execution(handler_name="gives", max_retry=0)

    def refuse(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        if ends(statement) and any("poison" in str(value) for value in params):
            raise OperationalError("packet too large")
        return execute(statement, params, many, context)

    with connection.execute_wrapper(refuse):
        system.worker.execute(row.pk)
    after = fresh(row)
    assert (after.status, after.result) == (RunStatus.FAILED, None)
    assert after.error_message == "the outcome could not be stored in the database"
    assert after.reason_code == ReasonCode.OUTCOME_NOT_STORED
    assert outcomes(row) == ["FAILED"]


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("rounds", [1, 2, 3, 8])
def test_an_outage_just_when_a_run_ends_costs_neither_its_outcome_nor_its_log(
    rounds: int, fails: bool, system: SchedulerHarness
):
    # The thread that looks after the run saves its lines as well, on another connection.
    system.configure(cancel_poll_seconds=0.02)
    left = [0]

    async def talks(self: BaseHandler, params: Any) -> dict[str, int]:
        self.context.log.info("a line")
        left[0] = rounds
        if fails:
            raise RuntimeError("it went wrong")
        return {"n": 1}

    def outage(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OperationalError(LOST)
        return execute(statement, params, many, context)

    system.handler("talks", talks)
    row = system.execution(handler_name="talks")
    with connection.execute_wrapper(outage):
        given = system.worker.execute(row.pk)
    after, ended = fresh(row), JobAttempt.objects.get()
    assert left == [0]
    assert list(JobLog.objects.values_list("message", flat=True)) == ["a line"]
    if fails:
        assert given == after.status == RunStatus.PENDING
        assert (after.failures, ended.outcome) == (1, "FAILED")
        assert ended.error == "RuntimeError: it went wrong"
    else:
        assert given == after.status == RunStatus.SUCCESS
        assert (after.result, ended.outcome) == ({"n": 1}, "SUCCESS")


@pytest.mark.parametrize("refused", [1, 3, 8])
def test_a_database_that_reads_but_does_not_write_for_a_while_costs_no_outcome(
    refused: int, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    """A full disk, a fail-over to a replica, an index that is being built."""
    left = [0]

    async def talks(self: BaseHandler, params: Any) -> dict[str, int]:
        self.context.log.info("a line")
        left[0] = refused
        return {"n": 1}

    def read_only(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        if left[0] and not statement.lstrip().startswith("SELECT"):
            left[0] -= 1
            raise OperationalError("cannot execute UPDATE in a read-only transaction")
        return execute(statement, params, many, context)

    system.handler("talks", talks)
    row = system.execution(handler_name="talks")
    with connection.execute_wrapper(read_only):
        assert system.worker.execute(row.pk) == RunStatus.SUCCESS
    assert left == [0]
    assert fresh(row).result == {"n": 1}
    assert JobLog.objects.count() == 1


# --- the clock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_away", [False, True], ids=["there", "away"])
@pytest.mark.parametrize("kind", ["async", "in a thread"])
def test_a_line_that_is_logged_late_needs_no_query(
    kind: str, is_away: bool, system: SchedulerHarness
):
    """By then the worker's reading of the database's clock is too old."""
    asked = [0]
    runs = [False]

    def read() -> datetime:
        asked[0] += runs[0]
        if runs[0] and is_away:
            raise OperationalError(LOST)
        return database_now()

    async def talks(self: BaseHandler, params: Any) -> None:
        runs[0] = True
        await asyncio.sleep(0.3)
        if kind == "async":
            self.context.log.info("a line")
        else:
            await asyncio.to_thread(self.context.log.info, "a line")
        runs[0] = False

    system.handler("talks", talks)
    worker = system.new_worker(clock=DatabaseClock(read, max_age_seconds=0.2))
    row = system.execution(handler_name="talks")
    assert worker.execute(row.pk) == RunStatus.SUCCESS
    assert asked == [0]
    line = JobLog.objects.get()
    assert line.message == "a line"
    assert abs((line.at - database_now()).total_seconds()) < 60


# --- beat -----------------------------------------------------------------------------------------


def test_a_tick_whose_commit_answer_was_lost_records_its_slots_once(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    job = system.job()
    system.tick()
    system.clock.advance(60)
    with (
        lost_commits(monkeypatch, after="INSERT INTO job_executions"),
        pytest.raises(OperationalError),
    ):
        system.tick()
    system.tick()
    assert statuses(job) == ["PENDING"]


def test_a_deadlock_is_tried_again_within_the_tick(system: SchedulerHarness):
    job = system.job()
    system.tick()
    system.clock.advance(60)
    failed = [0]

    def deadlock(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        if "INSERT INTO job_executions" in statement and failed[0] < 3:
            failed[0] += 1
            raise transient_error()
        return execute(statement, params, many, context)

    with connection.execute_wrapper(deadlock):
        system.tick()
    assert failed == [3]
    assert statuses(job) == ["PENDING"]


def transient_error() -> OperationalError:
    """The error of this database when a transaction has lost a race."""
    error = OperationalError("lost a race")
    if connection.vendor == "postgresql":
        import psycopg

        error.__cause__ = psycopg.errors.DeadlockDetected("deadlock detected")
    elif connection.vendor == "mysql":
        import pymysql

        error.__cause__ = pymysql.OperationalError(1213, "Deadlock found")
    else:
        import sqlite3

        error.__cause__ = sqlite3.OperationalError("database is locked")
    return error


# --- everything at random -------------------------------------------------------------------------


# What a lost statement does is a matter of the database; which one is lost is not.
ON_SQLITE = pytest.mark.database("sqlite")


@pytest.mark.parametrize(
    "seed", [1, pytest.param(7, marks=ON_SQLITE), pytest.param(20260112, marks=ON_SQLITE)]
)
def test_whatever_fails_no_slot_is_lost_doubled_or_finished_twice(
    seed: int, system: SchedulerHarness
):
    """One statement in twelve fails, half of these after they were executed."""
    dice = random.Random(seed)
    print(f"seed {seed}")
    jobs = [system.job(), system.job(handler_name="fail", max_retry=1, retry_backoff_seconds=1)]
    jobs.append(system.job(overlap_policy="queue_one"))
    system.tick()

    def flaky(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        if statement.lstrip().startswith(("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK")):
            return execute(statement, params, many, context)
        fate = dice.random()
        # Inside a transaction a broken connection takes everything with it; alone, a statement may
        # have been done.
        if fate < 0.04 and not connection.in_atomic_block:
            execute(statement, params, many, context)
        if fate < 0.08:
            raise OperationalError(LOST)
        return execute(statement, params, many, context)

    minutes = 12
    runnable: list[int] = []
    with connection.execute_wrapper(flaky):
        for _ in range(minutes):
            system.clock.advance(60)
            attempt(system.tick)
            attempt(lambda: runnable.extend(system.runnable()))
            while runnable:
                attempt(partial(system.worker.execute, runnable.pop(0)))
    for _ in range(40):  # the trouble is over; all comes to its end
        system.clock.advance(30)
        if CronJob.objects.filter(is_enabled=True).exists():
            system.tick()
            CronJob.objects.update(is_enabled=False)
        system.tick()
        system.deliver()
        if not JobExecution.objects.exclude(status__in=FINAL).exists():
            break
    for job in jobs:
        rows = JobExecution.objects.filter(job=job)
        slots = sorted(rows.values_list("scheduled_time", flat=True))
        assert len(slots) == len(set(slots))
        assert (slots[-1] - slots[0]).total_seconds() / 60 + 1 == len(slots) or any(
            row.reason_code == ReasonCode.MISFIRE for row in rows
        )
        assert all(row.status in FINAL for row in rows)
        for row in rows:
            ended = JobAttempt.objects.filter(execution=row)
            assert row.attempt == ended.count()
            assert ended.filter(outcome="SUCCESS").count() <= 1
            assert row.failures <= row.max_retry + 1


def attempt(work: Callable[[], object]) -> None:
    try:
        work()
    except OperationalError:
        connection.close()
