"""Runs through the real executor and the real event loop, on the job database of the test run."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from handlers import BaseHandler, HandlerParams, PermanentError
from scheduler.models import CronJob, JobAttempt, JobExecution, JobGuard, JobLog
from scheduler.operations.masking import MASK
from scheduler.states import FINAL, AttemptOutcome, RunStatus
from scheduler.store import candidates, claims, endings, overlap, run_reports
from scheduler.store.heads import Floors
from scheduler.worker.lease import HeldRun
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import (
    START,
    ProcessEnded,
    SchedulerHarness,
    fresh,
    outcomes,
    reason_of,
    statuses,
)
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def run(system: SchedulerHarness, row: JobExecution) -> JobExecution:
    system.worker.execute(row.pk)
    return fresh(row)


# --- how a run ends -------------------------------------------------------------------------------


def test_a_run_succeeds_and_its_result_is_the_row(system: SchedulerHarness):
    row = run(system, system.execution(system.job()))
    assert (row.status, row.result, row.error_message) == (
        RunStatus.SUCCESS,
        {"done": True},
        None,
    )
    assert (row.attempt, row.failures) == (1, 0)
    assert row.started_at == row.finished_at == START
    assert row.lease_owner == "worker1"
    attempt = JobAttempt.objects.get()
    assert (attempt.outcome, attempt.lease_token) == ("SUCCESS", row.final_token)


@pytest.mark.parametrize("ends", ["raises", "reports", "returns", "is stopped"])
def test_what_a_handler_says_is_stored_without_the_secrets_of_its_params(
    ends: str, system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    async def tells(self: BaseHandler, params: Any) -> Any:
        secret = params["password"]
        self.context.log.info("signing in with %s", secret)
        self.context.progress(50, f"as {secret}")
        if ends == "is stopped":
            try:
                await asyncio.sleep(30)
            finally:
                raise RuntimeError(f"cannot leave {secret}")
        if ends == "raises":
            raise RuntimeError(f"cannot sign in with password={secret}")
        return {"echo": [secret], "count": 7, "success": ends == "returns", "error": f"no {secret}"}

    system.handler("tells", tells)
    caplog.set_level(logging.DEBUG)
    row = system.execution(
        handler_name="tells", params={"password": "hunter2-of-it"}, max_retry=0,
        timeout_seconds=0 if ends == "is stopped" else 60,
    )  # fmt: skip
    row = run(system, row)

    attempt = JobAttempt.objects.get()
    told = [row.error_message, attempt.error, attempt.traceback, row.result, row.progress_message]
    told += JobLog.objects.values_list("message", flat=True)
    assert "hunter2" not in f"{told} {caplog.text}"
    assert f"signing in with {MASK}" in told
    assert row.progress_message == f"as {MASK}"
    if ends in ("returns", "reports"):
        assert row.result == {
            "echo": [MASK], "count": 7, "success": ends == "returns", "error": f"no {MASK}"
        }  # fmt: skip
    if ends == "raises":
        assert row.error_message == f"RuntimeError: cannot sign in with password={MASK}"
        assert f"password={MASK}" in attempt.traceback


def test_three_retries_are_four_attempts_with_doubling_waits(system: SchedulerHarness):
    row = system.execution(system.job(handler_name="fail", max_retry=3))
    waits = []
    for _ in range(4):
        row = run(system, row)
        waits.append((row.available_at - system.clock.now()).total_seconds())
        if row.status == RunStatus.PENDING:
            assert row.error_message == "RuntimeError: it went wrong"
            assert system.worker.execute(row.pk) is None  # too early
            system.clock.advance_to(row.available_at)
    assert waits[:3] == [30, 60, 120]
    assert (row.status, row.attempt, row.failures) == (RunStatus.FAILED, 4, 4)
    assert outcomes(row) == ["FAILED"] * 4
    assert "it went wrong" in JobAttempt.objects.filter(attempt=2).get().traceback
    assert system.worker.execute(row.pk) is None


def test_a_success_after_failures_shows_no_error(system: SchedulerHarness):
    tries: list[int] = []

    async def second_time_lucky(self: BaseHandler, params: Any) -> None:
        tries.append(self.context.attempt)
        if len(tries) == 1:
            raise ValueError("not yet")

    system.handler("lucky", second_time_lucky)
    row = run(system, system.execution(system.job(handler_name="lucky")))
    system.clock.advance(30)
    row = run(system, row)
    assert (row.status, row.error_message, row.failures) == (RunStatus.SUCCESS, None, 1)
    assert reason_of(row) == (None, None)
    assert tries == [1, 2]
    assert outcomes(row) == ["FAILED", "SUCCESS"]


def test_no_retries_and_permanent_errors_end_a_run_at_once(system: SchedulerHarness):
    async def give_up(self: BaseHandler, params: Any) -> None:
        raise PermanentError("no such customer")

    system.handler("gives-up", give_up)
    once = run(system, system.execution(handler_name="fail", max_retry=0))
    permanent = run(system, system.execution(handler_name="gives-up"))
    assert (once.status, once.attempt) == (RunStatus.FAILED, 1)
    assert (permanent.status, permanent.attempt) == (RunStatus.FAILED, 1)


def test_a_timeout_is_counted_and_recorded(system: SchedulerHarness):
    async def wait(self: BaseHandler, params: Any) -> None:
        await asyncio.Event().wait()

    system.handler("wait", wait)
    row = run(system, system.execution(handler_name="wait", timeout_seconds=1, max_retry=1))
    assert (row.status, row.failures) == (RunStatus.PENDING, 1)
    system.clock.advance_to(row.available_at)
    row = run(system, row)
    assert row.status == RunStatus.TIMEOUT
    assert row.error_message == "Execution timed out after 1 s"
    assert reason_of(row) == ("timeout", {"timeout_seconds": 1})
    assert outcomes(row) == ["TIMEOUT", "TIMEOUT"]


def test_unknown_handlers_and_invalid_params_fail_without_another_try(system: SchedulerHarness):
    class Params(HandlerParams):
        number: int

    async def execute(self: BaseHandler, params: Params) -> None: ...

    system.handler("numbers", execute, params=Params)
    unknown = run(system, system.execution(handler_name="okay"))
    assert (unknown.status, unknown.attempt) == (RunStatus.FAILED, 1)
    assert unknown.error_message == "Handler not found: okay (did you mean 'ok'?)"
    assert reason_of(unknown) == ("handler_not_found", None)
    invalid = run(system, system.execution(handler_name="numbers", params={"number": "x"}))
    assert invalid.status == RunStatus.FAILED
    assert (invalid.error_message or "").startswith("Invalid params: number: ")
    assert reason_of(invalid) == ("invalid_params", None)
    listed = run(system, system.execution(handler_name="ok", params=[1, 2]))
    assert listed.status == RunStatus.FAILED
    assert "must be an object" in (listed.error_message or "")


def test_params_that_only_the_database_can_read_fail_with_the_reason(system: SchedulerHarness):
    row = system.execution()
    text = '{"number": ' + "7" * 5000 + "}"
    with connection.cursor() as cursor:
        cursor.execute("UPDATE job_executions SET params = %s WHERE id = %s", [text, row.pk])
    assert system.worker.execute(row.pk) == RunStatus.FAILED
    error = JobExecution.objects.values_list("error_message", flat=True).get() or ""
    assert error.startswith("Invalid params: cannot be read: Exceeds the limit (4300 digits)")


def test_params_too_deep_for_python_fail_with_the_reason(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    def too_deep(value: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(candidates, "from_json", too_deep)  # how deep that is depends on the Python
    row = run(system, system.execution())
    assert row.status == RunStatus.FAILED
    assert "cannot be read: maximum recursion depth exceeded" in (row.error_message or "")


def test_a_failing_neighbour_changes_nothing_for_the_next_run(system: SchedulerHarness):
    async def exit_(self: BaseHandler, params: Any) -> None:
        raise SystemExit(3)

    system.handler("exit", exit_)
    failed = run(system, system.execution(handler_name="exit", max_retry=0))
    assert failed.status == RunStatus.FAILED
    assert run(system, system.execution()).status == RunStatus.SUCCESS


# --- messages -------------------------------------------------------------------------------------


def test_a_message_for_an_unknown_execution_is_dropped(system: SchedulerHarness):
    assert system.worker.execute(2**63 - 1) is None
    assert system.worker.execute(987_654_321) is None


def test_a_doubled_message_runs_once(system: SchedulerHarness):
    row = system.execution()
    assert [system.worker.execute(row.pk) for _ in range(3)] == [
        RunStatus.SUCCESS,
        None,
        None,
    ]
    assert fresh(row).attempt == 1


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_finished_run_is_not_claimed(status: str, system: SchedulerHarness):
    row = system.execution(status=status, finished_at=START)
    assert system.worker.execute(row.pk) is None
    assert (fresh(row).status, fresh(row).attempt) == (status, 0)


def test_the_urgent_are_claimed_first_then_who_waits_longest(system: SchedulerHarness):
    late = system.execution(available_at=START - timedelta(seconds=10))
    old = system.execution(available_at=START - timedelta(seconds=20))
    urgent = system.execution(priority=9)
    claim = claims.Claim(owner="w", lease_seconds=60, decide=decide)
    taken = [
        claimed.row.id
        for places in (2, 2)
        for claimed in claim.take(candidates.MostUrgent([""], places, Floors()), START).started
    ]
    assert taken == [urgent.pk, old.pk, late.pk]


def test_a_run_is_not_claimed_before_its_time(system: SchedulerHarness):
    row = system.execution(available_at=START + timedelta(seconds=10))
    assert system.worker.execute(row.pk) is None
    assert fresh(row).status == RunStatus.PENDING


def test_a_worker_whose_clock_lags_a_little_does_not_cost_half_a_minute(system: SchedulerHarness):
    row = system.execution(available_at=START + timedelta(milliseconds=40))
    assert system.worker.execute(row.pk) is None  # in the worker's eyes it is 40 ms early
    system.clock.advance(0.05)
    system.deliver()
    assert fresh(row).status == RunStatus.SUCCESS


# --- the fence ------------------------------------------------------------------------------------


LEASED = ("lease_token", "lease_expires_at", "deadline_at")


def declare_lost(row: JobExecution) -> None:
    """What another beat's rescue writes."""
    changed = JobExecution.objects.filter(pk=row.pk, status=RunStatus.RUNNING).update(
        status=RunStatus.PENDING,
        lease_token=None,
        lease_expires_at=None,
        deadline_at=None,
        available_at=START,
    )
    assert changed == 1


def test_a_worker_that_was_declared_lost_cannot_write_its_verdict(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    row = system.execution()

    async def taken_away(self: BaseHandler, params: Any) -> None:
        await asyncio.to_thread(in_a_thread, declare_lost, row)

    system.handler("taken-away", taken_away)
    JobExecution.objects.filter(pk=row.pk).update(handler_name="taken-away")
    with caplog.at_level(logging.WARNING):
        assert system.worker.execute(row.pk) is None
    after = fresh(row)
    assert (after.status, after.result, after.failures) == (RunStatus.PENDING, None, 0)
    assert outcomes(row) == []
    assert "stale attempt" in caplog.text


def in_a_thread(work: Any, *arguments: Any) -> None:
    try:
        work(*arguments)
    finally:
        connection.close()


def test_an_older_attempt_writes_nothing_while_a_newer_one_runs(system: SchedulerHarness):
    row = system.execution()
    second = system.new_worker("second")
    seen: list[object] = []

    async def overtaken(self: BaseHandler, params: Any) -> dict[str, int]:
        if self.context.attempt == 1:
            await asyncio.to_thread(in_a_thread, declare_lost, row)
            await asyncio.to_thread(in_a_thread, lambda: seen.append(second.execute(row.pk)))
        return {"attempt": self.context.attempt}

    system.handler("overtaken", overtaken)
    JobExecution.objects.filter(pk=row.pk).update(handler_name="overtaken")
    first = system.new_worker("first")
    assert first.execute(row.pk) is None
    assert seen == [RunStatus.SUCCESS]
    assert fresh(row).result == {"attempt": 2}
    assert fresh(row).lease_owner == "second"


def test_a_run_whose_row_was_deleted_is_logged_and_dropped(system: SchedulerHarness):
    job = system.job()

    async def deletes_its_job(self: BaseHandler, params: Any) -> None:
        await asyncio.to_thread(in_a_thread, lambda: CronJob.objects.filter(pk=job.pk).delete())

    system.handler("deletes", deletes_its_job)
    row = system.execution(job, handler_name="deletes")
    assert system.worker.execute(row.pk) is None
    assert not JobExecution.objects.exists()
    assert not JobAttempt.objects.exists()


# --- cancel, drain, stuck -------------------------------------------------------------------------


async def released(event: threading.Event) -> None:
    while not event.is_set():  # noqa: ASYNC110 - the event is set by another thread
        await asyncio.sleep(0.01)


class Waiting:
    """A handler that waits until it is stopped, and tells the test when it has begun."""

    def __init__(self, system: SchedulerHarness, name: str = "waits") -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        waiting = self

        async def execute(self: BaseHandler, params: Any) -> str:
            waiting.begun.set()
            await released(waiting.release)
            return "released"

        system.handler(name, execute)


def start(worker: Any, row: JobExecution) -> threading.Thread:
    thread = threading.Thread(target=in_a_thread, args=(worker.execute, row.pk))
    thread.start()
    return thread


def ended(thread: threading.Thread) -> None:
    thread.join(30)
    assert not thread.is_alive()


def test_a_waiting_run_is_cancelled_at_once(system: SchedulerHarness):
    row = system.execution()
    assert system.control.cancel(row.pk) == RunStatus.CANCELLED
    assert system.worker.execute(row.pk) is None
    assert fresh(row).error_message == "cancelled by a person"
    assert reason_of(row) == ("cancelled_by_person", {"by": "", "note": ""})
    assert fresh(row).finished_at == START


def test_a_running_run_is_cancelled_within_a_poll(system: SchedulerHarness):
    system.configure(cancel_poll_seconds=0.05)
    waiting = Waiting(system)
    row = system.execution(handler_name="waits")
    thread = start(system.worker, row)
    assert waiting.begun.wait(20)
    assert system.control.cancel(row.pk) == RunStatus.RUNNING
    ended(thread)
    after = fresh(row)
    assert (after.status, after.failures) == (RunStatus.CANCELLED, 0)
    assert after.error_message == "Execution was cancelled (cancelled by a person)"
    assert reason_of(row) == ("cancelled_by_person", {"by": "", "note": ""})
    assert outcomes(row) == ["CANCELLED"]


def test_a_failure_after_a_cancel_that_nobody_has_seen_yet_is_not_tried_again(
    system: SchedulerHarness,
):
    async def fails_when_released(self: BaseHandler, params: Any) -> None:
        begun.set()
        await released(release)
        raise RuntimeError("too late")

    begun, release = threading.Event(), threading.Event()
    system.handler("fails_when_released", fails_when_released)
    row = system.execution(handler_name="fails_when_released")
    thread = start(system.worker, row)
    assert begun.wait(20)
    system.control.cancel(row.pk)
    release.set()
    ended(thread)
    # PENDING, nobody could ever claim it.
    after = fresh(row)
    assert (after.status, after.failures) == (RunStatus.CANCELLED, 0)
    assert "too late" in (after.error_message or "")
    assert outcomes(row) == ["CANCELLED"]


def test_a_run_to_be_cancelled_is_not_handed_back(system: SchedulerHarness):
    row = system.execution()
    lease = system.claim(row)
    system.control.cancel(row.pk, reason="wrong day")
    system.control.cancel(row.pk, reason="too late to ask")
    leaving = endings.Ending(
        lease=lease,
        outcome=AttemptOutcome.RELEASED,
        status=RunStatus.PENDING,
        error="the worker leaves",
    )
    assert endings.end([leaving], now=START)
    assert fresh(row).status == RunStatus.CANCELLED
    assert fresh(row).error_message == "the worker leaves (cancelled by a person: wrong day)"
    assert reason_of(row) == ("cancelled_by_person", {"by": "", "note": "wrong day"})
    assert not endings.end([leaving], now=START)
    assert outcomes(row) == ["CANCELLED"]


def test_a_run_taken_away_is_stopped_within_a_poll(system: SchedulerHarness):
    system.configure(cancel_poll_seconds=0.05)
    waiting = Waiting(system)
    row = system.execution(handler_name="waits")
    thread = start(system.worker, row)
    assert waiting.begun.wait(20)
    declare_lost(row)
    ended(thread)
    assert (fresh(row).status, fresh(row).failures) == (RunStatus.PENDING, 0)


def test_a_draining_worker_takes_nothing(system: SchedulerHarness):
    row = system.execution()
    system.worker.drain.set(system.clock.monotonic() + 30)
    assert system.worker.execute(row.pk) is None
    assert fresh(row).status == RunStatus.PENDING
    assert (system.worker.leases.is_draining, system.worker.leases.is_running) == (True, False)


def test_a_hand_back_on_drain_is_not_charged_and_may_begin_at_once(system: SchedulerHarness):
    system.configure(cancel_poll_seconds=0.05)
    waiting = Waiting(system)
    row = system.execution(handler_name="waits", max_retry=0)
    thread = start(system.worker, row)
    assert waiting.begun.wait(20)
    wait_until(lambda: system.worker.leases.running_task_count == 1, 20, "the run to be held")
    system.worker.drain.set(system.clock.monotonic())
    ended(thread)
    after = fresh(row)
    assert (after.status, after.failures, after.attempt) == (RunStatus.PENDING, 0, 1)
    assert after.available_at == START
    assert reason_of(row) == ("worker_drained", None)
    assert outcomes(row) == ["RELEASED"]
    waiting.release.set()
    assert system.new_worker("next").execute(row.pk) == RunStatus.SUCCESS


def test_what_a_run_logs_while_it_is_handed_back_is_kept(system: SchedulerHarness):
    system.configure(cancel_poll_seconds=0.05)
    begun = threading.Event()

    async def tidies_up(self: BaseHandler, params: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.context.log.info("tidied up")

    system.handler("tidies-up", tidies_up)
    row = system.execution(handler_name="tidies-up")
    thread = start(system.worker, row)
    assert begun.wait(20)
    system.worker.drain.set(system.clock.monotonic())
    ended(thread)
    assert outcomes(row) == ["RELEASED"]
    assert list(JobLog.objects.values_list("message", flat=True)) == ["tidied up"]


def test_a_lease_that_cannot_be_renewed_is_abandoned_before_it_runs_out(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    system.configure(cancel_poll_seconds=0.05)
    waiting = Waiting(system)
    row = system.execution(handler_name="waits")
    thread = start(system.worker, row)
    assert waiting.begun.wait(20)
    with caplog.at_level(logging.ERROR):
        system.clock.advance(50)  # no renewal for 50 s of a lease of 60: this process was frozen
        # Renewed at the next round: it came in time.
        wait_until(
            lambda: (fresh(row).lease_expires_at or START) > START + timedelta(seconds=60),
            10,
            "a renewal",
        )
    waiting.release.set()
    ended(thread)
    assert fresh(row).status == RunStatus.SUCCESS


def test_a_worker_knows_whether_it_runs_and_how_many(system: SchedulerHarness):
    waiting = Waiting(system)
    leases = system.worker.leases
    assert (leases.is_running, leases.running_task_count) == (True, 0)

    thread = start(system.worker, system.execution(handler_name="waits"))
    assert waiting.begun.wait(20)
    wait_until(lambda: leases.running_task_count == 1, 10, "a run whose lease is kept")
    waiting.release.set()
    ended(thread)

    assert (leases.is_running, leases.running_task_count) == (True, 0)


def test_leases_are_renewed_but_never_past_the_deadline(system: SchedulerHarness):
    system.configure(cancel_poll_seconds=0.05, heartbeat_seconds=0.1)
    waiting = Waiting(system)
    row = system.execution(handler_name="waits", timeout_seconds=60)
    thread = start(system.worker, row)
    assert waiting.begun.wait(20)
    assert fresh(row).deadline_at == START + timedelta(seconds=90)
    for seconds, expected in ((20, 80), (25, 90)):
        system.clock.advance(seconds)
        until = START + timedelta(seconds=expected)
        wait_until(
            lambda until=until: fresh(row).lease_expires_at == until,  # type: ignore[misc]
            10,
            f"a lease until {expected}",
        )
    waiting.release.set()
    ended(thread)
    assert fresh(row).status == RunStatus.SUCCESS


@pytest.fixture
def ignores(system: SchedulerHarness) -> Iterator[str]:
    """A handler that ignores its cancellation until the test is over."""
    is_over = threading.Event()

    async def execute(self: BaseHandler, params: Any) -> None:
        while not is_over.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    yield system.handler("ignores", execute)
    is_over.set()


def test_a_handler_that_ignores_its_timeout_ends_the_process_and_spares_the_others(
    system: SchedulerHarness, ignores: str, caplog: pytest.LogCaptureFixture
):
    system.configure(grace_seconds=1)
    waiting = Waiting(system)
    other = system.execution(handler_name="waits")
    thread = start(system.worker, other)
    assert waiting.begun.wait(20)
    row = system.execution(handler_name=ignores, timeout_seconds=1, max_retry=0)
    with caplog.at_level(logging.ERROR), pytest.raises(ProcessEnded):
        system.worker.execute(row.pk)
    stuck, spared = fresh(row), fresh(other)
    assert stuck.status == RunStatus.TIMEOUT
    assert "handler ignores ignored its cancellation" in (stuck.error_message or "")
    assert "await asyncio.sleep(0.01)" in JobAttempt.objects.get(execution=row).traceback
    assert (spared.status, spared.failures) == (RunStatus.PENDING, 0)
    assert outcomes(other) == ["RELEASED"]
    assert reason_of(stuck) == ("timeout", {"timeout_seconds": 1})
    assert reason_of(other) == ("process_ended", {"culprit": row.pk})
    assert len(system.worker.ended) == 1
    assert "ignores its timeout" in caplog.text
    waiting.release.set()
    ended(thread)
    assert fresh(other).status == RunStatus.PENDING  # its late answer is discarded


def test_a_handler_that_blocks_the_loop_is_found_out_and_named(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    system.configure(grace_seconds=1, cancel_poll_seconds=0.1)
    let_go = threading.Event()

    async def blocks(self: BaseHandler, params: Any) -> None:
        let_go.wait(30)

    system.handler("blocks", blocks)
    row = system.execution(handler_name="blocks", timeout_seconds=1, max_retry=0)
    with caplog.at_level(logging.ERROR), pytest.raises(ProcessEnded):
        system.worker.execute(row.pk)
    let_go.set()
    assert fresh(row).status == RunStatus.TIMEOUT
    assert "blocked the event loop" in (fresh(row).error_message or "")
    assert "let_go.wait(30)" in JobAttempt.objects.get().traceback
    assert f"execution {row.pk} (blocks)" in caplog.text


class Blocked:
    """A run that blocks the loop, and another one whose coroutine could not begin."""

    def __init__(self, system: SchedulerHarness) -> None:
        system.configure(cancel_poll_seconds=0.05, grace_seconds=30)
        self.let_go = let_go = threading.Event()
        self.begun = begun = threading.Event()

        async def blocks(self: BaseHandler, params: Any) -> None:
            begun.set()
            let_go.wait(30)

        system.handler("blocks", blocks)
        self._leases = system.worker.leases
        self.threads = [start(system.worker, system.execution(handler_name="blocks"))]
        assert begun.wait(20)
        self.row = system.execution()
        self.threads.append(start(system.worker, self.row))
        wait_until(lambda: self._held() is not None, 20, "the second run to be held")

    def _held(self) -> HeldRun | None:
        found = self._leases._runs.values()
        return next((run for run in found if run.lease.execution_id == self.row.pk), None)

    def end_once_stopped(self) -> None:
        held = self._held()
        assert held is not None
        wait_until(lambda: held.stop_reason, 20, "the second run to be asked to stop")
        self.let_go.set()
        for thread in self.threads:
            ended(thread)


def test_a_run_that_is_cancelled_before_its_first_step_is_cancelled(system: SchedulerHarness):
    blocked = Blocked(system)
    assert system.control.cancel(blocked.row.pk) == RunStatus.RUNNING
    blocked.end_once_stopped()
    after = fresh(blocked.row)
    assert (after.status, after.failures) == (RunStatus.CANCELLED, 0)
    assert after.error_message == "Execution was cancelled before it began (cancelled by a person)"
    assert outcomes(after) == ["CANCELLED"]


def test_a_run_that_a_drain_stops_before_its_first_step_is_handed_back_free(
    system: SchedulerHarness,
):
    blocked = Blocked(system)
    system.worker.drain.set(system.clock.monotonic())
    blocked.end_once_stopped()
    after = fresh(blocked.row)
    assert (after.status, after.failures) == (RunStatus.PENDING, 0)
    assert outcomes(after) == ["RELEASED"]


def test_a_process_with_a_stuck_run_ends_although_the_database_is_away(
    system: SchedulerHarness, ignores: str, monkeypatch: pytest.MonkeyPatch
):
    system.configure(grace_seconds=1)
    worker = system.worker

    def away() -> None:
        raise OperationalError("the database is away")

    def lose_database(*_: object) -> None:
        monkeypatch.setattr(system.clock, "now", away)

    monkeypatch.setattr(worker.executor, "_log_end", lose_database)
    row = system.execution(handler_name=ignores, timeout_seconds=1)
    with pytest.raises(ProcessEnded):
        worker.execute(row.pk)
    assert len(worker.ended) == 1


# --- overlap --------------------------------------------------------------------------------------


class Overlapping:
    """A job of which one run goes on."""

    def __init__(
        self,
        system: SchedulerHarness,
        policy: str,
        job: CronJob | None = None,
        *,
        cancel_poll_seconds: float = 0.05,
    ) -> None:
        system.configure(cancel_poll_seconds=cancel_poll_seconds)
        self.system = system
        self.waiting = Waiting(system)
        self.job = job or system.job(overlap_policy=policy, handler_name="waits")
        self.running = system.execution(self.job)
        self.thread = start(system.worker, self.running)
        assert self.waiting.begun.wait(20)

    def end(self) -> None:
        self.waiting.release.set()
        ended(self.thread)


def test_allow_lets_runs_of_one_job_overlap(system: SchedulerHarness):
    overlapping = Overlapping(system, "allow")
    second = system.execution(overlapping.job)
    thread = start(system.worker, second)
    wait_until(lambda: fresh(second).status == RunStatus.RUNNING, 20, "the second run")
    assert fresh(overlapping.running).status == RunStatus.RUNNING
    overlapping.end()
    ended(thread)
    assert statuses() == ["SUCCESS", "SUCCESS"]


def test_skip_records_why_a_run_was_skipped(system: SchedulerHarness):
    overlapping = Overlapping(system, "skip")
    second = run(system, system.execution(overlapping.job, scheduled_time=START))
    assert second.status == RunStatus.SKIPPED
    assert second.error_message == (
        f"skipped by overlap policy skip: #{overlapping.running.pk} was still running"
    )
    assert second.attempt == 0
    assert reason_of(second) == ("overlap_running", {"running": overlapping.running.pk})
    overlapping.end()
    assert run(system, system.execution(overlapping.job)).status == RunStatus.SUCCESS


@pytest.mark.parametrize("policy", ["skip", "queue_one"])
def test_a_run_that_has_failed_waits_for_its_next_try_and_keeps_its_error(
    policy: str, system: SchedulerHarness
):
    overlapping = Overlapping(system, policy)
    failed = system.execution(overlapping.job, attempt=1, failures=1, error_message="it broke")
    row = run(system, failed)
    assert (row.status, row.error_message) == (RunStatus.PENDING, "it broke")
    assert row.available_at == START + timedelta(seconds=overlap.IN_LINE_SECONDS)
    assert reason_of(failed) == ("overlap_held", {"running": overlapping.running.pk})
    overlapping.end()  # wakes it
    assert run(system, failed).status == RunStatus.SUCCESS
    assert reason_of(failed) == (None, None)


def test_a_manual_run_and_a_slot_cannot_race_past_the_policy(system: SchedulerHarness):
    overlapping = Overlapping(system, "skip")
    manual = system.control.run_now(overlapping.job.pk)
    assert run(system, manual).status == RunStatus.SKIPPED
    overlapping.end()


def test_missed_slots_that_are_caught_up_do_not_skip_each_other(system: SchedulerHarness):
    overlapping = Overlapping(system, "skip")
    slots = [START - timedelta(minutes=minutes) for minutes in (3, 2, 1)]
    missed = [system.execution(overlapping.job, scheduled_time=slot) for slot in slots]
    for row in missed:
        assert run(system, row).status == RunStatus.PENDING
    overlapping.end()
    for row in missed:
        assert fresh(row).available_at == START  # the one that has ended wakes the oldest
        assert run(system, row).status == RunStatus.SUCCESS


def test_queue_one_lets_one_run_wait_and_wakes_it(system: SchedulerHarness):
    overlapping = Overlapping(system, "queue_one")
    second, third = (system.execution(overlapping.job) for _ in range(2))
    assert run(system, second).status == RunStatus.PENDING
    assert fresh(second).available_at == START + timedelta(seconds=overlap.IN_LINE_SECONDS)
    dropped = run(system, third)
    assert dropped.status == RunStatus.SKIPPED
    assert reason_of(dropped) == ("overlap_waiting", {"waiting": second.pk})
    overlapping.end()
    assert fresh(second).available_at == START
    assert run(system, second).status == RunStatus.SUCCESS


def test_a_run_in_line_looks_by_itself_when_nobody_has_woken_it(system: SchedulerHarness):
    overlapping = Overlapping(system, "queue_one")
    second = run(system, system.execution(overlapping.job))
    overlapping.end()
    # As a claim that held its row and then failed would leave it.
    later = START + timedelta(seconds=overlap.IN_LINE_SECONDS)
    JobExecution.objects.filter(pk=second.pk).update(in_line=overlapping.job.pk, available_at=later)
    system.clock.advance(overlap.IN_LINE_SECONDS)
    system.tick()
    system.deliver()
    assert fresh(second).status == RunStatus.SUCCESS


def test_a_guard_whose_run_was_ended_by_sql_is_free(system: SchedulerHarness):
    overlapping = Overlapping(system, "skip")
    JobExecution.objects.filter(pk=overlapping.running.pk).update(
        status=RunStatus.FAILED, finished_at=START, **dict.fromkeys(LEASED)
    )
    overlapping.end()
    assert run(system, system.execution(overlapping.job)).status == RunStatus.SUCCESS


def test_replace_stops_the_running_one_for_the_newer(system: SchedulerHarness):
    overlapping = Overlapping(system, "replace")
    second = system.execution(overlapping.job)
    assert run(system, second).status == RunStatus.PENDING
    ended(overlapping.thread)
    first = fresh(overlapping.running)
    assert first.status == RunStatus.CANCELLED
    assert f"replaced by #{second.pk}" in (first.error_message or "")
    assert reason_of(first) == ("replaced", {"newer": second.pk})
    assert fresh(second).available_at == START  # woken
    overlapping.waiting.release.set()
    assert run(system, second).status == RunStatus.SUCCESS


def test_replace_keeps_only_the_newest_of_those_that_wait(system: SchedulerHarness):
    # The running one does not notice that it is to be cancelled, so it still runs for the third.
    overlapping = Overlapping(system, "replace", cancel_poll_seconds=600)
    second, third = (system.execution(overlapping.job) for _ in range(2))
    assert run(system, second).status == RunStatus.PENDING
    assert run(system, third).status == RunStatus.PENDING
    assert fresh(second).status == RunStatus.SKIPPED
    assert reason_of(second) == ("overlap_newer", {"newer": third.pk})
    overlapping.end()
    assert fresh(third).available_at == START  # woken


def test_an_older_run_that_comes_late_does_not_replace_a_newer_one(system: SchedulerHarness):
    older = system.execution(None)
    overlapping = Overlapping(system, "replace")
    JobExecution.objects.filter(pk=older.pk).update(job_id=overlapping.job.pk)
    assert run(system, older).status == RunStatus.SKIPPED
    assert fresh(overlapping.running).cancel_requested_at is None
    overlapping.end()
    assert fresh(overlapping.running).status == RunStatus.SUCCESS


def test_an_older_run_that_is_tried_again_is_cancelled_for_a_newer_one(system: SchedulerHarness):
    older = system.execution(None, attempt=1, failures=1, error_message="it broke")
    overlapping = Overlapping(system, "replace")
    JobExecution.objects.filter(pk=older.pk).update(job_id=overlapping.job.pk)
    row = run(system, older)
    # Not SKIPPED, which says that it never ran.
    assert (row.status, row.finished_at) == (RunStatus.CANCELLED, START)
    assert row.error_message == (
        f"cancelled by overlap policy replace: #{overlapping.running.pk} is newer"
    )
    assert reason_of(row) == ("overlap_newer", {"newer": overlapping.running.pk})
    overlapping.end()
    assert fresh(overlapping.running).status == RunStatus.SUCCESS
    assert system.control.retry(row.pk).status == RunStatus.PENDING
    assert reason_of(row) == (None, None)


@pytest.mark.parametrize("seconds", [3, 60])
def test_a_next_try_and_a_jitter_are_not_cut_short_when_another_run_ends(
    seconds: int, system: SchedulerHarness
):
    overlapping = Overlapping(system, "skip")
    later = START + timedelta(seconds=seconds)
    jittered, backing_off = (
        system.execution(
            overlapping.job,
            attempt=failures,
            failures=failures,
            available_at=later,
        )
        for failures in (0, 1)
    )
    overlapping.end()
    assert [fresh(row).available_at for row in (jittered, backing_off)] == [later, later]


@pytest.mark.parametrize("policy", ["skip", "queue_one"])
def test_eight_retried_runs_wait_quietly_and_run_one_after_the_other(
    policy: str, system: SchedulerHarness
):
    system.configure(lease_seconds=3600)  # the clock runs faster than leases are renewed
    job = system.job(overlap_policy=policy, handler_name="waits", is_enabled=False)
    overlapping = Overlapping(system, policy, job=job)
    shape = {"status": RunStatus.FAILED, "attempt": 1, "failures": 1, "finished_at": START}
    failed = [system.execution(job, **shape) for _ in range(8)]
    for row in failed:
        system.control.retry(row.pk)
    system.deliver()
    looks = 0
    for _ in range(30):
        system.clock.advance(10)
        looks += len(system.deliver())
    # Five minutes, in which each looks once a minute.
    assert looks <= 5 * 8

    overlapping.end()
    assert sum(len(system.deliver()) for _ in failed) == 8
    assert set(statuses(job)) == {"SUCCESS"}
    # None of them waited for another one's time; the clock has not moved since the first began.
    ends = {fresh(row).finished_at for row in failed}
    assert ends == {system.clock.now()}
    order = JobAttempt.objects.filter(outcome="SUCCESS").order_by("id")
    assert list(order.values_list("execution_id", flat=True))[1:] == [row.pk for row in failed]


def test_a_guard_goes_with_its_job(system: SchedulerHarness):
    job = system.job(overlap_policy="skip")
    run(system, system.execution(job))
    assert JobGuard.objects.filter(id=job.pk).exists()
    system.control.delete_job(job.pk)
    assert not JobGuard.objects.exists()


def test_runs_that_are_lost_together_free_the_guard_of_their_job(system: SchedulerHarness):
    """Its policy was changed meanwhile, so one of them is in the guard and the other is not."""
    job = system.job(overlap_policy="queue_one", max_retry=0)
    leases = [system.claim(system.execution(job))]
    waits = run(system, system.execution(job))
    CronJob.objects.filter(pk=job.pk).update(overlap_policy="allow")
    leases.append(system.claim(system.execution(job)))
    lost = [
        endings.Ending(
            lease=replace(lease, guard=job.pk),
            outcome=AttemptOutcome.LOST,
            status=RunStatus.FAILED,
        )
        for lease in leases
    ]
    assert len(endings.end(lost, now=START)) == 2
    assert fresh(waits).available_at == START


def test_the_key_is_free_again_after_a_failure(system: SchedulerHarness):
    job = system.job(overlap_policy="skip", handler_name="fail", max_retry=0)
    assert run(system, system.execution(job)).status == RunStatus.FAILED
    assert run(system, system.execution(job)).status == RunStatus.FAILED


# --- what a handler says and gives back -----------------------------------------------------------


def test_logs_and_progress_are_saved_and_bounded(system: SchedulerHarness):
    system.configure(max_log_lines=5)

    async def talks(self: BaseHandler, params: Any) -> None:
        for number in range(20):
            self.context.log.info("line %s", number)
        self.context.progress(42, "x" * 5000)

    system.handler("talks", talks)
    row = run(system, system.execution(handler_name="talks"))
    lines = list(JobLog.objects.order_by("seq").values_list("seq", "level", "message"))
    assert lines[:5] == [(i + 1, "INFO", f"line {i}") for i in range(5)]
    assert lines[5:] == [(6, "WARNING", "more than 5 lines; the rest is not kept")]
    assert row.progress == 42
    assert len(row.progress_message) <= 500


def test_more_lines_than_one_statement_takes_are_kept(system: SchedulerHarness):
    # 48,000 parameters, and 32 MB of text: too much for SQLite and for MariaDB.
    system.configure(max_log_lines=8000)

    async def talks(self: BaseHandler, params: Any) -> None:
        for _ in range(8000):
            self.context.log.info("x" * 4000)

    system.handler("talks", talks)
    assert run(system, system.execution(handler_name="talks")).status == RunStatus.SUCCESS
    assert JobLog.objects.count() == 8000


def test_logs_of_a_running_run_can_be_read_before_it_ends(system: SchedulerHarness):
    system.configure(cancel_poll_seconds=0.05)
    release = threading.Event()

    async def talks(self: BaseHandler, params: Any) -> None:
        self.context.log.warning("half way")
        self.context.progress(50, "half")
        await released(release)

    system.handler("talks", talks)
    row = system.execution(handler_name="talks")
    thread = start(system.worker, row)
    wait_until(lambda: JobLog.objects.filter(message="half way").exists(), 20, "the line")
    wait_until(lambda: fresh(row).progress == 50, 20, "the progress")
    release.set()
    ended(thread)
    assert JobLog.objects.count() == 1


UGLY: list[dict[str, Any]] = [
    {"text": "a\x00b"},
    {"text": "\ud800"},
    {"number": float("nan"), "other": float("inf")},
    {"number": 2**80},
    {"deep": [[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]},
    {"emoji": "\U0001f600", "\x00": 1},
    {"big": "x" * 5_000_000},
    {"when": START, "set": {1}},
]


@pytest.mark.parametrize("value", UGLY, ids=range(len(UGLY)))
def test_results_no_database_would_take_are_stored_with_a_mark(
    value: dict[str, Any], system: SchedulerHarness
):
    async def gives(self: BaseHandler, params: Any) -> Any:
        return value

    system.handler("gives", gives)
    row = run(system, system.execution(handler_name="gives"))
    assert row.status == RunStatus.SUCCESS
    assert isinstance(row.result, dict)
    assert len(str(row.result)) < 100_000


def test_a_result_that_means_nothing_in_json_is_a_clear_failure(system: SchedulerHarness):
    async def gives(self: BaseHandler, params: Any) -> Any:
        return {"lock": threading.Lock()}

    system.handler("gives", gives)
    row = run(system, system.execution(handler_name="gives", max_retry=0))
    assert row.status == RunStatus.FAILED
    assert (row.error_message or "").startswith("Result cannot be stored: ")


@pytest.mark.parametrize(
    "text",
    ["x" * 5_000_000, "a\x00b", "\ud800\udfff", "\U0001f600", "line\nline\x1b[31m", "{braces} %s"],
    ids=["5 MB", "NUL", "surrogates", "emoji", "escape", "braces"],
)
def test_error_texts_no_database_would_take_are_stored_cut_and_escaped(
    text: str, system: SchedulerHarness
):
    async def raises(self: BaseHandler, params: Any) -> None:
        self.context.log.error(text)
        self.context.progress(1, text)
        raise RuntimeError(text)

    system.handler("raises", raises)
    row = run(system, system.execution(handler_name="raises", max_retry=0))
    assert row.status == RunStatus.FAILED
    assert (row.error_message or "").startswith("RuntimeError: ")
    assert len((row.error_message or "").encode()) <= 16_384
    assert len(JobAttempt.objects.get().traceback.encode()) <= 32_768


# --- context --------------------------------------------------------------------------------------


def test_a_handler_knows_its_slot_attempt_and_keys(system: SchedulerHarness):
    seen: dict[str, Any] = {}

    async def looks(self: BaseHandler, params: Any) -> None:
        context = self.context
        seen.update(
            slot=context.scheduled_time,
            attempt=context.attempt,
            most=context.max_attempts,
            key=context.idempotency_key,
            token=context.lease_token,
        )

    system.handler("looks", looks)
    job = system.job(handler_name="looks", max_retry=2)
    row = run(system, system.execution(job, failures=1, attempt=4, scheduled_time=START))
    assert seen == {
        "slot": START,
        "attempt": 5,
        "most": 6,
        "key": f"{job.pk}:2026-01-12T10:00:30Z",
        "token": row.final_token,
    }


# --- bookkeeping of the store ---------------------------------------------------------------------


def test_every_claim_has_a_token_of_its_own(system: SchedulerHarness):
    row = system.execution(handler_name="fail")
    tokens = set()
    for _ in range(3):
        run(system, row)
        system.clock.advance(3600)
    tokens = set(JobAttempt.objects.values_list("lease_token", flat=True))
    assert len(tokens) == 3


def test_log_lines_whose_commit_answer_was_lost_are_not_saved_twice(system: SchedulerHarness):
    lease = system.claim(system.execution())
    lines = [run_reports.LogLine(seq=n, at=START, level="INFO", message=str(n)) for n in (1, 2, 3)]
    run_reports.save_report(lease, run_reports.Report(lines=lines[:2]))
    run_reports.save_report(lease, run_reports.Report(lines=lines, maybe_saved=True))
    assert list(JobLog.objects.order_by("seq").values_list("message", flat=True)) == ["1", "2", "3"]
