"""Several connections at once: beats, workers and people who want the same row.

Threads meet at barriers, not after sleeps. SQLite has one writer at a time, and the same must hold.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from django.db import connection, transaction

from scheduler.models import CronJob, JobExecution
from scheduler.operations.control import Control
from scheduler.schedule.watermark import watermark_of
from scheduler.states import RunStatus
from scheduler.store import last_results, retention, slots
from scheduler.store.jobs import StaleEdit
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh, outcomes, statuses

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

T = TypeVar("T")


def together(*works: Callable[[], T]) -> list[T]:
    """Run all at once, each with a connection of its own. Returns what they returned."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        try:
            connection.ensure_connection()
            barrier.wait(30)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(60) for future in [pool.submit(run, work) for work in works]]


def test_beats_that_tick_at_the_same_moment_record_each_slot_once(system: SchedulerHarness):
    jobs = [system.job() for _ in range(30)]
    system.configure(batch_size=7)
    beats = [system.new_dispatcher() for _ in range(4)]
    system.tick()
    for minute in range(1, 4):
        system.clock.advance(60)
        together(*(beat.tick for beat in beats))
        system.tick()  # what another beat held when one looked is still due
        assert JobExecution.objects.count() == minute * len(jobs)
    for job in jobs:
        assert statuses(job) == ["PENDING"] * 3


def test_a_beat_leaves_out_the_jobs_that_another_one_holds(system: SchedulerHarness):
    if connection.vendor == "sqlite":
        return  # one writer at a time: the second beat waits for the whole transaction
    jobs = [system.job(next_run_at=START) for _ in range(4)]
    locked, done = threading.Event(), threading.Event()

    def holder() -> list[int]:
        with transaction.atomic():
            held = [job.id for job in slots.claim_due_jobs(START, 2)]
            locked.set()
            assert done.wait(30)
        return held

    def other() -> list[int]:
        assert locked.wait(30)
        try:
            with transaction.atomic():
                return [job.id for job in slots.claim_due_jobs(START, 10)]
        finally:
            done.set()

    held, found = together(holder, other)
    assert held == [job.pk for job in jobs[:2]]
    assert found == [job.pk for job in jobs[2:]]


def test_one_of_many_workers_claims_a_run(system: SchedulerHarness):
    rows = [system.execution(system.job()) for _ in range(5)]
    workers = [system.new_worker() for _ in range(6)]
    for row in rows:
        answers = together(*(lambda w=w: w.execute(row.pk) for w in workers))  # noqa: B023
        assert sorted(map(str, answers)) == ["None"] * 5 + ["SUCCESS"]
        assert outcomes(row) == ["SUCCESS"]
        assert fresh(row).attempt == 1


@pytest.mark.parametrize("policy", ["skip", "queue_one"])
def test_runs_of_one_job_that_start_together_do_not_overlap(policy: str, system: SchedulerHarness):
    running, most, lock = 0, 0, threading.Lock()

    async def counts(self: Any, params: Any) -> None:
        nonlocal running, most
        import asyncio

        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0.05)
        with lock:
            running -= 1

    system.handler("counts", counts)
    job = system.job(overlap_policy=policy, handler_name="counts")
    rows = [system.execution(job) for _ in range(4)]
    workers = [system.new_worker() for _ in rows]
    together(*(lambda w=w, r=r: w.execute(r.pk) for w, r in zip(workers, rows, strict=True)))
    for _ in range(5):
        system.clock.advance(6)
        system.tick()
        system.deliver()
    assert most == 1
    assert set(statuses(job)) <= {"SUCCESS", "SKIPPED"}
    assert "SUCCESS" in statuses(job)


def test_a_cancel_and_a_claim_at_the_same_moment_agree(system: SchedulerHarness):
    for _ in range(8):
        row = system.execution()
        worker = system.worker
        control = Control(clock=system.clock)
        written, answer = together(lambda: worker.execute(row.pk), lambda: cancel(control, row.pk))  # noqa: B023
        after = fresh(row).status
        if answer == RunStatus.CANCELLED:
            assert (after, written) == (RunStatus.CANCELLED, None)
        else:
            assert after in (RunStatus.SUCCESS, RunStatus.CANCELLED)


def cancel(control: Control, execution_id: int) -> RunStatus | None:
    from scheduler.operations.control import NotPossible

    try:
        return control.cancel(execution_id)
    except NotPossible:
        return None


def test_rescue_by_several_beats_charges_one_attempt_once(system: SchedulerHarness):
    row = system.execution(max_retry=5)
    system.claim(row)
    beats = [system.new_dispatcher() for _ in range(4)]
    for beat in beats:
        beat.tick()
    system.clock.advance(61)
    together(*(beat.tick for beat in beats))
    assert (fresh(row).status, fresh(row).failures) == (RunStatus.PENDING, 1)
    assert outcomes(row) == ["LOST"]


def test_beats_that_show_the_last_results_at_once_agree(system: SchedulerHarness):
    jobs = [system.job(is_enabled=False) for _ in range(60)]
    for round_ in range(1, 4):
        now = system.clock.advance(20)
        for number, job in enumerate(jobs):
            started_at = now - timedelta(seconds=1, microseconds=number)
            shape = {"status": RunStatus.FAILED, "started_at": started_at}
            system.execution(job, finished_at=now, **shape)
        since = now - timedelta(seconds=12)
        together(*[lambda since=since, now=now: last_results.refresh_last_results(since, now)] * 4)
        for job in CronJob.objects.prefetch_related("executions"):
            newest = max(row.started_at for row in job.executions.all() if row.started_at)
            assert (job.last_run_at, job.last_status) == (newest, "FAILED")
            assert job.executions.count() == round_


@contextmanager
def holding(job: CronJob) -> Iterator[None]:
    """Keep a transaction open that has locked the job, on another connection."""
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                CronJob.objects.filter(pk=job.pk).update(description="an open psql")
                is_held.set()
                is_over.wait(60)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        try:
            assert is_held.wait(30)
            yield
        finally:
            is_over.set()
        held.result(30)


@pytest.mark.database("postgres", "mysql")  # SQLite has no locks of rows
def test_one_held_job_keeps_no_other_from_its_result_and_no_beat_waiting(system: SchedulerHarness):
    system.clock.advance(120)
    jobs = [system.job(next_run_at=system.clock.now() + timedelta(hours=1)) for _ in range(20)]
    for job in jobs:
        system.execution(
            job,
            status=RunStatus.SUCCESS,
            started_at=system.clock.now() - timedelta(seconds=2),
            finished_at=system.clock.now() - timedelta(seconds=1),
        )

    def shown() -> int:
        return CronJob.objects.filter(last_status="SUCCESS").count()

    with holding(jobs[7]):
        began = time.monotonic()
        system.tick()
        assert time.monotonic() - began < 4  # lock_timeout is 5 s
        assert shown() == 19
        for _ in range(10):  # far longer than the rounds overlap
            system.clock.advance(10)
            system.tick()
        assert shown() == 19
    system.clock.advance(10)
    system.tick()
    assert shown() == 20


def test_an_event_delivered_many_times_at_once_makes_one_run(system: SchedulerHarness):
    control = Control(clock=system.clock)

    def event() -> bool:
        return control.event(handler_name="ok", params={}, idempotency_key="order 7")[1]

    assert sorted(together(*[event] * 5)) == [False] * 4 + [True]
    assert JobExecution.objects.count() == 1


def test_manual_runs_in_the_same_microsecond_all_exist(system: SchedulerHarness):
    job = system.job()
    control = Control(clock=system.clock)
    made = together(*[lambda: control.run_now(job.pk).pk] * 6)
    assert len(set(made)) == 6


def test_an_editor_who_read_nothing_waits_for_beat_and_is_not_refused(system: SchedulerHarness):
    if connection.vendor == "sqlite":
        return  # the edit's transaction cannot begin before beat's has ended
    job = system.job(next_run_at=START + timedelta(seconds=30))
    locked, released = threading.Event(), threading.Event()

    def beat() -> None:
        with transaction.atomic():
            (due,) = slots.claim_due_jobs(START + timedelta(seconds=30), 1)
            locked.set()
            released.wait(1)  # long enough for the editor to have read, were it not kept waiting
            next_run_at = START + timedelta(seconds=90)
            slots.advance_jobs(
                {due.id: watermark_of(due, system.settings, next_run_at, until=START)}
            )

    def editor() -> None:
        assert locked.wait(30)
        Control(clock=system.clock).update_job(job.pk, description="edited")

    together(beat, editor)
    after = CronJob.objects.get(pk=job.pk)
    assert (after.description, after.tick_seq) == ("edited", 2)


def test_an_editor_with_a_stale_copy_loses_against_beat(system: SchedulerHarness):
    job = system.job()
    system.tick()
    seen = CronJob.objects.get(pk=job.pk)
    system.clock.advance(60)
    system.tick()
    with pytest.raises(StaleEdit):
        system.control.update_job(job.pk, tick_seq=seen.tick_seq, cron_expression="0 0 * * *")
    assert CronJob.objects.get(pk=job.pk).cron_expression == "* * * * *"


def test_pruning_while_beats_tick_loses_and_doubles_no_slot(system: SchedulerHarness):
    job = system.job()
    system.tick()
    beats = [system.new_dispatcher() for _ in range(2)]
    seen: set[Any] = set()

    def prune() -> None:
        JobExecution.objects.filter(status=RunStatus.SKIPPED).delete()

    for _ in range(5):
        system.clock.advance(60)
        together(*(beat.tick for beat in beats), prune)
        system.tick()
        (row,) = JobExecution.objects.filter(job=job)
        assert row.scheduled_time not in seen
        seen.add(row.scheduled_time)
        JobExecution.objects.filter(pk=row.pk).delete()
    assert len(seen) == 5


def test_old_rows_that_somebody_holds_keep_nobody_from_deleting_the_others(
    system: SchedulerHarness,
):
    if connection.vendor == "sqlite":
        return  # it has no locks of rows
    ended: dict[str, Any] = {"status": RunStatus.SUCCESS, "finished_at": START}
    held, _ = [system.execution(**ended) for _ in range(2)]
    with transaction.atomic():
        JobExecution.objects.select_for_update().get(pk=held.pk)
        together(lambda: retention.prune(START + timedelta(days=1), 10))
    assert list(JobExecution.objects.all()) == [held]


def test_a_run_that_meets_the_deletion_of_its_job_says_so(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    if connection.vendor == "sqlite":
        return  # one writer at a time: the deletion comes before or after
    job = system.job()
    create = JobExecution.objects.create

    def deleted_just_before(**values: Any) -> JobExecution:
        together(lambda: CronJob.objects.filter(pk=job.pk).delete())
        return create(**values)

    monkeypatch.setattr(JobExecution.objects, "create", deleted_just_before)
    with pytest.raises(CronJob.DoesNotExist):
        system.control.run_now(job.pk)
    assert not JobExecution.objects.exists()
