"""Jobs whose name decides their slots (`H`): made, planned, renamed, typed by SQL, backfilled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command

from scheduler.models import CronJob, JobExecution
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.errors import InvalidJob
from scheduler.store import coming_runs, forecast, herds
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db]

DAY = timedelta(days=1)
#: Of the names that these jobs have: see schedule/test_hashed.py.
NIGHTLY = "nightly report"


def made(system: SchedulerHarness, name: str = NIGHTLY, text: str = "H H * * *") -> CronJob:
    return system.control.create_job(
        name=name, timezone="UTC", handler_name="ok", cron_expression=text
    )


def next_run(job: CronJob) -> datetime | None:
    return CronJob.objects.get(pk=job.pk).next_run_at


def at(hour: int, minute: int) -> datetime:
    return START.replace(hour=hour, minute=minute, second=0)


RUN = at(5, 13) + DAY


def test_a_job_runs_at_the_time_of_its_name_and_its_text_keeps_the_h(system: SchedulerHarness):
    job = made(system)
    assert next_run(job) == RUN

    system.clock.advance_to(RUN)
    system.tick()

    assert list(JobExecution.objects.values_list("scheduled_time", flat=True)) == [RUN]
    assert next_run(job) == RUN + DAY
    assert CronJob.objects.get(pk=job.pk).cron_expression == "H H * * *"
    since = datetime(2026, 1, 1, tzinfo=UTC)
    asked = BackfillControl(clock=system.clock).preview(job.pk, since=since, until=since + 3 * DAY)
    assert [slot.strftime("%H:%M") for slot in asked.slots] == ["05:13"] * 3


def test_another_name_moves_the_slots_as_an_edit_does(system: SchedulerHarness):
    job, plain = made(system), made(system, "plain", "0 11 * * *")
    system.clock.advance_to(at(10, 40))

    system.control.update_job(job.pk, name="another report")
    system.control.update_job(plain.pk, name="still plain")

    moved = next_run(job)
    assert moved is not None
    assert moved != RUN
    assert CronJob.objects.get(pk=job.pk).last_slot_at == at(10, 40)
    assert CronJob.objects.get(pk=plain.pk).last_slot_at != at(10, 40)
    assert next_run(plain) == at(11, 0)
    system.tick()
    assert not JobExecution.objects.exists()
    assert next_run(job) == moved


def test_a_name_that_sql_changes_moves_the_slots_at_the_next_comparison(system: SchedulerHarness):
    job = made(system)
    moved = made(system, "another report")
    wanted = next_run(moved)
    moved.delete()
    CronJob.objects.filter(pk=job.pk).update(name="another report")

    system.dispatcher = system.new_dispatcher()
    system.tick(3)

    assert next_run(job) == wanted


def test_a_row_typed_by_sql_is_planned_by_its_name(system: SchedulerHarness):
    CronJob.objects.bulk_create(
        [CronJob(name=NIGHTLY, timezone="UTC", handler_name="ok", cron_expression="h h * * *")]
    )

    system.tick()

    assert CronJob.objects.get().next_run_at == RUN


def test_forecast_and_heat_map_count_each_name_for_itself(system: SchedulerHarness):
    for number in range(40):
        made(system, f"job {number}", "H H 1-31 * *")
    made(system, "thursdays", "0 * * * THU")
    now = system.clock.now()

    found = forecast.planned_by_hour(
        now, now.replace(minute=0, second=0), 24, settings=system.control.settings,
        is_late=lambda: False,
    )  # fmt: skip
    starts = list(herds.minutes_of_jobs())

    end = at(10, 0) + DAY
    assert (
        sum(found.counts)
        == CronJob.objects.filter(name__startswith="job", next_run_at__lt=end).count()
    )
    assert sum(jobs for _minutes, _hours, jobs in starts) == 41
    assert len({minutes for minutes, _hours, _jobs in starts}) > 20
    soonest = coming_runs.next_runs(
        now, 10, settings=system.control.settings, is_late=lambda: False
    )
    stored = CronJob.objects.order_by("next_run_at", "pk").values_list("next_run_at", flat=True)
    assert [run.at for run in soonest] == list(stored[:10])
    hour = soonest[0].at.replace(minute=0)
    within = coming_runs.runs_of_hour(
        now, hour, 50, settings=system.control.settings, is_late=lambda: False
    )
    of_hour = CronJob.objects.filter(next_run_at__gte=hour, next_run_at__lt=hour + DAY / 24)
    assert {run.job_name for run in within} == set(of_hour.values_list("name", flat=True))


def test_a_name_decides_what_the_command_previews(capsys: pytest.CaptureFixture[str]):
    call_command("preview", "H H * * *", "--name", NIGHTLY, "--timezone", "UTC", "--count", "2")

    shown = capsys.readouterr().out
    assert "Every day at 05:13, spread by the job's name" in shown
    assert shown.count("05:13:00") >= 2


def test_a_wrong_h_is_refused_at_the_door(system: SchedulerHarness):
    with pytest.raises(InvalidJob) as refused:
        made(system, text="H(5-3) * * * *")

    assert "write 'H(3-5)'" in refused.value.problems["cron_expression"][0]
    assert not CronJob.objects.exists()
