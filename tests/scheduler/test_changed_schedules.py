"""A calendar, a zone or an expression changes under a job: no slot is lost and none runs twice."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db import connection, transaction

from scheduler.beat import fingerprints
from scheduler.conf import CalendarSettings
from scheduler.models import CronJob, JobExecution
from scheduler.states import ProcessKind
from scheduler.store import processes
from tests.harness.scheduler_harness import SchedulerHarness, statuses

pytestmark = [pytest.mark.database, pytest.mark.django_db]

MONTHLY = {"cron_expression": "0 18 L * *", "handler_name": "ok", "timezone": "UTC"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def closed(*days: str, **more: Any) -> dict[str, CalendarSettings]:
    dates = frozenset(date.fromisoformat(day) for day in days)
    return {"pay": CalendarSettings(dates=dates, **more)}


def slots(job: CronJob) -> list[str]:
    rows = JobExecution.objects.filter(job=job).order_by("scheduled_time")
    return [f"{slot:%m-%d %H:%M}" for slot in rows.values_list("scheduled_time", flat=True)]


def next_run(job: CronJob) -> str:
    found = CronJob.objects.get(pk=job.pk).next_run_at
    return f"{found:%m-%d %H:%M}" if found else "none"


def restart(system: SchedulerHarness, **changes: Any) -> None:
    """Beat ends, the configuration changes, and the next beat starts."""
    system.configure(**changes)
    system.dispatcher = system.new_dispatcher()
    system.tick()


def monthly(system: SchedulerHarness, rule: str, **values: Any) -> CronJob:
    """A job of the last day of the month, on 2 December, after its slot of November."""
    system.configure(calendars=closed())
    system.clock.advance_to(at("2026-11-30T17:00"))
    job = system.control.create_job(name="pay", calendar=f"pay:{rule}", **MONTHLY, **values)
    system.clock.advance_to(at("2026-11-30T18:00:01"))
    system.tick()
    system.clock.advance_to(at("2026-12-02T09:00"))
    system.tick()
    assert (slots(job), next_run(job)) == (["11-30 18:00"], "12-31 18:00")
    return job


def test_a_slot_that_a_new_holiday_moves_to_an_earlier_day_runs_on_that_day(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    job = monthly(system, "previous")

    with caplog.at_level(logging.WARNING, "scheduler"):
        restart(system, calendars=closed("2026-12-31"))

    assert next_run(job) == "12-30 18:00"
    assert [record.message for record in caplog.records if "moves" in record.message] == [
        "job 'pay': its schedule has changed, its next run moves from 2026-12-31T18:00:00Z to "
        "2026-12-30T18:00:00Z"
    ]
    preview = system.control.preview(CronJob.objects.get(pk=job.pk), count=2)
    assert preview == [at("2026-12-30T18:00"), at("2027-01-31T18:00")]
    for day in ("2026-12-30T18:00:01", "2026-12-31T18:00:01"):
        system.clock.advance_to(at(day))
        system.tick()
    assert slots(job) == ["11-30 18:00", "12-30 18:00"]


@pytest.mark.parametrize(
    ("rule", "moved", "closed_after", "expected"),
    [
        # Sunday 31 January 2027. By `next` it runs on Monday, which is closed afterwards.
        ("next", "02-01 18:00", ("2027-02-01",), "02-28 18:00"),
        # By `previous` it has run on Saturday. Sunday becomes a business day afterwards.
        ("previous", "01-30 18:00", (), "02-28 18:00"),
    ],
)
def test_a_moved_slot_that_has_run_does_not_run_on_another_day_too(
    system: SchedulerHarness, rule: str, moved: str, closed_after: tuple[str, ...], expected: str
):
    sunday = ("2027-01-31",)
    system.configure(calendars=closed(*sunday))
    system.clock.advance_to(at("2027-01-20T12:00"))
    job = system.control.create_job(name="pay", calendar=f"pay:{rule}", **MONTHLY)
    assert next_run(job) == moved
    system.clock.advance_to(at(f"2027-{moved}".replace(" ", "T")))
    system.tick()
    assert slots(job) == [moved]

    restart(system, calendars=closed(*(sunday if closed_after else ()), *closed_after))

    assert next_run(job) == expected
    preview = system.control.preview(CronJob.objects.get(pk=job.pk), count=1)
    assert [f"{slot:%m-%d %H:%M}" for slot in preview] == [expected]
    system.clock.advance_to(at("2027-02-03T00:00"))
    system.tick()
    assert slots(job) == [moved]


def test_a_slot_that_moves_into_the_past_follows_the_misfire_policy(system: SchedulerHarness):
    ran = monthly(system, "previous")
    skipped = system.job(name="skip", calendar="pay:previous", misfire_policy="skip", **MONTHLY)
    system.tick()
    system.clock.advance_to(at("2026-12-31T09:00"))

    restart(system, calendars=closed("2026-12-31"))
    system.tick()

    assert slots(ran) == ["11-30 18:00", "12-30 18:00"]
    assert (slots(skipped), statuses(skipped)) == (["12-30 18:00"], ["SKIPPED"])
    assert (next_run(ran), next_run(skipped)) == ("01-31 18:00", "01-31 18:00")


def test_a_due_job_is_compared_in_its_tick_however_far_the_batches_are(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    job = monthly(system, "previous", misfire_policy="all")
    monkeypatch.setattr(fingerprints.Comparison, "step", lambda *_: None)  # never gets there
    system.clock.advance_to(at("2026-12-31T18:00:01"))

    restart(system, calendars=closed("2026-12-31"))

    assert slots(job) == ["11-30 18:00", "12-30 18:00"]
    assert next_run(job) == "01-31 18:00"


def test_what_a_job_missed_while_it_was_off_is_counted_by_the_present_calendar(
    system: SchedulerHarness,
):
    off = monthly(system, "previous")
    paused = system.control.create_job(name="paused", calendar="pay:previous", **MONTHLY)
    system.control.disable(off.pk)
    system.control.pause(paused.pk, reason="holidays", until=at("2027-01-02T00:00"))
    system.clock.advance_to(at("2027-01-01T00:00"))
    system.configure(calendars=closed("2026-12-31"))
    assert system.control.missed(off.pk).first == at("2026-12-30T18:00")  # before any beat

    restart(system)
    missed = system.control.missed(off.pk)
    system.control.enable(off.pk, missed="all")
    system.clock.advance_to(at("2027-01-02T00:00:01"))
    restart(system)

    assert (missed.count, missed.first) == (1, at("2026-12-30T18:00"))
    assert slots(off) == ["11-30 18:00", "12-30 18:00"]
    assert (slots(paused), statuses(paused)) == (["12-30 18:00"], ["SKIPPED"])
    assert (next_run(off), next_run(paused)) == ("01-31 18:00", "01-31 18:00")


def test_another_default_zone_moves_the_jobs_that_have_none(system: SchedulerHarness):
    system.clock.advance_to(at("2026-11-28T12:00"))
    values = {"cron_expression": "0 9 * * *", "handler_name": "ok"}
    follows = system.control.create_job(name="follows", timezone="", **values)
    stays = system.control.create_job(name="stays", timezone="UTC", **values)
    system.tick()
    before = CronJob.objects.get(pk=stays.pk).tick_seq

    restart(system, default_timezone="Asia/Seoul")

    assert (next_run(follows), next_run(stays)) == ("11-29 00:00", "11-29 09:00")
    assert CronJob.objects.get(pk=stays.pk).tick_seq == before


def test_an_expression_changed_by_sql_counts_at_the_next_start_or_slot(system: SchedulerHarness):
    system.clock.advance_to(at("2026-11-28T12:00"))
    job = system.control.create_job(
        name="a", cron_expression="0 18 * * *", handler_name="ok", timezone="UTC"
    )
    system.tick()
    CronJob.objects.filter(pk=job.pk).update(cron_expression="0 17 * * *")

    system.clock.advance_to(at("2026-11-28T18:00:00"))
    system.tick()
    assert (slots(job), next_run(job)) == (["11-28 17:00"], "11-29 17:00")

    CronJob.objects.filter(pk=job.pk).update(cron_expression="0 19 * * *")
    restart(system)
    assert next_run(job) == "11-28 19:00"


def test_a_row_without_a_fingerprint_keeps_its_watermark(system: SchedulerHarness):
    system.clock.advance_to(at("2026-12-02T09:00"))
    system.configure(calendars=closed("2026-12-31"))
    job = system.job(calendar="pay:previous", next_run_at=at("2026-12-31T18:00"), **MONTHLY)
    off = system.job(
        calendar="pay:previous", is_enabled=False, missed_from=at("2026-11-30T18:00"), **MONTHLY
    )

    system.tick()

    assert next_run(job) == "12-31 18:00"
    adopted = CronJob.objects.get(pk=job.pk)
    assert (bool(adopted.schedule_fingerprint), adopted.last_slot_at) == (True, system.clock.now())
    restart(system, calendars=closed("2026-12-30", "2026-12-31"))
    assert next_run(job) == "12-29 18:00"
    assert CronJob.objects.get(pk=off.pk).missed_from == at("2026-11-30T18:00")


def test_a_calendar_that_is_gone_disables_its_job_only_when_it_is_due(system: SchedulerHarness):
    job = monthly(system, "previous")
    restart(system, calendars={})
    assert next_run(job) == "12-31 18:00"

    restart(system, calendars=closed("2026-12-31"))
    assert next_run(job) == "12-30 18:00"
    restart(system, calendars={})
    system.clock.advance_to(at("2026-12-30T18:00:01"))
    system.tick()
    broken = CronJob.objects.get(pk=job.pk)
    assert (broken.is_enabled, broken.missed_from) == (False, at("2026-12-30T18:00"))
    assert "pay" in broken.schedule_error


def test_a_row_that_cannot_be_planned_does_not_stop_the_comparison(system: SchedulerHarness):
    broken = monthly(system, "previous")
    job = system.control.create_job(name="other", calendar="pay:previous", **MONTHLY)
    CronJob.objects.filter(pk=broken.pk).update(cron_expression="nonsense")

    restart(system, calendars=closed("2026-12-31"))

    assert next_run(job) == "12-30 18:00"


def test_many_jobs_are_compared_in_batches_between_which_the_tick_does_what_is_due(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    monthly(system, "previous")
    for number in range(6):
        system.control.create_job(name=f"pay{number}", calendar="pay:previous", **MONTHLY)
    monkeypatch.setattr(fingerprints, "_READ_BATCH", 4)
    due = system.job(cron_expression="* * * * *", next_run_at=system.clock.now())
    system.configure(calendars=closed("2026-12-31"), batch_size=3)
    system.dispatcher = system.new_dispatcher()

    assert system.tick() == 0.0
    assert len(slots(due)) == 1
    moved = CronJob.objects.filter(next_run_at=at("2026-12-30T18:00"))
    assert moved.count() == 3
    assert [system.tick() > 0 for _ in range(4)].count(True) >= 1
    assert moved.count() == 7


class Deployment:
    """Two beats of which the newer one has another calendar, with their heartbeats."""

    def __init__(self, system: SchedulerHarness, *, old: Any, new: Any) -> None:
        self.system = system
        self.calendars = {"old": old, "new": new}
        self.beats = {"old": system.dispatcher}

    def tick(self, name: str) -> None:
        self.system.configure(calendars=self.calendars[name])
        beat = self.beats.setdefault(name, self.system.new_dispatcher())
        beat.tick()
        now = self.system.clock.now()
        for each in self.beats:
            processes.heartbeat(
                name=each, kind=ProcessKind.BEAT, host="h", pid=1, started_at=now, running=0,
                now=now,
            )  # fmt: skip

    def end(self, name: str) -> None:
        del self.beats[name]
        processes.forget_process(name)


def test_beats_of_a_rolling_deployment_lose_and_double_no_slot(system: SchedulerHarness):
    job = monthly(system, "previous")
    beats = Deployment(system, old=closed(), new=closed("2026-12-31"))
    system.clock.advance_to(at("2026-12-30T17:59:50"))
    for name in ("old", "new", "old", "new"):
        beats.tick(name)
    assert next_run(job) == "12-30 18:00"

    # The old beat takes the slot of the new calendar, and plans the next one by its own.
    system.clock.advance_to(at("2026-12-30T18:00:01"))
    for name in ("old", "new", "old", "new"):
        beats.tick(name)
    assert slots(job) == ["11-30 18:00", "12-30 18:00"]
    assert next_run(job) == "12-31 18:00"
    seq = CronJob.objects.get(pk=job.pk).tick_seq
    for name in ("old", "new") * 3:
        system.clock.advance(2)
        beats.tick(name)
    assert CronJob.objects.get(pk=job.pk).tick_seq == seq  # they do not write in turns

    beats.end("old")
    system.clock.advance(6)
    beats.tick("new")
    assert next_run(job) == "01-31 18:00"
    system.clock.advance_to(at("2026-12-31T18:00:01"))
    beats.tick("new")
    assert slots(job) == ["11-30 18:00", "12-30 18:00"]


@pytest.mark.database("postgres", "mysql")  # SQLite locks no rows
@pytest.mark.django_db(transaction=True)
def test_a_job_that_somebody_has_locked_is_corrected_later(system: SchedulerHarness):
    job = monthly(system, "previous")
    locked, released = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                CronJob.objects.select_for_update().get(pk=job.pk)
                locked.set()
                assert released.wait(30)
        finally:
            connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert locked.wait(30)
        restart(system, calendars=closed("2026-12-31"))
        assert next_run(job) == "12-31 18:00"
    finally:
        released.set()
        holder.join()
    system.clock.advance(6)
    system.tick()
    assert next_run(job) == "12-30 18:00"
