"""Rules about what lasts: waiting, going on for too long, switched off."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.alert_states import AlertEvent, AlertKind
from scheduler.alerts import standing, texts
from scheduler.models import Alert, CronJob, JobExecution
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.freezes import FreezeControl
from scheduler.states import RunStatus
from tests.alerts.test_ended_runs import configure, ended, look, open_kinds, quiet_job
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def alerting(system: SchedulerHarness) -> SchedulerHarness:
    configure(system, rules={})
    look(system)
    return system


def waiting(system: SchedulerHarness, job: CronJob) -> JobExecution:
    now = system.clock.now()
    return system.execution(job, scheduled_time=now, available_at=now, param_source="cron")


def test_a_slot_that_no_worker_begins_is_told_once_and_ends_when_all_have_begun(
    alerting: SchedulerHarness,
):
    job = quiet_job(alerting, alert_rules={"not_started_seconds": 100})
    late = quiet_job(alerting, alert_rules={"not_started_seconds": 100}, jitter_seconds=3600)
    first, second = waiting(alerting, job), None
    waiting(alerting, late)
    look(alerting, 60)
    second = waiting(alerting, job)
    assert open_kinds() == []

    look(alerting, 45)
    look(alerting)

    (alert,) = Alert.objects.all()
    assert (alert.kind, alert.job_id, alert.execution_id) == ("not_started", job.pk, first.pk)
    assert alert.facts["seconds"] > 100

    alerting.claim(first)
    look(alerting, 60)  # the second one is late by now, too
    alert.refresh_from_db()
    assert (alert.state, alert.last_execution_id, alert.count) == ("open", second.pk, 2)

    alerting.claim(second)
    look(alerting)
    alert.refresh_from_db()
    assert (alert.state, alert.close_reason) == ("closed", "condition_gone")


def test_a_queue_that_stands_does_not_hide_the_jobs_of_others(alerting: SchedulerHarness):
    now, number = alerting.clock.now(), standing.LIMIT + 20
    jobs = CronJob.objects.bulk_create(
        CronJob(
            name=f"j{at}", cron_expression="0 0 1 1 *", handler_name="ok", next_run_at=now,
            is_enabled=False, alert_rules={"not_started_seconds": 86_400},
        )
        for at in range(number)
    )  # fmt: skip
    ids = dict(CronJob.objects.values_list("name", "id"))
    JobExecution.objects.bulk_create(
        JobExecution(
            job_id=ids[job.name], job_name=job.name, handler_name="ok", scheduled_time=now,
            available_at=now, param_source="cron", queue="dead",
        )
        for job in jobs
    )  # fmt: skip
    alerting.clock.advance(1)
    late = quiet_job(alerting, alert_rules={"not_started_seconds": 60})
    waiting(alerting, late)

    look(alerting, 120)

    assert list(Alert.objects.values_list("kind", "job_id")) == [("not_started", late.pk)]


def test_a_run_that_goes_on_for_too_long_by_seconds_or_by_its_history(
    alerting: SchedulerHarness,
):
    fixed = quiet_job(alerting, alert_rules={"longer_than_seconds": 100})
    factor = {"longer_than_p95_factor": 2}
    usual, fresh = quiet_job(alerting, alert_rules=factor), quiet_job(alerting, alert_rules=factor)
    for at in range(20):
        run = ended(alerting, usual, RunStatus.SUCCESS)
        took = timedelta(seconds=30 if at else 300)  # one of them was slow
        JobExecution.objects.filter(pk=run.pk).update(
            started_at=run.created_at - took, finished_at=run.created_at
        )
    runs = {job.pk: alerting.execution(job) for job in (fixed, usual, fresh)}
    for run in runs.values():
        alerting.claim(run)
    alive = alerting.clock.now() + timedelta(days=1)  # their worker renews
    JobExecution.objects.filter(status="RUNNING").update(lease_expires_at=alive, deadline_at=alive)
    look(alerting, 59)
    assert open_kinds() == []

    look(alerting, 45)

    assert set(Alert.objects.values_list("kind", "job_id")) == {("too_long", fixed.pk)}
    alert = Alert.objects.get()
    assert alert.facts["limit_seconds"] == 100

    look(alerting, 600)  # 2 x 300 s: of 20 runs the slowest is the 95th percentile
    assert set(Alert.objects.values_list("job_id", flat=True)) == {fixed.pk, usual.pk}

    JobExecution.objects.filter(pk=runs[fixed.pk].pk).update(
        status="SUCCESS", finished_at=alerting.clock.now(), lease_token=None,
        lease_expires_at=None, deadline_at=None,
    )  # fmt: skip
    look(alerting)
    alert.refresh_from_db()
    assert alert.state == "closed"


def test_a_job_that_beat_has_switched_off_until_it_is_on_again(alerting: SchedulerHarness):
    job = alerting.job(cron_expression="61 * * * *", alert_rules={"switched_off": True})
    look(alerting)
    look(alerting)

    (alert,) = Alert.objects.all()
    assert (alert.kind, alert.job_id) == ("switched_off", job.pk)
    assert "61" in alert.facts["error"]

    alerting.control.update_job(job.pk, cron_expression="* * * * *", is_enabled=True)
    look(alerting)

    alert.refresh_from_db()
    assert alert.state == "closed"


def test_alerts_of_a_deleted_job_end(alerting: SchedulerHarness):
    job = quiet_job(alerting, alert_rules={"failed": True})
    ended(alerting, job, RunStatus.FAILED)
    look(alerting)
    alerting.control.delete_job(job.pk)
    look(alerting)

    (alert,) = Alert.objects.all()
    assert (alert.state, alert.close_reason) == ("closed", "job_deleted")
    assert alert.job_name == job.name


def test_old_alerts_are_deleted_and_open_ones_stay(alerting: SchedulerHarness):
    job, other = (quiet_job(alerting, alert_rules={"failed": True}) for _ in range(2))
    ended(alerting, job, RunStatus.FAILED)
    ended(alerting, other, RunStatus.FAILED)
    ended(alerting, other, RunStatus.SUCCESS)
    look(alerting)

    look(alerting, 31 * 86400)
    look(alerting, 90)

    assert list(Alert.objects.values_list("kind", "job_id")) == [(AlertKind.FAILED, job.pk)]


def test_a_run_that_waits_for_an_approval_is_told_with_a_link_to_its_page(
    alerting: SchedulerHarness,
):
    rules = {"approval": True, "not_started_seconds": 100}
    job = quiet_job(alerting, alert_rules=rules, approval_seconds=3600)
    run = alerting.control.run_now(job.pk)

    look(alerting, 10)
    look(alerting, 200)  # it waits for a person, not for a worker

    (alert,) = Alert.objects.all()
    assert (alert.kind, alert.execution_id) == ("awaits_approval", run.pk)
    configure(alerting, rules={}, link_base="https://jobu.example.com/admin")
    assert texts.link_of(alert).endswith(f"/scheduler/jobexecution/{run.pk}/change/")
    assert "waits for an approval" in texts.headline(alert, AlertEvent.OPENED)

    alerting.control.approve(run.pk, digest=digest_of_params(JobExecution.objects.get(pk=run.pk)))
    look(alerting, 10)
    alert.refresh_from_db()
    assert (alert.state, alert.close_reason) == ("closed", "condition_gone")


def test_a_slot_that_a_freeze_holds_is_not_late_and_one_that_it_skips_is_no_alert(
    alerting: SchedulerHarness,
):
    every = {"not_started_seconds": 100, "skipped": ["misfire", "missed"], "missed": True}
    job = quiet_job(
        alerting, alert_rules=every, cron_expression="* * * * *", is_enabled=True, next_run_at=None
    )
    now = alerting.clock.now()
    FreezeControl(clock=alerting.clock).create(
        name="f", reason="r", since=now, until=now + timedelta(minutes=10.25),
        blocked_slots="latest",
    )  # fmt: skip
    alerting.tick()
    for _ in range(10):
        alerting.clock.advance(60)
        alerting.tick()
    held = JobExecution.objects.get(job_id=job.pk, status=RunStatus.PENDING)
    assert held.reason_code == "frozen_held"
    look(alerting, 14)

    assert open_kinds() == []
    look(alerting, 130)
    assert "not_started" in open_kinds()  # late after the end of the freeze
