"""Jobs with each kind of schedule: how they are stored, planned, missed, edited and ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from scheduler.models import CronJob, JobExecution
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control
from scheduler.operations.errors import InvalidJob
from scheduler.states import RunStatus
from scheduler.store import coming_runs, forecast
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: The job is made at 10:00:30, and counts whole minutes.
MADE = START.replace(second=0)


def made(system: SchedulerHarness, **values: Any) -> CronJob:
    """Makes a job as an API call does: its beginning is the clock's instant."""
    known = {"name": "j", "timezone": "UTC", "handler_name": "ok", **values}
    return system.control.create_job(**known)


def fresh(job: CronJob) -> CronJob:
    return CronJob.objects.get(pk=job.pk)


def slots(job: CronJob) -> list[datetime]:
    rows = JobExecution.objects.filter(job=job).order_by("scheduled_time")
    return list(rows.values_list("scheduled_time", flat=True))


def test_an_interval_keeps_its_slots_through_hourly_restarts_and_edits_elsewhere(
    system: SchedulerHarness,
):
    job = made(system, cron_expression="every 7h", misfire_policy="all")
    for hour in range(60):
        system.clock.advance_to(START + hour * HOUR)
        if hour % 2:  # a beat and a worker that have just started
            system.dispatcher = system.new_dispatcher()
        if hour % 10 == 3:
            system.control.update_job(job.pk, description=f"edited in hour {hour}")
        system.tick()

    assert slots(job) == [MADE + number * 7 * HOUR for number in range(1, 9)]
    assert fresh(job).next_run_at == MADE + 63 * HOUR


def test_off_and_on_again_moves_no_slot(system: SchedulerHarness):
    job = made(system, cron_expression="every 90 minutes")
    system.control.disable(job.pk)
    system.clock.advance(50 * 60)

    system.control.enable(job.pk)

    assert fresh(job).next_run_at == MADE + timedelta(minutes=90)


def test_an_interval_counts_from_its_text_then_from_the_start_of_the_job(system: SchedulerHarness):
    start = MADE + DAY
    at_start = made(system, name="a", cron_expression="every 36h", start_at=start)
    written = made(
        system, name="b", cron_expression="every 36h from 2026-01-01T00:00Z", start_at=start
    )
    of_days = made(
        system,
        name="c",
        cron_expression="every 10 days at 09:00 from 2026-01-05",
        timezone="Asia/Seoul",
    )

    assert fresh(at_start).next_run_at == start
    assert fresh(written).next_run_at == datetime(2026, 1, 14, 12, tzinfo=UTC)
    assert fresh(of_days).next_run_at == datetime(2026, 1, 15, 0, tzinfo=UTC)


def test_an_instant_runs_once_and_then_the_job_has_ended(system: SchedulerHarness):
    job = made(system, cron_expression="at 2026-01-12T12:00, 2026-01-13T12:00")
    noon = datetime(2026, 1, 12, 12, tzinfo=UTC)
    for at in (noon, noon + DAY, noon + 2 * DAY):
        system.clock.advance_to(at)
        system.tick(2)

    assert slots(job) == [noon, noon + DAY]
    ended = fresh(job)
    assert not ended.is_enabled
    assert "the schedule has no further slot" in (ended.schedule_error + ended.pause_reason)


def test_an_instant_that_has_passed_is_refused_where_it_is_typed(system: SchedulerHarness):
    with pytest.raises(InvalidJob) as refused:
        made(system, cron_expression="at 2026-01-12T10:00, 2026-01-13T10:00")
    assert "2026-01-12 10:00:00 UTC has passed" in refused.value.problems["cron_expression"][0]
    job = made(system, cron_expression="at 2026-01-12T12:00, 2026-01-13T12:00")
    system.clock.advance_to(START + 3 * HOUR)

    system.control.update_job(job.pk, description="the first one is over")
    with pytest.raises(InvalidJob) as again:
        system.control.update_job(job.pk, cron_expression="at 2026-01-12T12:30, 2026-01-13T12:00")

    assert "has passed" in again.value.problems["cron_expression"][0]


@pytest.mark.parametrize(
    "text",
    [
        "DTSTART:20251201T090000\nRRULE:FREQ=DAILY;COUNT=3",
        "DTSTART:20251201T090000\nRRULE:FREQ=DAILY;UNTIL=20251224",
    ],
)
def test_a_rule_that_is_over_is_refused(system: SchedulerHarness, text: str):
    with pytest.raises(InvalidJob) as refused:
        made(system, cron_expression=text)

    assert "which has passed; write a later time" in refused.value.problems["cron_expression"][0]


def test_a_slot_of_two_lines_is_one_and_missed_slots_follow_the_policy(system: SchedulerHarness):
    both = "0 12 * * *\nevery day at 12:00\nDTSTART:20260101T130000\nRRULE:FREQ=DAILY"
    job = made(system, cron_expression=both, misfire_policy="all", max_catchup=3)
    system.tick()
    system.clock.advance_to(datetime(2026, 1, 14, 23, tzinfo=UTC))

    system.tick(2)

    noon = datetime(2026, 1, 14, 12, tzinfo=UTC)
    rows = JobExecution.objects.filter(job=job).order_by("scheduled_time")
    skipped = [row for row in rows if row.status == RunStatus.SKIPPED]
    recorded = [row.scheduled_time for row in rows if row.status != RunStatus.SKIPPED]
    assert recorded == [noon - 23 * HOUR, noon, noon + HOUR]
    assert [row.reason_facts["count"] for row in skipped] == [3]


def test_the_longest_text_is_stored_as_it_is(system: SchedulerHarness):
    first = datetime(2027, 1, 1, tzinfo=UTC)
    instants = [f"{first + number * DAY:%Y-%m-%dT%H:%M}" for number in range(55)]
    text = "at " + ",".join(instants) + "\n0 9 * * *"

    job = made(system, cron_expression=text)

    assert fresh(job).cron_expression == text
    assert len(text) > 900


def test_rows_typed_by_sql_work_or_show_what_is_wrong(system: SchedulerHarness):
    rows = {
        "good": "every 3 hours",
        "rule": "RRULE:FREQ=DAILY;BYHOUR=9;BYMINUTE=0",
        "never": "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "too often": "every 5 seconds",
        "sun": "sunset",
    }
    with connection.cursor() as cursor:
        for name, text in rows.items():
            cursor.execute(
                "INSERT INTO cron_jobs (name, cron_expression, handler_name, created_at)"
                " VALUES (%s, %s, 'ok', %s)",
                [name, text, MADE - HOUR],
            )

    system.tick()

    found = {job.name: job for job in CronJob.objects.all()}
    assert found["good"].next_run_at == MADE + 2 * HOUR
    assert found["rule"].next_run_at == datetime(2026, 1, 13, 9, tzinfo=UTC)
    reasons = {name: found[name].schedule_error for name in ("never", "too often", "sun")}
    assert not any(found[name].is_enabled for name in reasons)
    assert "never fires" in reasons["never"]
    assert "at least 60 seconds" in reasons["too often"]
    assert "times of the sun" in reasons["sun"]


def test_the_forecast_knows_each_kind(system: SchedulerHarness):
    for number, text in enumerate(["every 3h", "at 2026-01-12T12:00", "0 11 * * *\n0 12 * * *"]):
        made(system, name=f"j{number}", cron_expression=text)
    system.tick()
    hour = START.replace(minute=0, second=0)

    found = forecast.planned_by_hour(
        START, hour, 8, settings=system.settings, is_late=lambda: False
    )
    runs = coming_runs.next_runs(START, 3, settings=system.settings, is_late=lambda: False)

    assert found.counts == (0, 1, 2, 1, 0, 0, 1, 0)
    assert [run.at.hour for run in runs] == [11, 12, 12]


def test_a_backfill_has_the_slots_of_an_interval(system: SchedulerHarness):
    job = made(system, cron_expression="every 2 days at 06:00 from 2026-01-01")

    preview = BackfillControl(clock=system.clock).preview(
        job.pk, since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2026, 1, 8, tzinfo=UTC)
    )

    assert preview.total == 4


def test_the_command_previews_and_explains_each_kind():
    text = "at 2027-12-24T18:00\nevery 10 days at 09:00 from 2027-12-01"
    out = StringIO()

    call_command("preview", text, "--timezone", "Asia/Seoul", "--count", "4", "--json", stdout=out)

    found = json.loads(out.getvalue())
    assert [slot["local"][:16] for slot in found["slots"]] == [
        "2027-12-01T09:00", "2027-12-11T09:00", "2027-12-21T09:00", "2027-12-24T18:00",
    ]  # fmt: skip
    assert "Every 10 days at 09:00, counted from 2027-12-01" in found["words"]
    assert found["warnings"] == []


def test_a_preview_counts_from_now_until_the_job_is_saved(system: SchedulerHarness):
    job = CronJob(name="n", cron_expression="every 36h", handler_name="ok")

    assert Control(clock=system.clock).preview(job, 2) == [MADE + 36 * HOUR, MADE + 72 * HOUR]
