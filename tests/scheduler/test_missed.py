"""Slots that a job missed while it was off: counted, and run or recorded when it is enabled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.models import CronJob, JobExecution
from scheduler.operations.actor import Actor
from scheduler.operations.control import Control, InvalidJob, Missed, StaleEdit
from scheduler.states import RunStatus
from tests.harness.scheduler_harness import START, SchedulerHarness, ok, statuses

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-12T{text}Z")


def hourly_off_since_ten(system: SchedulerHarness, **values: object) -> CronJob:
    """An hourly job that beat has planned, off from 10:00:30 on; now it is 14:00:30."""
    job = system.control.create_job(
        **{"name": "hourly", "cron_expression": "0 * * * *", "handler_name": "ok", **values}
    )
    system.tick()
    system.control.disable(job.pk)
    system.clock.advance(4 * 3600)
    return job


def slots_by_status(job: CronJob) -> list[tuple[datetime, str]]:
    rows = JobExecution.objects.filter(job=job).order_by("scheduled_time")
    return list(rows.values_list("scheduled_time", "status"))


def test_what_was_missed_is_counted_from_the_watermark_on(system: SchedulerHarness):
    job = hourly_off_since_ten(system)

    missed = system.control.missed(job.pk)

    assert missed == Missed(count=4, first=at("11:00"), last=at("14:00"))


@pytest.mark.parametrize(
    ("choice", "run", "skipped"),
    [
        ("none", [], ["14:00"]),
        ("latest", ["14:00"], ["13:00"]),
        ("all", ["11:00", "12:00", "13:00", "14:00"], []),
    ],
)
def test_enabling_runs_what_was_chosen_and_records_the_rest(
    system: SchedulerHarness, choice, run: list[str], skipped: list[str]
):
    job = hourly_off_since_ten(system)

    enabled = system.control.enable(job.pk, missed=choice)

    expected = [(at(slot), "SKIPPED") for slot in skipped] + [(at(slot), "PENDING") for slot in run]
    assert slots_by_status(job) == sorted(expected)
    assert (enabled.is_enabled, enabled.next_run_at) == (True, at("15:00"))
    assert system.control.missed(job.pk) == Missed()
    system.tick()
    system.deliver()
    assert statuses(job).count(RunStatus.SUCCESS) == len(run)
    assert len(statuses(job)) == len(expected)  # beat adds nothing


def test_the_record_says_how_many_from_when_to_when_and_who(system: SchedulerHarness):
    job = hourly_off_since_ten(system)

    bob = Control(actor=Actor(name="bob"), clock=system.clock)
    bob.enable(job.pk, missed="latest")

    skipped = JobExecution.objects.get(status=RunStatus.SKIPPED)
    assert skipped.error_message == (
        "3 slots missed (2026-01-12T11:00:00Z to 2026-01-12T13:00:00Z), not run by bob on enabling"
    )


def test_all_means_at_most_max_catchup(system: SchedulerHarness):
    job = hourly_off_since_ten(system, max_catchup=2)

    system.control.enable(job.pk, missed="all")

    assert slots_by_status(job) == [
        (at("12:00"), "SKIPPED"),
        (at("13:00"), "PENDING"),
        (at("14:00"), "PENDING"),
    ]


def test_more_slots_than_one_plan_holds_are_all_made(system: SchedulerHarness):
    job = system.control.create_job(
        name="minutely", cron_expression="* * * * *", handler_name="ok", max_catchup=10_000
    )
    system.tick()
    system.control.disable(job.pk)
    system.clock.advance(450 * 60)

    system.control.enable(job.pk, missed="all")

    assert statuses(job) == [RunStatus.PENDING] * 450


def test_counting_stops_somewhere(system: SchedulerHarness):
    job = system.control.create_job(name="m", cron_expression="* * * * *", handler_name="ok")
    system.tick()
    system.control.disable(job.pk)
    system.clock.advance(30 * 86400)

    missed = system.control.missed(job.pk)

    assert (missed.count, missed.more, missed.first) == (1000, True, at("10:01"))
    assert missed.last == START + timedelta(days=30) - timedelta(seconds=30)


def test_a_slot_that_has_its_row_is_left_as_it_is(system: SchedulerHarness):
    job = hourly_off_since_ten(system)
    there = system.execution(job, scheduled_time=at("12:00"))

    system.control.enable(job.pk, missed="all")

    assert len(statuses(job)) == 4
    assert JobExecution.objects.get(job=job, scheduled_time=at("12:00")).pk == there.pk


def test_a_slot_that_is_due_now_is_not_missed(system: SchedulerHarness):
    job = hourly_off_since_ten(system)
    system.clock.advance_to(at("15:00"))

    assert system.control.missed(job.pk).last == at("14:00")
    system.control.enable(job.pk, missed="none")
    system.tick()

    assert slots_by_status(job) == [(at("14:00"), "SKIPPED"), (at("15:00"), "PENDING")]


def test_the_first_slot_that_is_due_just_as_the_job_is_enabled_runs(system: SchedulerHarness):
    job = hourly_off_since_ten(system)
    system.control.enable(job.pk)
    system.control.disable(job.pk)
    system.clock.advance_to(at("15:00"))

    system.control.enable(job.pk)
    system.tick()

    assert slots_by_status(job) == [(at("14:00"), "SKIPPED"), (at("15:00"), "PENDING")]


def test_a_schedule_edited_while_off_has_missed_slots_from_the_edit_on(system: SchedulerHarness):
    job = hourly_off_since_ten(system)

    system.control.update_job(job.pk, cron_expression="30 * * * *")
    assert system.control.missed(job.pk) == Missed()
    system.clock.advance(3600)
    system.control.update_job(job.pk, description="no change of the schedule")

    assert system.control.missed(job.pk) == Missed(count=1, first=at("14:30"), last=at("14:30"))


@pytest.mark.parametrize("is_enabled", [True, False])
def test_what_a_job_that_was_off_has_missed_is_recorded_when_its_schedule_is_edited(
    system: SchedulerHarness, is_enabled: bool
):
    job = hourly_off_since_ten(system)

    system.control.update_job(job.pk, cron_expression="30 * * * *", is_enabled=is_enabled)
    system.tick()

    assert slots_by_status(job) == [(at("14:00"), "SKIPPED")]
    assert "4 slots missed" in (JobExecution.objects.get().error_message or "")


@pytest.mark.parametrize(
    "edit",
    [
        {"cron_expression": "*/15 * * * *"},
        {"end_at": at("18:00")},
        {"timezone": "Asia/Seoul"},
        {"cron_expression": "*/15 * * * *", "is_enabled": False},
    ],
    ids=str,
)
def test_slots_that_no_beat_was_there_for_are_recorded_when_the_schedule_is_edited(
    system: SchedulerHarness, edit: dict[str, Any]
):
    job = system.control.create_job(
        name="often", cron_expression="*/10 * * * *", handler_name="ok", jitter_seconds=30
    )
    system.clock.advance_to(at("11:00"))

    edited = system.control.update_job(job.pk, **edit)
    system.tick()

    assert slots_by_status(job) == [(at("11:00"), "SKIPPED")]
    skipped = JobExecution.objects.get()
    assert skipped.error_message == (
        "6 slots missed (2026-01-12T10:10:00Z to 2026-01-12T11:00:00Z), not run by an edit"
    )
    if edited.is_enabled:
        assert edited.next_run_at is not None
        assert edited.next_run_at > at("11:00")


def test_an_edit_in_vain_records_nothing(system: SchedulerHarness):
    job = system.control.create_job(name="m", cron_expression="* * * * *", handler_name="ok")
    system.clock.advance(600)

    with pytest.raises(StaleEdit):
        system.control.update_job(job.pk, cron_expression="*/2 * * * *", tick_seq=job.tick_seq - 1)

    assert statuses(job) == []


def test_slots_of_a_job_made_while_no_beat_ran_are_not_lost(system: SchedulerHarness):
    job = system.control.create_job(name="hourly", cron_expression="0 * * * *", handler_name="ok")
    system.clock.advance_to(at("13:00"))

    system.tick()

    assert slots_by_status(job) == [(at("12:00"), "SKIPPED"), (at("13:00"), "PENDING")]


def test_a_job_whose_calendar_moves_its_slots_starts_with_the_moved_one(system: SchedulerHarness):
    system.configure(calendars={"closed": {"weekends": True}})
    job = system.control.create_job(  # the 17th is a Saturday
        name="monthly", cron_expression="0 9 17 * *", handler_name="ok", calendar="closed:next"
    )
    assert job.next_run_at == datetime(2026, 1, 19, 9, tzinfo=UTC)


def test_nothing_is_missed_outside_of_start_and_end(system: SchedulerHarness):
    job = hourly_off_since_ten(system, start_at=at("12:30"), end_at=at("20:30"))
    assert system.control.missed(job.pk) == Missed(count=2, first=at("13:00"), last=at("14:00"))

    later = hourly_off_since_ten(system, name="later", start_at=at("23:30"))
    system.control.enable(later.pk, missed="all")
    system.tick()
    assert statuses(later) == []
    assert CronJob.objects.get(pk=later.pk).next_run_at == at("23:30") + timedelta(minutes=30)


def test_jobs_that_never_ran_by_schedule_have_missed_nothing(system: SchedulerHarness):
    born_off = system.control.create_job(
        name="off", cron_expression="0 * * * *", handler_name="ok", is_enabled=False
    )
    system.clock.advance(86400)

    assert system.control.missed(born_off.pk) == Missed()
    system.control.enable(born_off.pk, missed="all")
    assert statuses(born_off) == []


def test_a_job_switched_off_by_sql_has_missed_slots_from_its_watermark_on(system: SchedulerHarness):
    job = system.job(cron_expression="0 * * * *")
    system.tick()
    CronJob.objects.filter(pk=job.pk).update(is_enabled=False)
    system.clock.advance(2 * 3600)

    assert system.control.missed(job.pk).count == 2


def test_a_job_that_beat_switched_off_has_missed_slots_from_its_watermark_on(
    system: SchedulerHarness,
):
    system.configure(calendars={"closed": {"weekends": True}})
    job = system.control.create_job(
        name="hourly", cron_expression="0 * * * *", handler_name="ok", calendar="closed"
    )
    system.tick()
    system.configure(calendars={})  # a deployment forgets it
    system.clock.advance_to(at("11:00"))
    system.tick()
    off = CronJob.objects.get(pk=job.pk)
    assert (off.is_enabled, off.next_run_at, off.missed_from) == (False, None, at("11:00"))
    assert "calendar" in off.schedule_error
    system.clock.advance_to(at("13:30"))

    system.configure(calendars={"closed": {"weekends": True}})
    assert system.control.missed(job.pk) == Missed(count=3, first=at("11:00"), last=at("13:00"))
    system.control.enable(job.pk, missed="all")
    system.tick()

    assert slots_by_status(job) == [(at(f"{hour}:00"), "PENDING") for hour in (11, 12, 13)]


def test_a_job_that_beat_refuses_at_its_pauses_end_still_knows_what_the_pause_missed(
    system: SchedulerHarness,
):
    system.configure(calendars={"closed": {"weekends": True}})
    job = system.control.create_job(
        name="hourly", cron_expression="0 * * * *", handler_name="ok", calendar="closed"
    )
    system.tick()
    system.control.pause(job.pk, reason="deploy", until=at("12:00"))
    system.configure(calendars={})
    system.clock.advance_to(at("12:00:10"))
    system.tick(3)
    off = CronJob.objects.get(pk=job.pk)
    assert (off.is_enabled, "calendar" in off.schedule_error) == (False, True)

    system.configure(calendars={"closed": {"weekends": True}})
    system.clock.advance_to(at("13:30"))
    assert system.control.missed(job.pk) == Missed(count=3, first=at("11:00"), last=at("13:00"))


def test_what_a_broken_job_missed_is_recorded_when_it_is_repaired_by_sql_and_enabled(
    system: SchedulerHarness,
):
    job = system.job(cron_expression="0 * * * *")
    system.tick()
    CronJob.objects.filter(pk=job.pk).update(misfire_policy="latest", cron_expression="nonsense")
    system.clock.advance_to(at("11:00:01"))
    system.tick()
    CronJob.objects.filter(pk=job.pk).update(cron_expression="0 * * * *")
    system.clock.advance_to(at("12:30"))

    system.control.enable(job.pk)

    assert slots_by_status(job) == [(at("12:00"), "SKIPPED")]
    assert "2 slots missed" in (JobExecution.objects.get().error_message or "")


def test_a_row_that_beat_refuses_unplanned_has_missed_slots_from_then_on(system: SchedulerHarness):
    job = system.job(cron_expression="0 * * * *", handler_name="gone")
    system.tick()
    system.handler("gone", ok)
    system.clock.advance_to(at("11:30"))

    assert system.control.missed(job.pk) == Missed(count=1, first=at("11:00"), last=at("11:00"))


def test_slots_that_ran_after_sql_enabled_a_job_do_not_run_again(system: SchedulerHarness):
    job = hourly_off_since_ten(system)  # since 11:00 its slots are missed
    CronJob.objects.filter(pk=job.pk).update(is_enabled=True)
    system.tick()
    system.clock.advance_to(at("15:00"))
    system.tick()
    system.deliver()
    assert slots_by_status(job) == [(at("15:00"), "SUCCESS")]
    JobExecution.objects.all().delete()  # the history is pruned
    CronJob.objects.filter(pk=job.pk).update(is_enabled=False)
    system.clock.advance_to(at("16:30"))

    assert system.control.missed(job.pk) == Missed(count=1, first=at("16:00"), last=at("16:00"))
    system.control.enable(job.pk, missed="all")

    assert slots_by_status(job) == [(at("16:00"), "PENDING")]


def test_a_pause_counts_like_being_disabled(system: SchedulerHarness):
    job = system.job(cron_expression="0 * * * *")
    system.tick()
    system.control.pause(job.pk, reason="deploy")
    system.clock.advance(3600)
    system.control.pause(job.pk, reason="longer")  # does not start anew

    assert system.control.missed(job.pk).count == 1


def test_an_unknown_choice_or_a_broken_job_changes_nothing(system: SchedulerHarness):
    job = hourly_off_since_ten(system)
    with pytest.raises(InvalidJob, match="missed"):
        system.control.enable(job.pk, missed="some")  # type: ignore[arg-type]
    CronJob.objects.filter(pk=job.pk).update(cron_expression="nonsense")

    assert system.control.missed(job.pk) == Missed()
    with pytest.raises(InvalidJob, match="cron_expression"):
        system.control.enable(job.pk, missed="all")

    assert not CronJob.objects.get(pk=job.pk).is_enabled
    assert statuses(job) == []


def test_a_clone_is_a_copy_that_is_off(system: SchedulerHarness):
    job = system.control.create_job(
        name="first", cron_expression="0 * * * *", handler_name="ok", handler_params={"a": 1},
        queue="fast", end_at=at("12:00"),
    )  # fmt: skip
    system.clock.advance(86400)

    clone = system.control.clone_job(job.pk, name="second")

    assert (clone.name, clone.is_enabled, clone.queue) == ("second", False, "fast")
    assert (clone.handler_params, clone.end_at) == ({"a": 1}, at("12:00"))
    assert clone.created_at == system.clock.now()


@pytest.mark.parametrize(
    ("name", "reason"), [("first", "taken"), ("", "empty"), ("x" * 101, "101")]
)
def test_a_clone_needs_a_name_of_its_own(system: SchedulerHarness, name: str, reason: str):
    job = system.control.create_job(name="first", cron_expression="@daily", handler_name="ok")

    with pytest.raises(InvalidJob, match=reason):
        system.control.clone_job(job.pk, name=name)

    assert CronJob.objects.count() == 1


def test_every_door_that_switches_a_job_on_records_what_it_missed(system: SchedulerHarness):
    job = hourly_off_since_ten(system)

    system.control.update_job(job.pk, is_enabled=True, description="new")

    assert slots_by_status(job) == [(at("14:00"), "SKIPPED")]


def test_what_changes_nothing_records_nothing(system: SchedulerHarness):
    job = hourly_off_since_ten(system)
    system.control.enable(job.pk, missed="latest")

    system.control.enable(job.pk, missed="all")

    assert len(statuses(job)) == 2
