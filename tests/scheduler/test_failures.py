"""Failures are grouped by their kind after they happened, each once, whatever comes between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler.models import (
    CountedEnds,
    Counting,
    CronJob,
    FailedRun,
    FailureDay,
    FailureGroup,
    JobAttempt,
    JobExecution,
)
from scheduler.operations.actor import Actor
from scheduler.operations.errors import NotPossible
from scheduler.operations.failures import FailureControl
from scheduler.states import RunStatus
from scheduler.store import counters, failures, retention
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db]

LEASE = 60


def count(seconds: float = 2) -> None:
    """Counts, and groups what failed, at `seconds` after START."""
    while counters.count(START + timedelta(seconds=seconds), lease_seconds=LEASE):
        pass


def fail(
    system: SchedulerHarness,
    job: CronJob | None = None,
    error: str = "boom 1",
    *,
    seconds: float = 0.0,
    status: RunStatus = RunStatus.FAILED,
    exception: str | None = None,
    **values: Any,
) -> JobExecution:
    """A run that ended `seconds` after START with this error."""
    end = START + timedelta(seconds=seconds)
    run = system.execution(
        job, status=status, finished_at=end, started_at=end, attempt=1, error_message=error,
        **values,
    )  # fmt: skip
    JobAttempt.objects.create(
        execution=run, attempt=1, lease_token=f"t{run.pk}", started_at=end, ended_at=end,
        outcome=status, error=error, exception_class=exception,
    )  # fmt: skip
    return run


def by(system: SchedulerHarness, name: str = "alice") -> FailureControl:
    return FailureControl(actor=Actor(name=name), clock=system.clock)


def test_failures_of_one_kind_are_one_group_with_counts_jobs_and_days(system: SchedulerHarness):
    job, other = system.job(), system.job()
    fail(system, job, "no order 1", seconds=-90_000, exception="shop.NoOrder")
    fail(system, job, "no order 2", exception="shop.NoOrder")
    last = fail(system, other, "no order 3\nmore", seconds=0.5, exception="shop.NoOrder")
    fail(system, job, "late after 30 s", status=RunStatus.TIMEOUT)
    fail(system, None, "no order 4")
    system.execution(job, status=RunStatus.SUCCESS, finished_at=START)

    count()

    group = FailureGroup.objects.get(exception_class="shop.NoOrder")
    assert (group.text, group.example, group.runs) == ("no order <n>", "no order 3", 3)
    assert group.first_at == START - timedelta(seconds=90_000)
    assert (group.last_at, group.last_execution_id) == (last.finished_at, last.pk)
    days = failures.last_days(START, 7)
    spread = failures.spreads([group.pk], days[0])[group.pk]
    assert (spread.runs, spread.jobs, len(spread.by_day)) == (3, 2, 2)
    assert failures.jobs_of(group.pk, days[0], 5) == [(job.pk, 2), (other.pk, 1)]
    assert set(FailureGroup.objects.values_list("text", "runs")) == {
        ("no order <n>", 3), ("no order <n>", 1), ("late after <n> s", 1),
    }  # fmt: skip
    assert next(iter(failures.runs_of(group.pk))).pk == last.pk


def test_a_step_without_a_failure_asks_nothing_more(system: SchedulerHarness):
    count(0)
    system.execution(status=RunStatus.SUCCESS, finished_at=START)

    with CaptureQueriesContext(connection) as asked:
        count()

    assert not [query for query in asked if "jobu_fail" in query["sql"]]


def test_each_failure_is_grouped_once_also_one_that_was_committed_late(system: SchedulerHarness):
    fail(system, error="boom 1")
    count()
    fail(system, error="boom 2", seconds=-0.5)
    count(4)
    count(300)

    assert FailureGroup.objects.get().runs == 2
    assert FailureDay.objects.get().runs == 2


def test_failures_of_before_the_upgrade_are_grouped_backwards(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(counters, "_OLDER", 3)
    for number in range(7):
        # Several ended in the same instant.
        fail(system, error=f"boom {number}", seconds=-1000 - number // 4)
    count()  # they are older than what is counted
    assert FailureGroup.objects.get().runs == 7

    # A site that has counted for long, without groups.
    for model in (FailureGroup, FailureDay, FailedRun, CountedEnds):
        model.objects.all().delete()
    Counting.objects.update(failures_before=None)
    count()
    count()

    assert FailureGroup.objects.get().runs == 7
    assert FailedRun.objects.count() == 7


def test_a_seen_failure_is_open_again_when_it_happens_again(system: SchedulerHarness):
    fail(system)
    count()
    group = FailureGroup.objects.get()

    by(system).see(group.pk)
    with pytest.raises(NotPossible, match="alice has marked it as seen already"):
        by(system, "bob").see(group.pk)

    group.refresh_from_db()
    assert (group.is_open, group.seen_by) == (False, "alice")
    fail(system, error="boom 2", seconds=30)
    count(40)
    group.refresh_from_db()
    assert (group.is_open, group.seen_by, group.runs) == (True, "alice", 2)


def test_the_runs_of_a_group_are_retried_once_and_are_no_failures_any_more(
    system: SchedulerHarness,
):
    runs = [fail(system, error=f"boom {number}") for number in range(3)]
    other = fail(system, error="other")
    count()
    group = FailureGroup.objects.get(text="boom <n>")

    assert by(system).retry_group(group.pk) == (3, False)
    with pytest.raises(NotPossible, match="No failed run of this kind is left"):
        by(system).retry_group(group.pk)

    states = dict(JobExecution.objects.values_list("id", "status"))
    assert {states[run.pk] for run in runs} == {"PENDING"}
    assert states[other.pk] == "FAILED"
    assert list(FailedRun.objects.values_list("execution_id", flat=True)) == [other.pk]
    assert FailureGroup.objects.get(pk=group.pk).runs == 3


def test_a_failed_run_leaves_its_group_with_its_row_and_old_groups_go(system: SchedulerHarness):
    fail(system)
    count()

    retention.prune(START + timedelta(days=1), 10)
    assert FailedRun.objects.count() == 0
    assert FailureGroup.objects.count() == 1

    failures.prune(START + timedelta(days=2), 10)
    assert FailureGroup.objects.count() == FailureDay.objects.count() == 0
