"""A shadow: its slots are recorded beside the system that runs them, and do not run here."""

from __future__ import annotations

import pytest

from scheduler.models import Activity, CronJob, JobExecution
from scheduler.operations.history import describe
from scheduler.states import ReasonCode, RunStatus
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db]

SKIPPED = (RunStatus.SKIPPED, ReasonCode.SHADOW)
RAN = (RunStatus.SUCCESS, None)


@pytest.fixture
def job(system: SchedulerHarness) -> CronJob:
    made = system.control.create_job(name="a", cron_expression="* * * * *", handler_name="ok")
    system.control.shadow(made.pk, on=True)
    return made


def outcomes(job: CronJob) -> list[tuple[str, str | None]]:
    rows = JobExecution.objects.filter(job_id=job.pk).order_by("scheduled_time")
    return list(rows.values_list("status", "reason_code"))


def test_slots_of_a_shadow_are_recorded_and_do_not_run_until_it_is_none(
    system: SchedulerHarness, job: CronJob
):
    system.minutes(2)
    assert outcomes(job) == [SKIPPED] * 2

    system.control.run_now(job.pk)
    system.deliver()
    assert outcomes(job) == [*[SKIPPED] * 2, RAN]  # somebody wants this run

    system.control.shadow(job.pk, on=False)
    system.tick()
    assert len(outcomes(job)) == 3  # nothing fires at once

    system.minutes(1)
    assert outcomes(job)[3:] == [RAN]
    texts = [describe(entry, str) for entry in Activity.objects.order_by("id")]
    assert texts[1].startswith("Made a shadow")
    assert texts[-1].startswith("No shadow any more")


def test_missed_slots_of_a_shadow_do_not_run_either(system: SchedulerHarness, job: CronJob):
    CronJob.objects.filter(pk=job.pk).update(misfire_policy="all")
    system.clock.advance(180)  # all beats were down
    system.tick()
    system.deliver()
    assert outcomes(job) == [SKIPPED] * 3

    system.control.disable(job.pk)
    system.clock.advance(120)
    system.control.enable(job.pk, missed="all")
    system.deliver()
    assert RAN not in outcomes(job)
    assert outcomes(job)[3:]


def test_shadow_that_is_one_already_changes_nothing(system: SchedulerHarness, job: CronJob):
    before = CronJob.objects.values().get()
    entries = Activity.objects.count()

    system.control.shadow(job.pk, on=True)

    assert CronJob.objects.values().get() == before
    assert Activity.objects.count() == entries
