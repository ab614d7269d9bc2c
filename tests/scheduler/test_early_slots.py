"""Beat begins the transaction of a slot a little before the slot, and commits it just after it.

A real beat: tests/test_commits_of_slots.py.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from django.db import connection

from scheduler.beat import recording
from scheduler.beat.dispatcher import Dispatcher
from scheduler.models import CronJob, JobExecution, JobFreeze, JobUpstream, JobWait
from scheduler.states import ReasonCode
from scheduler.store import slots
from tests.harness.scheduler_harness import FakeClock, SchedulerHarness, statuses

# SQLite would lock its whole file, so there beat does not begin early (test_dispatcher.py).
pytestmark = [
    pytest.mark.database("postgres", "mysql"),
    pytest.mark.django_db(transaction=True),
]

T = TypeVar("T")

BEFORE_SECONDS = 0.005
"""So long before the slot the tick begins."""


def elsewhere(work: Callable[[], T]) -> T:
    """What `work` returns on another connection."""

    def run() -> T:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result(30)


class StillClock(FakeClock):
    """It stands still until a test moves it, however slow the machine is."""

    def monotonic(self) -> float:
        return self._advanced


class Waits:
    """In place of the wait for the slot: does something, then the slot has come."""

    def __init__(self, system: SchedulerHarness) -> None:
        self._system = system
        self.meanwhile: Callable[[], object] = lambda: None
        self.results: list[object] = []

    def __call__(self, seconds: float) -> None:
        assert 0 < seconds <= BEFORE_SECONDS
        self.results.append(elsewhere(self.meanwhile))
        self._system.clock.advance(BEFORE_SECONDS)


@pytest.fixture
def waits(system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch) -> Waits:
    system.clock = StillClock()
    system.dispatcher = system.new_dispatcher()
    waits = Waits(system)
    monkeypatch.setattr(recording, "pause", waits)
    return waits


def before_its_slot(system: SchedulerHarness, *others: Dispatcher) -> datetime:
    """All beats are ready for the next slot of the jobs, which is to come in a moment."""
    beats = (system.dispatcher, *others)
    system.tick()
    slot = slots.next_due_at()
    assert slot is not None
    system.clock.advance_to(slot - timedelta(seconds=0.02))
    for beat in beats:
        while not beat.tick():
            pass  # the first ticks compare all watermarks
        assert beat.get_ready() > BEFORE_SECONDS
    system.clock.advance_to(slot - timedelta(seconds=BEFORE_SECONDS))
    return slot


def test_nobody_sees_a_slot_before_it_is_due(system: SchedulerHarness, waits: Waits):
    job = system.job()
    slot = before_its_slot(system)
    waits.meanwhile = lambda: statuses(job)

    system.tick()

    assert waits.results == [[]]
    (row,) = JobExecution.objects.filter(job=job)
    assert (row.scheduled_time, row.available_at, row.created_at) == (slot, slot, slot)
    assert system.clock.now() == slot
    job.refresh_from_db()
    assert job.next_run_at == slot + timedelta(minutes=1)


def test_a_freeze_that_comes_in_the_last_moment_holds(system: SchedulerHarness, waits: Waits):
    job = system.job()
    slot = before_its_slot(system)
    waits.meanwhile = lambda: new_freeze(slot)

    system.tick()

    (row,) = JobExecution.objects.filter(job=job)
    assert (row.status, row.reason_code) == ("SKIPPED", ReasonCode.FROZEN)


def test_a_freeze_that_comes_in_the_last_moment_holds_for_a_job_with_upstreams_too(
    system: SchedulerHarness, waits: Waits
):
    above = system.job(name="above")
    below = system.job(name="below")
    JobUpstream.objects.create(job=below, upstream=above)
    slot = before_its_slot(system)
    waits.meanwhile = lambda: new_freeze(slot)

    system.tick()

    assert len(waits.results) == 1
    assert statuses(above) == statuses(below) == ["SKIPPED"]


def test_an_upstream_job_that_is_changed_in_the_last_moment_is_read_as_it_is_then(
    system: SchedulerHarness, waits: Waits
):
    above = system.job(name="above", cron_expression="30 9 * * *")
    below = system.job(name="below")
    JobUpstream.objects.create(job=below, upstream=above)
    system.job(cron_expression="0 12 * * *")  # MariaDB locks the next one in the index, too
    slot = before_its_slot(system)
    waits.meanwhile = lambda: system.control.update_job(above.pk, cron_expression="15 8 * * *")

    system.tick()

    assert len(waits.results) == 1
    (wait,) = JobWait.objects.all()
    assert wait.slot == slot.replace(hour=8, minute=15)


# MariaDB locks the job for it, so there it comes after the slot.
@pytest.mark.database("postgres")
def test_an_upstream_job_that_sql_adds_in_the_last_moment_counts(
    system: SchedulerHarness, waits: Waits
):
    above = system.job(name="above", cron_expression="30 9 * * *")
    below = system.job(name="below")
    before_its_slot(system)
    waits.meanwhile = lambda: JobUpstream.objects.create(job=below, upstream=above)

    system.tick()

    assert len(waits.results) == 1
    assert JobWait.objects.count() == 1


def new_freeze(since: datetime) -> JobFreeze:
    return JobFreeze.objects.create(
        name="year end",
        reason="the books close",
        since=since - timedelta(seconds=1),
        until=since + timedelta(hours=1),
    )


def test_a_freeze_that_ends_in_the_last_moment_holds_no_longer(
    system: SchedulerHarness, waits: Waits
):
    job = system.job()
    new_freeze(system.clock.now())
    before_its_slot(system)
    waits.meanwhile = lambda: JobFreeze.objects.update(is_enabled=False)

    system.tick()

    assert waits.results == [1]
    assert statuses(job) == ["PENDING"]


def test_a_job_that_is_changed_before_it_is_locked_is_recorded_as_it_is_then(
    system: SchedulerHarness, waits: Waits
):
    changed, off = system.job(), system.job()
    before_its_slot(system)
    CronJob.objects.filter(pk=off.pk).update(is_enabled=False)
    CronJob.objects.filter(pk=changed.pk).update(queue="later")

    system.tick()

    assert statuses(off) == []
    assert JobExecution.objects.get(job=changed).queue == "later"


def test_of_two_beats_that_are_early_one_records(system: SchedulerHarness, waits: Waits):
    job, other = system.job(), system.new_dispatcher()
    slot = before_its_slot(system, other)
    waits.meanwhile = other.tick  # it finds the job locked, and waits for nothing

    system.tick()
    other.tick()

    (seconds,) = waits.results
    assert seconds == pytest.approx(BEFORE_SECONDS, abs=0.001)
    assert list(JobExecution.objects.values_list("job", "scheduled_time")) == [(job.pk, slot)]


def test_a_new_job_is_planned_by_the_time_that_it_is(system: SchedulerHarness, waits: Waits):
    system.job()
    slot = before_its_slot(system)
    CronJob.objects.all().delete()  # so that nothing waits for the slot
    new = system.job()

    system.tick()

    assert waits.results == []
    new.refresh_from_db()
    assert new.next_run_at == slot


def test_a_row_that_cannot_be_planned_is_switched_off_and_the_others_are_on_time(
    system: SchedulerHarness, waits: Waits
):
    job, broken = system.job(), system.job()
    slot = before_its_slot(system)
    CronJob.objects.filter(pk=broken.pk).update(cron_expression="99 * * * *")
    waits.meanwhile = lambda: statuses(job)

    system.tick()

    assert waits.results == [[]]
    broken.refresh_from_db()
    assert not broken.is_enabled
    assert JobExecution.objects.get(job=job).scheduled_time == slot


def fail_at_first(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first rows cannot be written. Returns the number of rows of each try, as they come."""
    record, written = slots.record_slots, list[int]()

    def fails_at_first(records: list[slots.SlotRecord], now: datetime) -> int:
        written.append(len(records))
        if len(written) == 1:
            raise ValueError("a value that cannot be written")
        return record(records, now)

    monkeypatch.setattr(slots, "record_slots", fails_at_first)
    return written


def test_when_the_batch_fails_each_job_is_recorded_alone_after_the_slot(
    system: SchedulerHarness, waits: Waits, monkeypatch: pytest.MonkeyPatch
):
    jobs = [system.job(), system.job()]
    slot = before_its_slot(system)
    written = fail_at_first(monkeypatch)

    system.tick()

    assert len(waits.results) == 1
    assert [JobExecution.objects.get(job=job).scheduled_time for job in jobs] == [slot, slot]
    assert written == [2, 1, 1]  # both at once, then each alone


def test_when_the_batch_fails_another_beat_may_record_it_meanwhile(
    system: SchedulerHarness, waits: Waits, monkeypatch: pytest.MonkeyPatch
):
    job, other = system.job(), system.new_dispatcher()
    slot = before_its_slot(system, other)

    def other_tick() -> None:
        waits.meanwhile = lambda: None
        other.tick()

    fail_at_first(monkeypatch)
    waits.meanwhile = other_tick

    system.tick()

    assert len(waits.results) == 2
    assert list(JobExecution.objects.values_list("job", "scheduled_time")) == [(job.pk, slot)]
    job.refresh_from_db()
    assert job.next_run_at == slot + timedelta(minutes=1)


def test_more_due_jobs_than_a_batch_holds_are_all_recorded(system: SchedulerHarness, waits: Waits):
    system.configure(batch_size=2)
    jobs = [system.job() for _ in range(5)]
    slot = before_its_slot(system)
    waits.meanwhile = lambda: statuses()

    system.tick()

    assert waits.results == [[]]
    assert [JobExecution.objects.get(job=job).scheduled_time for job in jobs] == [slot] * 5


def test_when_the_jobs_cannot_be_read_together_a_clock_that_is_late_overlooks_none(
    system: SchedulerHarness, waits: Waits, monkeypatch: pytest.MonkeyPatch
):
    job = system.job()
    slot = before_its_slot(system)
    # The newest reading took a millisecond longer than the one that announced the slot.
    monkeypatch.setattr(system.clock, "_now", system.clock.now() - timedelta(milliseconds=1))

    def fails(now: datetime, limit: int) -> list[slots.DueJob]:
        raise ValueError("a value that cannot be read")

    monkeypatch.setattr(slots, "claim_due_jobs", fails)

    system.tick()

    assert JobExecution.objects.get(job=job).scheduled_time == slot


def test_many_due_jobs_are_not_locked_early(system: SchedulerHarness):
    for _ in range(30):
        system.job()
    system.tick()
    slot = slots.next_due_at()
    assert slot is not None
    system.clock.advance_to(slot - timedelta(seconds=0.02))
    system.tick()
    assert system.dispatcher.get_ready() == 0
