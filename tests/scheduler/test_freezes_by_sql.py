"""Freezes that SQL has written, changed or deleted: beat decides anew about what they hold."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler.models import CronJob, JobExecution, JobFreeze, JobTag, RunApproval
from scheduler.operations.freezes import FreezeControl
from scheduler.states import ReasonCode, RunStatus
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh

pytestmark = [pytest.mark.database, pytest.mark.django_db]

FROZEN, HELD = (RunStatus.SKIPPED, ReasonCode.FROZEN), (RunStatus.PENDING, ReasonCode.FROZEN_HELD)
RAN = (RunStatus.SUCCESS, None)


def freeze(system: SchedulerHarness, minutes: float, **values: Any) -> JobFreeze:
    """By SQL. It is 10:00:30."""
    now = system.clock.now()
    known = {"name": "year end", "reason": "the books close", "blocked_slots": "latest"}
    return JobFreeze.objects.create(
        **{**known, "since": now, "until": now + timedelta(minutes=minutes), **values}
    )


def every_minute(system: SchedulerHarness, **values: Any) -> CronJob:
    return system.control.create_job(
        name="a", cron_expression="* * * * *", handler_name="ok", **values
    )


def outcomes() -> list[tuple[str, str | None]]:
    rows = JobExecution.objects.order_by("scheduled_time")
    return list(rows.values_list("status", "reason_code"))


def held() -> JobExecution:
    return JobExecution.objects.get(status=RunStatus.PENDING)


def look(system: SchedulerHarness) -> None:
    """A look of beat at what it looks at now and then."""
    system.clock.advance(2)
    system.tick()


@pytest.mark.parametrize("change", ["deleted", "switched off", "ended", "other jobs"])
def test_what_sql_frees_starts_within_two_seconds(system: SchedulerHarness, change: str):
    every_minute(system)
    made = freeze(system, 3.25)
    system.minutes(3)
    assert outcomes() == [FROZEN, FROZEN, HELD]

    rows = JobFreeze.objects.filter(pk=made.pk)
    match change:
        case "deleted":
            rows.delete()
        case "switched off":
            rows.update(is_enabled=False)
        case "ended":
            rows.update(until=system.clock.now())
        case "other jobs":
            rows.update(tags=["bi"])
    look(system)

    assert held().available_at <= system.clock.now()
    system.deliver()
    assert outcomes() == [FROZEN, FROZEN, RAN]


def test_a_freeze_that_sql_makes_longer_or_shorter_moves_what_it_holds(system: SchedulerHarness):
    job = every_minute(system, jitter_seconds=20)
    made = freeze(system, 1.25)
    system.minutes(1)
    assert outcomes() == [HELD]
    assert made.until is not None
    jitter = held().available_at - made.until

    sooner = START + timedelta(minutes=1.1)
    JobFreeze.objects.update(until=sooner)
    look(system)
    assert held().available_at == sooner + jitter
    assert fresh(held()).reason_facts == {
        "freeze": "year end", "freeze_id": made.pk, "note": "the books close",
    }  # fmt: skip

    JobFreeze.objects.update(until=START + timedelta(hours=1))
    look(system)
    assert outcomes() == [FROZEN]
    assert job.jitter_seconds == 20


def test_the_last_slot_of_a_freeze_that_sql_ends_early_runs(system: SchedulerHarness):
    every_minute(system)
    freeze(system, 60)
    system.minutes(3)
    assert outcomes() == [FROZEN] * 3
    look(system)

    JobFreeze.objects.all().delete()
    look(system)
    system.deliver()

    assert outcomes() == [FROZEN, FROZEN, RAN]


def test_a_beat_that_begins_sees_what_was_changed_while_none_was_there(system: SchedulerHarness):
    every_minute(system)
    freeze(system, 3.25)
    system.minutes(3)
    JobFreeze.objects.all().delete()
    CronJob.objects.update(is_enabled=False)

    system.new_dispatcher().tick()

    assert held().available_at == system.clock.now()


def test_a_beat_that_begins_changes_nothing_that_is_decided(system: SchedulerHarness):
    """Neither the jitter of a held run, nor the time that an approval has."""
    job = every_minute(system, approval_seconds=3600)
    freeze(system, 1.25)
    system.minutes(1)
    CronJob.objects.filter(pk=job.pk).update(is_enabled=False)
    asked = RunApproval.objects.get()
    for minutes in (0, 1, 10):  # also when the freeze is over
        system.clock.advance(60 * minutes)
        before = JobExecution.objects.values().get()
        system.new_dispatcher().tick()
        assert RunApproval.objects.values().get() == {
            "execution_id": asked.pk, "state": "waiting", "starts_at": asked.starts_at,
            "expires_at": asked.expires_at, "decided_by": "", "decided_at": None, "note": "",
            "digest": "",
        }  # fmt: skip
        assert JobExecution.objects.values().get() == before


def test_facts_that_cannot_be_read_stop_no_beat(system: SchedulerHarness):
    every_minute(system)
    freeze(system, 60, tags={"no": "list"})
    system.minutes(1)
    assert outcomes() == [RAN]
    JobFreeze.objects.update(hours="nonsense", tags=[])
    look(system)
    JobFreeze.objects.all().delete()
    look(system)


def test_many_held_runs_are_released_by_as_many_statements_as_few(system: SchedulerHarness):
    control = FreezeControl(clock=system.clock)

    def statements(jobs: int) -> int:
        now = system.clock.now()
        made = freeze(system, 1.25, name=f"of {jobs}")
        CronJob.objects.bulk_create(
            CronJob(
                name=f"{jobs}-{number}", cron_expression="* * * * *", handler_name="ok",
                timezone="UTC", is_enabled=True, created_at=now,
            )
            for number in range(jobs)
        )  # fmt: skip
        system.tick()
        system.minutes(1)
        assert JobExecution.objects.filter(reason_code=ReasonCode.FROZEN_HELD).count() == jobs
        with CaptureQueriesContext(connection) as captured:
            control.end(made.pk)
        free = JobExecution.objects.filter(available_at__lte=system.clock.now())
        assert free.count() == jobs
        CronJob.objects.all().delete()
        JobExecution.objects.all().delete()
        return len(captured)

    assert statements(40) == statements(4)


def test_tags_of_many_jobs_are_read_together(system: SchedulerHarness):
    """A tick with freezes on tags has as many statements for many jobs as for few."""
    for number in range(20):
        freeze(system, 60, name=f"f{number}", tags=[f"t{number}"], blocked_slots="skip")

    def statements(jobs: int) -> int:
        made = [system.job(name=f"{jobs}-{number}") for number in range(jobs)]
        JobTag.objects.bulk_create(
            JobTag(job=job, tag=f"t{number % 20}") for number, job in enumerate(made)
        )
        system.tick()
        system.clock.advance(60)
        with CaptureQueriesContext(connection) as captured:
            system.tick()
        assert set(outcomes()) == {FROZEN}
        CronJob.objects.all().delete()
        JobExecution.objects.all().delete()
        return len(captured)

    first: datetime = system.clock.now()
    assert statements(60) <= statements(20) + 2
    assert system.clock.now() > first
