"""Ticks of beat: slots, messages and rescues, one dispatcher or several."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import DatabaseError, connection

from scheduler.beat import dispatcher as dispatcher_module
from scheduler.beat import planning
from scheduler.models import CronJob, JobAttempt, JobExecution
from scheduler.schedule import parse
from scheduler.schedule.plan import DueSchedule, Plan, plan
from scheduler.states import RunStatus
from scheduler.store import overlap, runs
from scheduler.wakeup_messages import MOST_WAITING
from scheduler.worker.verdict import LOSSES_LIMIT
from tests.harness.scheduler_harness import (
    START,
    SchedulerHarness,
    fresh,
    outcomes,
    reason_of,
    statuses,
)

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def slots(job: CronJob) -> list[datetime]:
    rows = JobExecution.objects.filter(job=job).order_by("scheduled_time")
    return list(rows.values_list("scheduled_time", flat=True))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- due jobs become executions -------------------------------------------------------------------


def test_a_day_passes_and_every_slot_has_its_one_row(system: SchedulerHarness):
    quarter = system.job(cron_expression="*/15 * * * *")
    seoul = system.job(cron_expression="0 9 * * *", timezone="Asia/Seoul")
    system.tick()
    until = START + timedelta(days=1)
    while system.clock.now() < until:
        system.clock.advance(30 * 60)
        system.tick(2)
    now = system.clock.now()
    expected = [START.replace(minute=15, second=0) + timedelta(minutes=15 * i) for i in range(96)]
    assert slots(quarter) == [slot for slot in expected if slot <= now]
    assert slots(seoul) == [at("2026-01-13T00:00")]


def test_a_slot_is_recorded_in_the_second_it_is_due_and_not_before(system: SchedulerHarness):
    job = system.job()
    system.tick()
    assert slots(job) == []
    # Not nearer: the time that has really passed since the last tick counts, too.
    system.clock.advance_to(at("2026-01-12T10:00:59.5"))
    system.tick()
    assert slots(job) == []
    system.clock.advance_to(at("2026-01-12T10:01:00"))
    system.tick()
    assert slots(job) == [at("2026-01-12T10:01")]


def test_a_slot_that_comes_while_beat_ticks_does_not_wait_as_if_another_beat_held_it(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    job = system.job()
    while not system.dispatcher.tick():
        pass  # the first ticks compare all watermarks
    system.clock.advance_to(at("2026-01-12T10:00:59.5"))
    monkeypatch.setattr(
        system.dispatcher, "_maintenance", lambda: bool(system.clock.advance(0.5)) and False
    )
    assert system.dispatcher.tick() < 0.01
    assert slots(job) == []
    system.tick()
    assert slots(job) == [at("2026-01-12T10:01")]


def test_an_execution_carries_what_its_job_said_at_its_slot(system: SchedulerHarness):
    job = system.job(
        handler_params={"to": "a", "n": [1, {"x": None}]},
        max_retry=7,
        timeout_seconds=99,
        queue="mail",
        priority=4,
    )
    system.tick()
    system.clock.advance(60)
    system.tick()
    CronJob.objects.filter(pk=job.pk).update(name="renamed", handler_params={})
    row = JobExecution.objects.get()
    assert (row.job_name, row.handler_name, row.params) == (
        job.name,
        "ok",
        {"to": "a", "n": [1, {"x": None}]},
    )
    assert (row.max_retry, row.timeout_seconds, row.queue, row.priority) == (7, 99, "mail", 4)
    assert (row.status, row.param_source, row.attempt) == (RunStatus.PENDING, "cron", 0)
    assert row.created_at == row.scheduled_time + timedelta(seconds=30)


def test_two_dispatchers_interleaved_make_one_row_per_slot(system: SchedulerHarness):
    jobs = [system.job() for _ in range(5)]
    beats = [system.dispatcher, system.new_dispatcher()]
    for step in range(16):
        beats[step % 2].tick()
        beats[(step + 1) % 2].tick()
        system.clock.advance(30)
    beats[0].tick()
    for job in jobs:
        assert slots(job) == [at("2026-01-12T10:01") + timedelta(minutes=i) for i in range(8)]


def test_the_watermark_and_not_the_row_keeps_a_slot_from_running_again(system: SchedulerHarness):
    job = system.job()
    system.tick()
    system.clock.advance(60)
    system.tick()
    JobExecution.objects.all().delete()
    for _ in range(3):
        system.tick()
        system.new_dispatcher().tick()
    assert slots(job) == []


def test_a_slot_that_is_there_already_is_left_as_it_is(system: SchedulerHarness):
    job = system.job(next_run_at=at("2026-01-12T10:00"))
    there = system.execution(job, scheduled_time=at("2026-01-12T10:00"), error_message="mine")
    system.tick()
    assert slots(job) == [at("2026-01-12T10:00")]
    assert fresh(there).error_message == "mine"
    assert CronJob.objects.get(pk=job.pk).next_run_at == at("2026-01-12T10:01")


def test_a_new_edited_or_enabled_job_never_fires_at_once(system: SchedulerHarness):
    job = system.job(cron_expression="0 * * * *")
    system.tick()
    assert slots(job) == []
    system.clock.advance(7200)
    system.control.update_job(job.pk, cron_expression="1 * * * *")
    system.tick()
    assert statuses(job) == [RunStatus.SKIPPED]  # what the old schedule owed, for the record
    system.control.disable(job.pk)
    system.clock.advance(7200)
    system.tick()
    system.control.enable(job.pk)
    system.tick()
    assert statuses(job) == [RunStatus.SKIPPED] * 2  # and the two slots that it missed since
    assert CronJob.objects.get(pk=job.pk).next_run_at == at("2026-01-12T14:01")


def test_an_edit_that_leaves_the_schedule_alone_does_not_move_the_next_run(
    system: SchedulerHarness,
):
    job = system.job()
    system.tick()
    before = CronJob.objects.get(pk=job.pk).next_run_at
    system.clock.advance(65)
    system.control.update_job(job.pk, description="new words", max_retry=1)
    assert CronJob.objects.get(pk=job.pk).next_run_at == before
    system.tick()
    assert slots(job) == [before]


def test_disabled_jobs_never_run(system: SchedulerHarness):
    job = system.job(is_enabled=False, next_run_at=START - timedelta(hours=1))
    system.tick(3)
    assert slots(job) == []


def test_slots_missed_in_an_outage_follow_the_policy_and_are_recorded(system: SchedulerHarness):
    jobs = {
        policy: system.job(cron_expression="*/10 * * * *", misfire_policy=policy, max_catchup=3)
        for policy in ("latest", "all", "skip")
    }
    system.tick()
    system.clock.advance_to(at("2026-01-12T11:05"))
    system.new_dispatcher().tick()
    assert statuses(jobs["latest"]) == ["SKIPPED", "PENDING"]
    assert statuses(jobs["all"]) == ["SKIPPED", "PENDING", "PENDING", "PENDING"]
    assert statuses(jobs["skip"]) == ["SKIPPED"]
    skipped = JobExecution.objects.get(job=jobs["skip"])
    assert skipped.error_message == (
        "6 slots missed (2026-01-12T10:10:00Z to 2026-01-12T11:00:00Z), "
        "not run by misfire policy skip"
    )
    missed = {"first": "2026-01-12T10:10:00Z", "last": "2026-01-12T11:00:00Z", "count": 6}
    assert reason_of(skipped) == ("misfire", {**missed, "policy": "skip"})
    assert skipped.scheduled_time == at("2026-01-12T11:00")
    assert skipped.finished_at == system.clock.now()
    for job in jobs.values():
        assert CronJob.objects.get(pk=job.pk).next_run_at == at("2026-01-12T11:10")


def test_jobs_with_the_same_schedule_are_planned_once_after_an_outage(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    jobs = [system.job(misfire_policy="all", max_catchup=3) for _ in range(20)]
    other = system.job(misfire_policy="all", max_catchup=2)
    system.tick()
    system.clock.advance_to(at("2026-01-12T11:05"))
    made = []

    def plan_and_count(due: DueSchedule, now: datetime) -> Plan:
        made.append(due)
        return plan(due, now)

    monkeypatch.setattr(planning, "plan", plan_and_count)
    system.tick()
    assert len(made) == 2
    # Beside what is caught up: the slots 11:04 and 11:05, which are on time.
    assert all(statuses(job) == ["SKIPPED", *["PENDING"] * (3 + 2)] for job in jobs)
    assert statuses(other) == ["SKIPPED", *["PENDING"] * (2 + 2)]


def test_a_burst_longer_than_a_chunk_is_worked_off_without_sleeping(system: SchedulerHarness):
    system.configure(min_cron_interval_seconds=1)
    job = system.job(cron_expression="* * * * * *", misfire_grace_seconds=1000, next_run_at=START)
    system.clock.advance(449)
    assert system.tick() == 0
    while len(slots(job)) < 450:
        system.tick()
    assert slots(job) == [START + timedelta(seconds=i) for i in range(450)]


def test_more_due_jobs_than_a_batch_are_recorded_in_one_tick(system: SchedulerHarness):
    system.configure(batch_size=3)
    jobs = [system.job() for _ in range(10)]
    system.tick()
    system.clock.advance(60)
    system.tick()
    assert all(len(slots(job)) == 1 for job in jobs)
    # Workers begin with the first batch while beat records the others.
    assert system.wakeups.take() == [""] * 4


def test_jitter_delays_the_claim_but_not_the_slot(system: SchedulerHarness):
    jobs = [system.job(jitter_seconds=300) for _ in range(8)]
    system.tick()
    system.clock.advance(60)
    system.tick()
    rows = list(JobExecution.objects.all())
    assert {row.scheduled_time for row in rows} == {at("2026-01-12T10:01")}
    assert len({row.available_at for row in rows}) > 1
    assert len(rows) == len(jobs)


def test_start_and_end_bound_a_job_which_then_says_that_it_is_over(system: SchedulerHarness):
    job = system.job(start_at=at("2026-01-12T10:02:30"), end_at=at("2026-01-12T10:05"))
    for _ in range(10):
        system.tick()
        system.clock.advance(60)
    assert slots(job) == [at("2026-01-12T10:03"), at("2026-01-12T10:04"), at("2026-01-12T10:05")]
    over = CronJob.objects.get(pk=job.pk)
    assert (over.is_enabled, over.schedule_error) == (False, "")
    assert over.pause_reason == "the schedule has no further slot before its end"


def test_a_pause_ends_by_itself_and_the_job_waits_for_its_next_slot(system: SchedulerHarness):
    job = system.job()
    system.tick()
    system.control.pause(job.pk, reason="deploy", until=START + timedelta(minutes=10))
    system.clock.advance(599)
    system.tick()
    assert slots(job) == []
    system.clock.advance(3)
    system.tick(2)
    resumed = CronJob.objects.get(pk=job.pk)
    assert (resumed.is_enabled, resumed.pause_reason, resumed.paused_until) == (True, "", None)
    assert resumed.next_run_at == at("2026-01-12T10:11")
    # Cleared: an old value would count slots of this pause again after the next one.
    assert resumed.missed_from is None


def test_the_slots_of_a_pause_become_one_skipped_row(system: SchedulerHarness):
    job = system.job(misfire_policy="all")
    system.tick()
    system.control.pause(job.pk, reason="deploy", until=START + timedelta(minutes=10))
    system.clock.advance(602)
    for _ in range(3):
        system.tick(2)
        system.clock.advance(3)
    [skipped] = JobExecution.objects.filter(job=job)
    assert (skipped.status, skipped.scheduled_time) == ("SKIPPED", at("2026-01-12T10:10"))
    assert skipped.error_message == (
        "10 slots missed (2026-01-12T10:01:00Z to 2026-01-12T10:10:00Z), not run by the pause"
    )
    assert reason_of(skipped) == (
        "missed",
        {
            "first": "2026-01-12T10:01:00Z",
            "last": "2026-01-12T10:10:00Z",
            "count": 10,
            "decided_by": "the pause",
            "cause": "pause",
        },
    )


def test_a_slot_on_the_end_of_a_pause_runs(system: SchedulerHarness):
    job = system.job(cron_expression="10 * * * *")
    system.tick()
    system.control.pause(job.pk, reason="deploy", until=at("2026-01-12T10:10"))
    system.clock.advance_to(at("2026-01-12T10:10:01"))
    system.tick(2)
    system.tick(2)
    assert slots(job) == [at("2026-01-12T10:10")]
    assert set(JobExecution.objects.values_list("status", flat=True)) == {"PENDING"}


def test_slots_behind_a_pause_that_no_beat_was_there_for_follow_the_misfire_policy(
    system: SchedulerHarness,
):
    job = system.job(misfire_policy="all", max_catchup=2)
    system.tick()
    system.control.pause(job.pk, reason="deploy", until=at("2026-01-12T10:10"))
    system.clock.advance_to(at("2026-01-12T10:13:58"))
    system.tick()
    system.tick()
    rows = JobExecution.objects.filter(job=job).order_by("scheduled_time")
    assert [(row.scheduled_time, row.status) for row in rows] == [
        (at("2026-01-12T10:09"), "SKIPPED"),
        (at("2026-01-12T10:10"), "SKIPPED"),
        (at("2026-01-12T10:11"), "PENDING"),
        (at("2026-01-12T10:12"), "PENDING"),
        (at("2026-01-12T10:13"), "PENDING"),
    ]


def test_every_tick_moves_tick_seq_so_that_a_late_editor_notices(system: SchedulerHarness):
    job = system.job()
    system.tick()
    seen = CronJob.objects.get(pk=job.pk).tick_seq
    system.clock.advance(60)
    system.tick()
    assert CronJob.objects.get(pk=job.pk).tick_seq == seen + 1


def test_the_sleep_ends_at_the_next_slot_and_at_the_poll_interval_at_the_latest(
    system: SchedulerHarness,
):
    system.configure(poll_interval_seconds=20)
    assert system.tick() == pytest.approx(20)
    system.job()
    system.tick()
    system.clock.advance_to(at("2026-01-12T10:00:45"))
    assert system.tick() == pytest.approx(15, abs=0.001)
    system.configure(max_sleep_seconds=4)
    assert system.tick() == pytest.approx(4)


@pytest.mark.django_db(transaction=True)
def test_last_results_appear_on_the_job(system: SchedulerHarness):
    job, failing = system.job(), system.job(handler_name="fail", max_retry=0)
    system.tick()
    system.minutes(1)
    system.clock.advance(3)
    system.tick()
    shown = CronJob.objects.get(pk=job.pk)
    assert shown.last_status == "SUCCESS"
    assert shown.last_run_at == JobExecution.objects.get(job=job).started_at
    assert CronJob.objects.get(pk=failing.pk).last_status == "FAILED"


def test_results_of_runs_that_ended_while_no_beat_was_there_appear_on_their_jobs(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatcher_module, "_OLDER_RESULTS", 3)
    monthly, often, newer, never = (system.job(is_enabled=False) for _ in range(4))

    def ended(job: CronJob, days: float, status: RunStatus, **values: object) -> JobExecution:
        then = START - timedelta(days=days)
        shape = {"started_at": then, "finished_at": then + timedelta(seconds=5)}
        return system.execution(job, status=status, **{**shape, **values})

    newest = ended(monthly, 20, RunStatus.FAILED)
    ended(monthly, 25, RunStatus.SUCCESS)
    for _ in range(7):  # more than a step, and all in one instant
        last = ended(often, 2, RunStatus.SUCCESS)
    ended(never, 3, RunStatus.SKIPPED, started_at=None)
    ended(newer, 1, RunStatus.SUCCESS)
    CronJob.objects.filter(pk=newer.pk).update(last_run_at=START, last_status="TIMEOUT")
    for _ in range(6):
        system.tick()
        system.clock.advance(2)
    shown = {job.pk: (job.last_run_at, job.last_status) for job in CronJob.objects.all()}
    assert shown == {
        monthly.pk: (newest.started_at, "FAILED"),
        often.pk: (last.started_at, "SUCCESS"),
        newer.pk: (START, "TIMEOUT"),
        never.pk: (None, ""),
    }
    assert system.dispatcher._older_results_until is None


def test_old_history_is_pruned_in_batches_and_nothing_else(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatcher_module, "_PRUNE_BATCH", 3)
    job = system.job(is_enabled=False)
    long_ago = START - timedelta(days=31)
    ended = {"status": RunStatus.SUCCESS}
    for _ in range(7):
        system.execution(job, finished_at=long_ago, **ended)
    kept = system.execution(job, finished_at=START - timedelta(days=29), **ended)
    waiting = system.execution(job, created_at=long_ago, available_at=START + timedelta(days=1))
    for _ in range(4):
        system.tick()
        system.clock.advance(3)
    left = set(JobExecution.objects.values_list("pk", flat=True))
    assert left == {kept.pk, waiting.pk}


# --- workers are woken ----------------------------------------------------------------------------


def test_a_tick_wakes_the_queues_that_have_work(system: SchedulerHarness):
    system.tick()
    for queue in ("mail", "", "mail"):
        system.job(queue=queue, next_run_at=START + timedelta(seconds=30))
    system.execution(queue="later", available_at=START + timedelta(hours=1))
    system.clock.advance(30)
    system.tick()
    assert system.wakeups.sent == [{"": MOST_WAITING, "mail": MOST_WAITING}]


def test_work_that_nobody_takes_is_woken_for_once_a_second(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    # What the ticks themselves take would count, too: on a slow host another second.
    monkeypatch.setattr(system.clock, "monotonic", lambda: system.clock.now().timestamp())
    system.execution()
    woken_at = []
    for tenth in range(40):
        system.tick()
        woken_at += [tenth] * len(system.wakeups.take())
        system.clock.advance(0.1)
    # By a tick of every tenth of a second, and a float may fall short of a whole second.
    assert len(woken_at) == 4
    assert {late - early for early, late in pairwise(woken_at)} <= {10, 11}


def test_what_becomes_available_has_its_alarm_and_wakes_its_queue_then(system: SchedulerHarness):
    system.execution(queue="mail", available_at=START + timedelta(seconds=0.4))
    assert system.tick() == pytest.approx(0.4, abs=0.01)
    assert system.wakeups.take() == []
    system.clock.advance(0.41)
    system.tick()
    assert system.wakeups.take() == ["mail"]


def test_what_a_door_made_between_two_ticks_is_woken_for_at_once(system: SchedulerHarness):
    system.tick()
    system.clock.advance(0.1)
    system.control.event(handler_name="ok", params={})  # its own wake-up was lost
    system.clock.advance(0.1)
    system.tick()
    assert system.wakeups.take() == [""]


def test_nobody_is_woken_while_the_broker_is_known_to_be_away(system: SchedulerHarness):
    system.execution()
    system.wakeups.away = True
    assert system.tick() > 0.5  # it does not spin on what it cannot send
    assert system.wakeups.take() == []
    system.wakeups.away = False
    system.tick()
    assert system.wakeups.take() == [""]


# --- one bad row and the others -------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_row_that_the_database_will_not_take_is_disabled_and_the_others_go_on(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    good, poison, other = (system.job() for _ in range(3))
    system.tick()
    # A CHECK that the test adds stands for any reason why a database refuses a row.
    with connection.cursor() as cursor:
        refuse_inserts_of(poison.pk, cursor)
    try:
        system.clock.advance(60)
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                system.tick()
                system.clock.advance(60)
    finally:
        with connection.cursor() as cursor:
            accept_inserts(cursor)
    bad = CronJob.objects.get(pk=poison.pk)
    assert not bad.is_enabled
    assert "cannot be recorded" in bad.schedule_error
    assert statuses(good) == statuses(other) == ["PENDING"] * 3
    assert len([r for r in caplog.records if "was disabled" in r.getMessage()]) == 1


def refuse_inserts_of(job_id: int, cursor: object) -> None:
    execute = cursor.execute  # type: ignore[attr-defined]
    if connection.vendor == "sqlite":
        execute(
            f"CREATE TRIGGER poison BEFORE INSERT ON job_executions WHEN NEW.job_id = {job_id} "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    elif connection.vendor == "postgresql":
        execute(f"ALTER TABLE job_executions ADD CONSTRAINT poison CHECK (job_id <> {job_id})")
    else:
        execute(f"ALTER TABLE job_executions ADD CONSTRAINT poison CHECK (job_id <> {job_id})")


def accept_inserts(cursor: object) -> None:
    execute = cursor.execute  # type: ignore[attr-defined]
    if connection.vendor == "sqlite":
        execute("DROP TRIGGER poison")
    else:
        execute("ALTER TABLE job_executions DROP CONSTRAINT poison")


def test_sqlite_does_not_lock_its_file_before_a_slot(system: SchedulerHarness):
    """On servers beat does: test_early_slots.py."""
    system.job()
    system.tick()
    system.clock.advance(29.98)
    assert (system.dispatcher.get_ready() == 0) == (connection.vendor == "sqlite")


# --- lost runs ------------------------------------------------------------------------------------


def claimed(system: SchedulerHarness, job: CronJob | None = None, **values: object) -> JobExecution:
    """An execution whose worker is silent after its claim."""
    row = system.execution(job, **values)
    system.claim(row)
    return row


def lease_of(row: JobExecution) -> runs.Lease:
    row = fresh(row)
    assert row.started_at is not None
    return runs.Lease(
        execution_id=row.pk,
        job_id=row.job_id,
        attempt=row.attempt,
        token=row.lease_token or "",
        owner=row.lease_owner or "",
        started_at=row.started_at,
    )


def test_nobody_is_declared_lost_before_beat_has_seen_one_whole_lease(system: SchedulerHarness):
    row = claimed(system)
    system.clock.advance(100)  # the database was away: the lease ran out meanwhile
    beat = system.new_dispatcher()
    beat.tick()
    system.clock.advance(59)
    beat.tick()
    assert fresh(row).status == RunStatus.RUNNING
    system.clock.advance(2)
    beat.tick()
    assert fresh(row).status == RunStatus.PENDING


def test_an_outage_seen_by_beat_starts_the_wait_anew(system: SchedulerHarness):
    system.tick()
    system.clock.advance(100)
    row = claimed(system)
    system.clock.advance(61)
    system.dispatcher.interrupted()
    system.tick()
    system.clock.advance(50)
    system.tick()
    assert fresh(row).status == RunStatus.RUNNING
    system.clock.advance(11)
    system.tick()
    assert fresh(row).status == RunStatus.PENDING


def test_a_lost_run_waits_out_its_back_off_and_is_charged(system: SchedulerHarness):
    row = claimed(system, system.job())
    system.tick()
    system.clock.advance(61)
    system.tick()
    lost = fresh(row)
    assert (lost.status, lost.failures, lost.attempt) == (RunStatus.PENDING, 1, 1)
    assert lost.available_at == system.clock.now() + timedelta(seconds=30)
    assert lost.error_message == "worker lost: gone stopped renewing its lease"
    assert reason_of(row) == ("worker_lost", {"worker": "gone"})
    assert outcomes(row) == ["LOST"]
    assert JobAttempt.objects.get().worker == "gone"


def test_runs_that_were_lost_together_are_not_charged_until_it_happens_again_and_again(
    system: SchedulerHarness,
):
    rows = [claimed(system, max_retry=0, timeout_seconds=5) for _ in range(2)]
    for losses in range(1, LOSSES_LIMIT):
        system.tick()
        system.clock.advance(61)
        system.tick()
        assert [(fresh(row).status, fresh(row).failures) for row in rows] == [
            (RunStatus.PENDING, 0)
        ] * 2
        assert [outcomes(row) for row in rows] == [["LOST"] * losses] * 2
        system.clock.advance(3600)
        for row in rows:
            system.claim(row)

    system.tick()
    system.clock.advance(61)
    system.tick()

    ended = [fresh(row) for row in rows]
    assert {row.status for row in ended} <= {RunStatus.FAILED, RunStatus.TIMEOUT}
    assert [row.failures for row in ended] == [1, 1]


def test_runs_of_one_process_are_lost_together_whenever_they_were_claimed(
    system: SchedulerHarness,
):
    system.configure(batch_size=2)  # a process is not judged in parts
    rows = [claimed(system, max_retry=0)]
    system.tick()
    system.clock.advance(14)
    rows += [claimed(system, max_retry=0) for _ in range(3)]
    system.clock.advance(50)
    system.tick()
    assert [fresh(row).status for row in rows] == [RunStatus.RUNNING] * 4
    system.clock.advance(11)
    system.tick()
    assert [(fresh(row).status, fresh(row).failures) for row in rows] == [
        (RunStatus.PENDING, 0)
    ] * 4


def test_a_run_past_its_deadline_in_a_process_that_lives_has_timed_out(system: SchedulerHarness):
    overdue = claimed(system, timeout_seconds=5, max_retry=0)
    others = [claimed(system) for _ in range(2)]
    system.tick()
    for _ in range(5):
        system.clock.advance(15)
        running = [lease_of(row) for row in (overdue, *others) if fresh(row).lease_token]
        runs.renew_leases(running, now=system.clock.now(), lease_seconds=60)
        system.tick()
    assert (fresh(overdue).status, fresh(overdue).failures) == (RunStatus.TIMEOUT, 1)
    assert [fresh(row).status for row in others] == [RunStatus.RUNNING] * 2


def test_a_run_that_keeps_losing_its_worker_ends_failed(system: SchedulerHarness):
    row = claimed(system, max_retry=2, failures=2)
    system.tick()
    system.clock.advance(61)
    system.tick()
    ended = fresh(row)
    assert (ended.status, ended.failures) == (RunStatus.FAILED, 3)
    assert (ended.error_message or "").startswith("worker lost")
    assert ended.finished_at == system.clock.now()


def test_a_lost_run_past_its_deadline_has_timed_out(system: SchedulerHarness):
    row = claimed(system, timeout_seconds=5, max_retry=0)
    system.tick()
    system.clock.advance(61)
    system.tick()
    assert fresh(row).status == RunStatus.TIMEOUT
    # Nobody saw whether it took so long: the clock may have jumped.
    assert "by the database's clock the time of 5 s is over" in (fresh(row).error_message or "")
    assert outcomes(row) == ["TIMEOUT"]


def test_a_lost_run_that_should_be_cancelled_is_cancelled_and_not_charged(system: SchedulerHarness):
    row = claimed(system)
    system.control.cancel(row.pk)
    system.tick()
    system.clock.advance(61)
    system.tick()
    assert (fresh(row).status, fresh(row).failures) == (RunStatus.CANCELLED, 0)


def test_a_renewal_wins_against_the_rescue(system: SchedulerHarness):
    row = claimed(system)
    system.tick()
    for _ in range(5):
        system.clock.advance(50)
        JobExecution.objects.filter(pk=row.pk).update(
            lease_expires_at=system.clock.now() + timedelta(seconds=60)
        )
        system.tick()
    assert fresh(row).status == RunStatus.RUNNING


def test_a_running_row_typed_in_by_sql_is_rescued_like_any_other(system: SchedulerHarness):
    row = claimed(system)
    JobExecution.objects.filter(pk=row.pk).update(started_at=None, lease_owner=None)
    system.tick()
    system.clock.advance(61)
    system.tick()
    assert fresh(row).status == RunStatus.PENDING


def test_the_rescue_wakes_the_run_that_waited_behind_the_lost_one(system: SchedulerHarness):
    job = system.job(overlap_policy="queue_one", max_retry=0)
    claimed(system, job)
    system.tick()
    system.clock.advance(61)
    held = system.execution(job)
    overlap.put_in_line(job.pk, [held.pk], now=system.clock.now(), facts=None)
    system.tick(2)
    assert fresh(held).available_at == system.clock.now()


@pytest.mark.django_db(transaction=True)
def test_a_tick_that_fails_leaves_nothing_half_done(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    job = system.job()
    system.tick()
    before = CronJob.objects.get(pk=job.pk).next_run_at
    system.clock.advance(60)

    def no_more(statement: str) -> bool:
        return statement.lstrip().startswith("UPDATE") and "cron_jobs" in statement

    with broken_statements(no_more), pytest.raises(DatabaseError):
        system.tick()
    assert statuses(job) == []
    assert CronJob.objects.get(pk=job.pk).next_run_at == before
    system.tick()
    assert statuses(job) == ["PENDING"]


def broken_statements(matches):
    """Break the connection at each statement that `matches`."""
    from django.db import OperationalError

    def wrapper(execute, statement, params, many, context):
        if matches(statement):
            raise OperationalError("server closed the connection unexpectedly")
        return execute(statement, params, many, context)

    return connection.execute_wrapper(wrapper)


@pytest.mark.django_db(transaction=True)
def test_an_outage_in_the_middle_of_a_tick_disables_no_job(system: SchedulerHarness):
    jobs = [system.job() for _ in range(3)]
    system.tick()
    system.clock.advance(60)
    with (
        broken_statements(lambda statement: "INSERT INTO job_executions" in statement),
        pytest.raises(DatabaseError),
    ):
        system.tick()
    assert CronJob.objects.filter(is_enabled=True).count() == len(jobs)
    system.tick()
    assert statuses() == ["PENDING"] * 3


def test_dst_nights_record_what_cron_would_run(system: SchedulerHarness):
    job = system.job(cron_expression="30 2 * * *", timezone="Europe/Berlin", misfire_policy="all")
    system.clock.advance_to(at("2026-03-27T00:00"))
    CronJob.objects.filter(pk=job.pk).update(next_run_at=None)
    system.tick()
    for _ in range(3 * 4):
        system.clock.advance(8 * 3600)
        system.tick()
    assert slots(job)[-4:] == [
        at("2026-03-27T01:30"),
        at("2026-03-28T01:30"),
        at("2026-03-29T01:00"),
        at("2026-03-30T00:30"),
    ]
    assert parse("30 2 * * *", "Europe/Berlin").next_after(at("2026-03-28T02:00")) == at(
        "2026-03-29T01:00"
    )
