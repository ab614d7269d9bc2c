"""The turn of a prefork child on a connection of its own: on PostgreSQL it is one statement.

The other databases keep the same promises with statements of their own, so all tests run there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from scheduler.limits import limit_connection, unlimit_connection
from scheduler.models import ConcurrencyGroup, JobAttempt, JobExecution, JobLog
from scheduler.states import AttemptOutcome, ReasonCode, RunStatus
from scheduler.store import claims, endings, short_turns
from scheduler.store.claims import ByIds, Claims, Floors, MostUrgent
from scheduler.store.run_reports import LogLine, Report
from scheduler.store.runs import Lease
from scheduler.store.short_turns import TURN
from scheduler.store.turns import end_and_claim
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh
from tests.scheduler.test_faults import Faults

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

IS_POSTGRES = pytest.mark.database("postgres")


@pytest.fixture(autouse=True)
def own_connection() -> Iterator[None]:
    limit_connection()
    yield
    connection.close()
    unlimit_connection()


def new_claim() -> claims.Claim:
    return claims.Claim(owner="child", lease_seconds=60, decide=decide)


def begun(row: JobExecution) -> Lease:
    (claimed,) = new_claim().take(ByIds([row.pk]), START).started
    return claimed.lease


def choice() -> MostUrgent:
    return MostUrgent([""], 1, Floors())


def success(lease: Lease, **more: Any) -> endings.Ending:
    return endings.Ending(
        lease=lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.SUCCESS, **more
    )


def turn(end: endings.Ending, *queues: str, floors: Floors | None = None) -> Claims:
    ended, taken = end_and_claim(
        [end], new_claim(), MostUrgent(queues or ("",), 1, floors or Floors()), START
    )
    assert set(ended) == {end.lease.token}
    return taken


@IS_POSTGRES
def test_a_turn_is_one_statement_and_no_transaction_around_it(system: SchedulerHarness):
    rows = [system.execution(), *[system.execution(system.job()) for _ in range(3)]]
    lease = begun(rows[0])
    floors = Floors()
    for row in rows[1:3]:
        with CaptureQueriesContext(connection) as captured:
            (claimed,) = turn(success(lease), floors=floors).started
        assert claimed.row.id == row.pk
        lease = claimed.lease
    assert len(captured.captured_queries) == 1


def test_it_writes_what_the_statements_of_a_turn_write(system: SchedulerHarness):
    first, second = system.execution(), system.execution(params={"n": [1, "a"]})
    lease = begun(first)
    lines = [LogLine(seq=n, at=START, level="INFO", message=f"line\t{n} 'é'") for n in (1, 2)]
    end = endings.Ending(
        lease=lease,
        outcome=AttemptOutcome.FAILED,
        status=RunStatus.FAILED,
        error="it's %s gone",
        traceback="line 1\nline 2",
        exception_class="shop.errors.NoStock",
        result={"ok": "ü"},
        overran=True,
        charged=True,
        reason_code=ReasonCode.JOB_DELETED,
        reason_facts={"a": 1},
        report=Report(lines=lines, progress=(40.5, "nearly")),
    )

    (claimed,) = turn(end).started

    row = fresh(first)
    assert (row.status, row.result, row.failures, row.overran) == ("FAILED", {"ok": "ü"}, 1, True)
    assert (row.error_message, row.reason_code) == ("it's %s gone", ReasonCode.JOB_DELETED)
    assert (row.reason_facts, row.progress, row.progress_message) == ({"a": 1}, 40.5, "nearly")
    assert (row.final_token, row.lease_token, row.finished_at) == (lease.token, None, START)
    attempt = JobAttempt.objects.get(execution=first)
    assert (attempt.outcome, attempt.error, attempt.traceback, attempt.exception_class) == (
        "FAILED", end.error, end.traceback, end.exception_class,
    )  # fmt: skip
    assert (attempt.worker, attempt.started_at, attempt.ended_at) == ("child", START, START)
    logs = JobLog.objects.filter(execution=first).order_by("seq")
    assert [(log.attempt, log.seq, log.at, log.message) for log in logs] == [
        (1, line.seq, START, line.message) for line in lines
    ]
    row = fresh(second)
    assert (row.status, row.attempt, row.lease_token) == ("RUNNING", 1, claimed.lease.token)
    assert (row.lease_owner, row.started_at) == ("child", START)
    assert row.lease_expires_at == START + timedelta(seconds=60)
    assert row.deadline_at == START + timedelta(seconds=row.timeout_seconds + 30)
    assert (claimed.row.params, claimed.row.attempt) == ({"n": [1, "a"]}, 0)
    assert (claimed.lease.attempt, claimed.lease.started_at) == (1, START)


def test_the_most_urgent_is_next_whatever_queue_it_is_in(system: SchedulerHarness):
    lease = begun(system.execution())
    aged = START - timedelta(minutes=16)
    order = [
        system.execution(queue="b", priority=3),
        system.execution(queue="a", priority=0, available_at=aged),
        system.execution(queue="b", priority=1, available_at=START - timedelta(seconds=9)),
        system.execution(queue="a", priority=1),
        system.execution(queue="a", priority=0),
    ]
    order[:2] = order[1::-1]  # three priorities after 15 minutes, and older
    system.execution(queue="a", available_at=START + timedelta(seconds=1))
    system.execution(queue="paused", priority=9)
    floors, taken = Floors(), []
    for _ in order:
        claimed = turn(success(lease), "a", "b", floors=floors)
        (one,) = claimed.started
        taken.append(one.row.id)
        lease = one.lease
    assert taken == [row.pk for row in order]
    assert not turn(success(lease), "a", "b", floors=floors).started


def test_runs_that_must_not_overlap_or_not_run_are_left_to_a_claim(system: SchedulerHarness):
    job = system.job(overlap_policy="skip")
    lease = begun(system.execution())
    held = system.execution(job)
    taken = turn(success(lease))
    assert [one.row.id for one in taken.started] == [held.pk]
    assert taken.started[0].lease.guard == job.pk

    lease = begun(system.execution())
    cancelled = system.execution(cancel_requested_at=START)
    taken = turn(success(lease))
    assert not taken.started
    assert fresh(cancelled).status == RunStatus.CANCELLED


@pytest.mark.parametrize("limits", [{"max_running": 1}, {"concurrency_group": "dwh"}])
def test_runs_with_limits_are_left_to_a_claim_and_their_ends_as_well(
    limits: dict[str, Any], system: SchedulerHarness
):
    ConcurrencyGroup.objects.create(name="dwh", max_running=1)
    job = system.job(**limits)
    lease = begun(system.execution())
    first, second = (system.execution(job) for _ in range(2))
    taken = turn(success(lease))
    assert [one.row.id for one in taken.started] == [first.pk]
    assert not turn(success(begun(system.execution()))).started
    assert fresh(second).in_line is not None
    ended, _claims = end_and_claim([success(taken.started[0].lease)], new_claim(), choice(), START)
    assert (len(ended), set(ended.queues_to_wake)) == (1, {""})
    assert fresh(second).in_line is None


@pytest.mark.database("postgres", "mysql")  # SQLite has no locks of rows
def test_a_run_that_another_process_holds_is_passed_by(system: SchedulerHarness):
    lease = begun(system.execution())
    first, second, urgent = (
        system.execution(queue=queue, available_at=START - timedelta(seconds=seconds))
        for queue, seconds in (("a", 3), ("a", 1), ("b", 2))
    )
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("SELECT id FROM job_executions WHERE id = %s FOR UPDATE", [first.pk])
    taken = []
    for _ in range(2):
        (one,) = turn(success(lease), "a", "b").started
        taken.append(one.row.id)
        lease = one.lease
    other.rollback()
    other.close()
    # The second one of its queue is not older than the first one of the other queue.
    assert taken == [urgent.pk, second.pk]


@IS_POSTGRES
def test_a_turn_that_comes_too_late_claims_nothing(system: SchedulerHarness):
    lease = begun(system.execution())
    row = system.execution()
    JobExecution.objects.filter(pk=lease.execution_id).update(lease_token="another")
    turn = short_turns.end_and_begin(
        success(lease), new_claim().terms(choice(), START), choice(), START
    )
    assert (turn.is_ended, turn.begun, turn.may_be_more) == (False, None, True)
    assert fresh(row).status == RunStatus.PENDING
    assert not JobAttempt.objects.exists()
    # With several statements, which say so before the end, it does.
    ended, taken = end_and_claim([success(lease)], new_claim(), choice(), START)
    assert ended == frozenset()
    assert [one.row.id for one in taken.started] == [row.pk]


@IS_POSTGRES
def test_after_a_lost_answer_what_was_claimed_is_found(system: SchedulerHarness):
    lease = begun(system.execution())
    row = system.execution()
    claim = new_claim()
    faults = Faults(lambda text: text == TURN, done=True)
    with connection.execute_wrapper(faults), pytest.raises(OperationalError):
        end_and_claim([success(lease)], claim, choice(), START)
    assert faults.seen
    connection.close()
    assert endings.ended([lease]) == {lease.token}
    (claimed,) = claim.taken_after_all(START + timedelta(seconds=3)).started
    assert (claimed.row.id, fresh(row).lease_token) == (row.pk, claimed.lease.token)
    assert (claimed.lease.attempt, claimed.lease.started_at) == (fresh(row).attempt, START)


@IS_POSTGRES
@pytest.mark.parametrize("done", [True, False])
def test_a_worker_goes_on_after_a_lost_answer(done: bool, system: SchedulerHarness):
    rows = [system.execution() for _ in range(2)]
    worker = system.new_worker("child")
    (first,) = worker.executor.claim(choice()).runs
    worker.executor.wait_for(first)
    faults = Faults(lambda text: text == TURN, done=done)
    with connection.execute_wrapper(faults):
        begun = worker.executor.report_and_claim(first, choice())
    if not done:  # what was asked for after all is nothing: the next claim finds it
        assert not begun.runs
        begun = worker.executor.claim(choice())
    (second,) = begun.runs
    worker.executor.wait_for(second)
    worker.executor.report([second])
    assert faults.seen
    assert [second.row.id, second.lease.attempt] == [rows[1].pk, 1]
    assert [(fresh(row).status, fresh(row).attempt) for row in rows] == [("SUCCESS", 1)] * 2
    assert [row.attempts.count() for row in rows] == [1, 1]


@IS_POSTGRES
def test_after_a_refusal_nothing_was_claimed(system: SchedulerHarness):
    lease = begun(system.execution())
    row = system.execution()
    JobAttempt.objects.create(
        execution_id=lease.execution_id, attempt=1, lease_token="x", started_at=START,
        ended_at=START, outcome="SUCCESS",
    )  # fmt: skip
    claim = new_claim()
    with pytest.raises(Exception, match="one_row_per_attempt"):
        end_and_claim([success(lease)], claim, choice(), START)
    assert claim.taken_after_all(START) == Claims()
    assert fresh(row).status == RunStatus.PENDING
    assert fresh_status(lease) == RunStatus.RUNNING


def fresh_status(lease: Lease) -> str:
    return JobExecution.objects.get(pk=lease.execution_id).status


@IS_POSTGRES
def test_the_plan_reads_indexes_though_the_tables_were_empty(system: SchedulerHarness):
    lease = begun(system.execution())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE job_executions")
    turn(success(lease))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, CARDINALITY(parameter_types) FROM pg_prepared_statements"
            " WHERE statement LIKE %s",
            [f"{TURN[:20]}%"],
        )
        ((name, count),) = cursor.fetchall()
        cursor.execute(f"EXPLAIN EXECUTE {name} ({', '.join(['NULL'] * count)})")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
    assert "executions_to_claim" in plan
    assert "job_executions_pkey" in plan


@IS_POSTGRES
def test_other_code_on_the_connection_finds_its_own_settings(system: SchedulerHarness):
    names = ("plan_cache_mode", "enable_seqscan")

    def settings() -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
            return list(cursor.fetchone())

    turn(success(begun(system.execution())))
    assert settings() == ["force_generic_plan", "off"]
    unlimit_connection()
    assert settings() == ["auto", "on"]
    limit_connection()
    assert settings() == ["force_generic_plan", "off"]
