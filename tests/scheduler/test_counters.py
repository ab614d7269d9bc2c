"""What has ended is counted once, whatever comes between."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection, transaction

from scheduler.models import ALL_JOBS, CountedEnds, CronJob, JobCounters, JobExecution
from scheduler.states import FINAL, ParamSource, RunStatus
from scheduler.store import counters, histograms, retention
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.database]

LEASE = 60
LATE = timedelta(seconds=2 * LEASE + 61)
in_one_transaction = pytest.mark.django_db
in_real_transactions = pytest.mark.django_db(transaction=True)


def count(seconds: float = 2, **options: int) -> None:
    """Counts all that has ended, at `seconds` after START."""
    while counters.count(START + timedelta(seconds=seconds), lease_seconds=LEASE, **options):
        pass


def ended_of(job: CronJob | None) -> dict[str, int]:
    row = JobCounters.objects.filter(job_id=job.pk if job else ALL_JOBS).first()
    return row.ended if row else {}


def make_end(
    system: SchedulerHarness,
    job: CronJob | None = None,
    status: RunStatus = RunStatus.SUCCESS,
    seconds: float = 0.0,
    *,
    late: float = 0.0,
    took: float = 1.0,
    attempt: int = 1,
) -> JobExecution:
    """A run that ended `seconds` after START and had begun `late` after its slot."""
    end = START + timedelta(seconds=seconds)
    begin = end - timedelta(seconds=took)
    return system.execution(
        job,
        status=status,
        finished_at=end,
        started_at=None if status == RunStatus.SKIPPED else begin,
        available_at=begin - timedelta(seconds=late),
        attempt=attempt,
        param_source=ParamSource.MANUAL,
    )


@in_one_transaction
def test_ends_are_counted_by_job_and_status_with_duration_and_lateness(system: SchedulerHarness):
    job, other = system.job(), system.job()
    make_end(system, job, took=0.02, late=2.0)
    make_end(system, job, took=7200.0, late=0.001)
    make_end(system, job, RunStatus.FAILED, took=3.0, attempt=2, late=30.0)
    make_end(system, other, RunStatus.SKIPPED)
    make_end(system, None, took=0.3)

    count()

    assert ended_of(job) == {"SUCCESS": 2, "FAILED": 1}
    assert ended_of(other) == {"SKIPPED": 1}
    assert ended_of(None) == {"SUCCESS": 3, "FAILED": 1, "SKIPPED": 1}
    row = JobCounters.objects.get(job_id=job.pk)
    assert row.duration == {"0.025": 1, "+Inf": 1, "5": 1, "sum": 7203.02}
    # A later attempt has waited for its back-off, which is not lateness.
    assert row.lateness == {"5": 1, "0.005": 1, "sum": 2.001}
    assert list(histograms.read(row.duration).cumulative())[-2:] == [2, 3]
    assert JobCounters.objects.get(job_id=other.pk).duration == {}


@in_one_transaction
def test_failures_in_a_row_end_with_a_success(system: SchedulerHarness):
    job = system.job()
    for seconds, status in enumerate(
        (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.SKIPPED, RunStatus.TIMEOUT), start=1
    ):
        make_end(system, job, status, seconds)
        count(seconds + 1)

    failing = JobCounters.objects.get(job_id=job.pk)
    make_end(system, job, seconds=6)
    count(8)
    fine = JobCounters.objects.get(job_id=job.pk)

    assert failing.failures_in_a_row == 2
    assert failing.last_success_at == START + timedelta(seconds=1)
    assert failing.last_end_at == START + timedelta(seconds=4)
    assert (fine.failures_in_a_row, fine.last_success_at) == (0, START + timedelta(seconds=6))


@in_one_transaction
def test_an_end_that_is_committed_late_is_counted_once(system: SchedulerHarness):
    job = system.job()
    make_end(system, job, seconds=0)
    make_end(system, job, seconds=5)
    count(10)
    # Its worker was frozen between reading the time and the commit.
    make_end(system, job, RunStatus.FAILED, seconds=3)
    count(30)
    before = ended_of(job)

    count(5 + LATE.total_seconds())
    count(500 + LATE.total_seconds())

    assert before == {"SUCCESS": 2}
    assert ended_of(job) == {"SUCCESS": 2, "FAILED": 1}
    # It is older than the newest one, so the job does not fail now.
    assert JobCounters.objects.get(job_id=job.pk).failures_in_a_row == 0
    assert not CountedEnds.objects.exists()


@in_one_transaction
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_steps_of_any_size_count_each_end_once(system: SchedulerHarness, step: int):
    """A group of workers' ends has one `finished_at`, and a step may end within it."""
    job = system.job()
    for seconds in (1, 1, 1, 2, 3, 3, 4, 4, 4, 4):
        make_end(system, job, seconds=seconds)

    count(5, step=step)

    assert ended_of(job) == {"SUCCESS": 10}
    count(5 + LATE.total_seconds(), step=step)
    assert ended_of(job) == {"SUCCESS": 10}


@in_one_transaction
def test_what_is_deleted_stays_counted_and_what_ends_again_counts_again(system: SchedulerHarness):
    job, gone = system.job(), system.job()
    run = make_end(system, job, RunStatus.FAILED)
    make_end(system, job)
    make_end(system, gone)
    count()

    system.control.retry(run.pk)
    retention.prune(START + timedelta(days=1), 10)
    JobExecution.objects.filter(pk=run.pk).update(
        status=RunStatus.SUCCESS, finished_at=START + timedelta(seconds=9)
    )
    CronJob.objects.filter(pk=gone.pk).delete()
    counters.forget_deleted_jobs()
    count(20)

    assert ended_of(job) == {"FAILED": 1, "SUCCESS": 2}
    assert ended_of(gone) == {}
    assert ended_of(None) == {"FAILED": 1, "SUCCESS": 3}


@in_one_transaction
def test_a_step_that_is_not_committed_has_counted_nothing(system: SchedulerHarness):
    job = system.job()
    make_end(system, job)
    count(-1)  # writes where counting begins

    with transaction.atomic():
        count()
        transaction.set_rollback(True)
    assert ended_of(job) == {}
    count()

    assert ended_of(job) == {"SUCCESS": 1}


@in_real_transactions
def test_counters_equal_the_table_after_many_beats_counted_while_runs_ended(
    system: SchedulerHarness,
):
    jobs = [system.job(), system.job(), None]
    statuses = sorted(FINAL)
    is_over = threading.Event()
    errors: list[BaseException] = []

    def beat() -> None:
        try:
            while not is_over.wait(0.005):
                counters.count(system.clock.now(), lease_seconds=LEASE, step=7)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connection.close()

    beats = [threading.Thread(target=beat) for _ in range(3)]
    for each in beats:
        each.start()
    for number in range(120):
        make_end(system, jobs[number % 3], statuses[number % len(statuses)], number / 20)
        if number % 10 == 9:
            # One that is written into a span that a beat may have read already.
            make_end(system, jobs[0], RunStatus.TIMEOUT, number / 20 - 3)
        system.clock.advance(0.05)
    is_over.set()
    for each in beats:
        each.join()
    count(20)
    count(20 + LATE.total_seconds())

    assert errors == []
    rows = JobExecution.objects.filter(status__in=statuses)
    assert sum(ended_of(None).values()) == 132
    assert ended_of(None) == Counter(rows.values_list("status", flat=True))
    for job in jobs[:2]:
        of_job = rows.filter(job=job).values_list("status", flat=True)
        assert ended_of(job) == Counter(of_job)


@in_one_transaction
def test_beat_counts_what_has_ended(system: SchedulerHarness):
    job = system.job(cron_expression="* * * * *")
    system.minutes(3)
    system.clock.advance(5)
    system.tick()

    ended = JobExecution.objects.filter(job=job, status=RunStatus.SUCCESS).count()
    assert ended_of(job) == {"SUCCESS": ended}
