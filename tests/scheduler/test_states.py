"""The one table of transitions, and what the database itself refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from scheduler.models import LIMITS, CronJob, JobAttempt, JobExecution, JobLog
from scheduler.states import (
    FINAL,
    RETRYABLE,
    TRANSITIONS,
    UNFINISHED,
    AttemptOutcome,
    RunStatus,
)
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db]

LEASED = {
    "lease_token": "a" * 32,
    "lease_expires_at": START,
    "deadline_at": START,
}


# --- the table ------------------------------------------------------------------------------------


def test_every_status_has_its_line_in_the_table():
    assert set(TRANSITIONS) == {None, *RunStatus}


def test_final_and_unfinished_are_all_and_success_stays():
    assert set(RunStatus) == FINAL | UNFINISHED
    assert not FINAL & UNFINISHED
    assert TRANSITIONS[RunStatus.SUCCESS] == frozenset()
    assert all(TRANSITIONS[status] == {RunStatus.PENDING} for status in RETRYABLE)


def test_every_status_can_be_reached_and_every_run_can_end():
    reached: set[RunStatus] = set()
    frontier = set(TRANSITIONS[None])
    while frontier:
        reached |= frontier
        frontier = {after for status in frontier for after in TRANSITIONS[status]} - reached
    assert reached == set(RunStatus)
    assert all(TRANSITIONS[status] & FINAL for status in UNFINISHED)


def test_the_five_names_people_know_are_as_they_were():
    assert {"PENDING", "RUNNING", "SUCCESS", "FAILED", "TIMEOUT"} <= {s.value for s in RunStatus}


# --- the database's own constraints ---------------------------------------------------------------


def refused(write: Any) -> bool:
    try:
        with transaction.atomic():
            write()
    except DatabaseError:
        return True
    return False


@pytest.mark.parametrize("status", list(RunStatus))
def test_the_constraints_take_each_status_in_its_own_shape_only(
    status: RunStatus, system: SchedulerHarness
):
    row = system.execution()
    rows = JobExecution.objects.filter(pk=row.pk)
    lease = LEASED if status == RunStatus.RUNNING else dict.fromkeys(LEASED)
    right = {
        "status": status,
        "finished_at": START if status in FINAL else None,
        **lease,
    }
    rows.update(**right)
    assert rows.get().status == status

    not_final = {**right, "finished_at": None if status in FINAL else START}
    assert refused(lambda: rows.update(**not_final))
    if status == RunStatus.RUNNING:
        for column in LEASED:
            assert refused(lambda column=column: rows.update(**{**right, column: None}))
    else:
        for column, value in LEASED.items():
            assert refused(lambda c=column, v=value: rows.update(**{**right, c: v}))


def test_an_unknown_status_source_or_outcome_is_refused(system: SchedulerHarness):
    row = system.execution()
    rows = JobExecution.objects.filter(pk=row.pk)
    assert refused(lambda: rows.update(status="DONE", finished_at=START))
    assert refused(lambda: rows.update(param_source="magic"))
    assert refused(
        lambda: JobAttempt.objects.create(
            execution=row, attempt=1, lease_token="t", started_at=START, ended_at=START, outcome="X"
        )
    )


def test_a_run_that_has_begun_or_ended_stands_in_no_line(system: SchedulerHarness):
    rows = JobExecution.objects.filter(pk=system.execution().pk)
    running = {"status": RunStatus.RUNNING, **LEASED}
    assert refused(lambda: rows.update(**running, in_line=1))
    rows.update(in_line=1)
    assert refused(lambda: rows.update(status=RunStatus.SKIPPED, finished_at=START))


def test_a_slot_cannot_be_there_twice(system: SchedulerHarness):
    job = system.job()
    system.execution(job, scheduled_time=START)
    assert refused(lambda: system.execution(job, scheduled_time=START))
    system.execution(None, scheduled_time=START)
    system.execution(None, scheduled_time=START)  # runs without a job are no slots


def test_an_attempt_and_a_lease_token_are_written_once(system: SchedulerHarness):
    row = system.execution()

    def attempt(number: int, token: str) -> JobAttempt:
        return JobAttempt.objects.create(
            execution=row,
            attempt=number,
            lease_token=token,
            started_at=START,
            ended_at=START,
            outcome=AttemptOutcome.LOST,
        )

    attempt(1, "a")
    assert refused(lambda: attempt(1, "b"))
    assert refused(lambda: attempt(2, "a"))


@pytest.mark.parametrize("column", list(LIMITS))
def test_numbers_out_of_range_are_refused_by_the_database(column: str, system: SchedulerHarness):
    low, high = LIMITS[column]
    rows = CronJob.objects.filter(pk=system.job().pk)
    for value in (low, high):
        rows.update(**{column: value})
    for value in (low - 1, high + 1):
        assert refused(lambda value=value: rows.update(**{column: value}))


def test_unknown_policies_are_refused_by_the_database(system: SchedulerHarness):
    rows = CronJob.objects.filter(pk=system.job().pk)
    assert refused(lambda: rows.update(overlap_policy="sometimes"))
    assert refused(lambda: rows.update(misfire_policy="never"))


def test_deleting_a_job_by_sql_deletes_all_that_belongs_to_it(system: SchedulerHarness):
    job, other = system.job(), system.job()
    row, kept = system.execution(job), system.execution(other)
    for each in (row, kept):
        JobAttempt.objects.create(
            execution=each,
            attempt=1,
            lease_token=f"t{each.pk}",
            started_at=START,
            ended_at=START + timedelta(seconds=1),
            outcome=AttemptOutcome.SUCCESS,
        )
        JobLog.objects.create(execution=each, attempt=1, seq=1, at=START, level="INFO", message="x")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM cron_jobs WHERE id = %s", [job.pk])
    assert [e.pk for e in JobExecution.objects.all()] == [kept.pk]
    assert [a.execution_id for a in JobAttempt.objects.all()] == [kept.pk]
    assert [line.execution_id for line in JobLog.objects.all()] == [kept.pk]


def test_deleting_an_execution_by_sql_deletes_its_attempts_and_logs(system: SchedulerHarness):
    row = system.execution(system.job())
    JobLog.objects.create(execution=row, attempt=1, seq=1, at=START, level="INFO", message="x")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM job_executions WHERE id = %s", [row.pk])
    assert not JobLog.objects.exists()
