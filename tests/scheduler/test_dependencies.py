"""Jobs that wait for others: what each fate of the upstream job means for the one that waits."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from scheduler.models import CronJob, JobExecution, JobUpstream, JobWait
from scheduler.operations.control import InvalidJob, NotPossible
from scheduler.operations.job_files import Document, JobFiles
from scheduler.operations.slot_answer import answer
from scheduler.operations.slot_words import sentences
from scheduler.states import ReasonCode, RunStatus, SlotCode, UpstreamState
from scheduler.store import waits
from scheduler.worker.downstream import Downstream
from tests.harness.scheduler_harness import SchedulerHarness, fresh, statuses
from tests.scheduler.test_backfill import tick_killed_at
from tests.scheduler.test_races import together
from tests.scheduler.test_statements import assert_probes

pytestmark = [pytest.mark.database, pytest.mark.django_db]

HOURLY = {"cron_expression": "0 * * * *", "handler_name": "ok", "timezone": "UTC"}
AFTER = {"cron_expression": "@after", "handler_name": "ok", "upstream_seconds": 3600}


@pytest.fixture
def load(system: SchedulerHarness) -> CronJob:
    return system.control.create_job(name="load", **{**HOURLY, "max_retry": 0})


@pytest.fixture
def report(system: SchedulerHarness, load: CronJob) -> CronJob:
    return system.control.create_job(name="report", upstreams=["load"], **AFTER)


def due(system: SchedulerHarness) -> datetime:
    """Go to the next full hour and record its slots. Runs nothing."""
    system.tick()  # new jobs get their watermark
    now = system.clock.now()
    slot = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    system.clock.advance_to(slot)
    system.tick()
    return slot


def run_of(job: CronJob) -> JobExecution:
    return JobExecution.objects.filter(job=job).order_by("id").latest("scheduled_time")


def is_waiting(job: CronJob) -> bool:
    run = run_of(job)
    return (run.status, run.reason_code) == (RunStatus.PENDING, ReasonCode.UPSTREAM_AWAITED)


def minute_of(job: CronJob) -> int | None:
    at = CronJob.objects.get(pk=job.pk).next_run_at
    return at.minute if at is not None else None


def missing(run: JobExecution) -> dict[str, str]:
    """The upstream jobs that a skipped run names, with their states."""
    row = fresh(run)
    assert (row.status, row.reason_code) == (RunStatus.SKIPPED, ReasonCode.UPSTREAM_MISSING)
    return {each["job"]: each["state"] for each in row.reason_facts["upstreams"]}


def over(system: SchedulerHarness, seconds: int = 3600) -> None:
    """The time to wait is over."""
    system.clock.advance(seconds)
    system.tick()


# --- the usual way --------------------------------------------------------------------------------


def test_a_run_waits_for_the_success_of_the_same_slot_and_then_starts(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    slot = due(system)
    assert run_of(report).scheduled_time == slot
    assert is_waiting(report)
    assert system.runnable() == [run_of(load).pk]

    system.deliver()
    system.tick()

    assert system.wakeups.take()
    assert fresh(run_of(report)).available_at == system.clock.now()
    system.deliver()
    assert statuses(report) == [RunStatus.SUCCESS]
    assert not JobWait.objects.exists()


def test_a_worker_lets_it_go_on_at_once(system: SchedulerHarness, load: CronJob, report: CronJob):
    due(system)
    woken: list[frozenset[str]] = []
    downstream = Downstream(system.clock, woken.append)
    system.deliver()

    downstream.succeeded({load.pk + 1000})
    assert is_waiting(report)
    downstream.succeeded({load.pk})

    assert woken == [frozenset({""})]
    assert system.runnable() == [run_of(report).pk]


def test_all_upstream_jobs_must_succeed_and_a_chain_goes_step_by_step(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    system.control.create_job(name="rates", **HOURLY)
    system.control.update_job(report.pk, upstreams=["load", "rates"])
    mail = system.control.create_job(name="mail", upstreams=["report"], **AFTER)
    due(system)
    system.worker.execute(run_of(load).pk)
    system.tick()
    assert is_waiting(report)
    assert JobWait.objects.filter(execution_id=run_of(report).pk).count() == 1
    JobExecution.objects.filter(job=load).delete()  # what has succeeded stays so

    for _step in range(3):
        system.deliver()
        system.tick()

    assert statuses(report) == statuses(mail) == [RunStatus.SUCCESS]


def test_a_job_with_its_own_schedule_waits_for_the_newest_slot_at_or_before_its_own(
    system: SchedulerHarness, load: CronJob
):
    daily = system.control.create_job(
        name="daily", cron_expression="30 * * * *", handler_name="ok", upstreams=["load"]
    )
    slot = due(system)
    system.clock.advance(1800)
    system.tick()
    assert JobWait.objects.get(execution_id=run_of(daily).pk).slot == slot

    system.deliver()
    system.tick()
    system.deliver()

    assert (
        statuses(daily)[-1] == RunStatus.SUCCESS
    )  # the first one waits for a slot before load was


def test_after_two_jobs_a_job_has_the_slots_that_both_have(system: SchedulerHarness, load: CronJob):
    system.control.create_job(name="b", cron_expression="0 */6 * * *", handler_name="ok")
    job = system.control.create_job(name="both", upstreams=["load", "b"], **AFTER)

    shown = system.control.preview(job, 4)

    assert [slot.hour % 6 for slot in shown] == [0] * 4
    assert shown[1] - shown[0] == timedelta(hours=6)


# --- the fates of the upstream job ----------------------------------------------------------------


def _fail(system: SchedulerHarness, load: CronJob) -> None:
    CronJob.objects.filter(pk=load.pk).update(handler_name="fail")


def test_failed_then_retried_by_a_person_within_the_time(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    due(system)
    JobExecution.objects.filter(job=load).update(handler_name="fail")
    system.deliver()
    system.tick()
    assert fresh(run_of(load)).status == RunStatus.FAILED
    assert is_waiting(report)

    JobExecution.objects.filter(job=load).update(handler_name="ok")
    system.control.retry(run_of(load).pk)
    system.deliver()
    system.tick()

    assert not is_waiting(report)


def test_replayed_within_the_time_counts_and_later_does_not(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    due(system)
    first = run_of(load)
    system.control.cancel(first.pk)
    waiting = run_of(report)
    system.control.replay(first.pk)
    system.deliver()
    system.tick()
    assert fresh(waiting).reason_code is None

    due(system)
    late = run_of(report)
    JobExecution.objects.filter(job=load, status=RunStatus.PENDING).update(
        status=RunStatus.SUCCESS, finished_at=system.clock.now() + timedelta(seconds=3601)
    )
    over(system, 3602)
    assert missing(late) == {"load": RunStatus.SUCCESS}


@pytest.mark.parametrize(
    ("fate", "state"),
    [
        ("failed", RunStatus.FAILED),
        ("cancelled", RunStatus.CANCELLED),
        ("shadow", RunStatus.SKIPPED),
        ("late", RunStatus.PENDING),
        ("disabled", UpstreamState.DISABLED),
        ("paused", UpstreamState.PAUSED),
        ("by hand", UpstreamState.DISABLED),
        ("pruned", UpstreamState.NO_RUN),
        ("deleted by SQL", UpstreamState.DELETED),
    ],
)
def test_without_a_success_in_time_the_slot_is_skipped_with_the_reason(
    fate: str, state: str, system: SchedulerHarness, load: CronJob
):
    report = system.control.create_job(
        name="report",
        **{**AFTER, "cron_expression": "0 * * * *", "upstreams": ["load"]},
    )
    if fate in {"disabled", "by hand"}:
        system.control.disable(load.pk)
    elif fate == "paused":
        system.control.pause(load.pk, reason="inventory")
    elif fate == "shadow":
        system.control.shadow(load.pk, on=True)
    due(system)
    waiting = run_of(report)
    if fate == "by hand":
        system.control.run_now(load.pk)
        system.deliver()
    elif fate == "cancelled":
        system.control.cancel(run_of(load).pk)
    elif fate == "failed":
        JobExecution.objects.filter(job=load).update(handler_name="fail")
        system.deliver()
    elif fate == "pruned":
        JobExecution.objects.filter(job=load).delete()
    elif fate == "deleted by SQL":
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM cron_jobs WHERE id = %s", [load.pk])
        assert not JobUpstream.objects.exists()

    over(system, 3599)
    assert fresh(waiting).status == RunStatus.PENDING
    over(system, 1)

    name = f"#{load.pk}" if fate == "deleted by SQL" else "load"
    assert missing(waiting) == {name: state}
    assert not JobWait.objects.filter(execution_id=waiting.pk).exists()


# --- the fates of the job that waits --------------------------------------------------------------


def test_a_waiting_run_can_be_cancelled_and_a_skipped_one_retried(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    due(system)
    cancelled = run_of(report)
    system.control.cancel(cancelled.pk)
    system.deliver()
    system.tick()
    assert fresh(cancelled).status == RunStatus.CANCELLED
    assert not JobWait.objects.exists()

    due(system)
    skipped = run_of(report)
    JobExecution.objects.filter(job=load, status=RunStatus.PENDING).delete()
    over(system)
    assert missing(skipped) == {"load": UpstreamState.NO_RUN}
    system.control.retry(skipped.pk)
    assert system.runnable()[:1] == [skipped.pk]  # a person wants it, whatever became of load


def test_disabling_or_editing_the_job_leaves_the_run_that_waits(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    due(system)
    system.control.update_job(report.pk, upstreams=["load"], description="new")
    system.control.disable(report.pk)
    system.deliver()
    system.tick()
    system.deliver()

    assert statuses(report) == [RunStatus.SUCCESS]


def test_slots_of_an_outage_wait_from_when_they_are_recorded(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    CronJob.objects.update(misfire_policy="all")
    system.tick()
    system.clock.advance(4 * 3600)
    system.tick()
    waiting = JobExecution.objects.filter(job=report, status=RunStatus.PENDING)
    assert waiting.count() == 4

    system.deliver()
    system.tick()

    assert all(run.available_at <= system.clock.now() for run in waiting)


def test_a_change_of_the_upstream_schedule_moves_the_slots_of_those_after_it(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    mail = system.control.create_job(name="mail", upstreams=["report"], **AFTER)
    system.tick()
    system.control.update_job(load.pk, cron_expression="15 * * * *")
    for job in (load, report, mail):
        assert minute_of(job) == 15

    CronJob.objects.filter(pk=load.pk).update(cron_expression="45 * * * *")  # by SQL
    system.clock.advance(3600)
    system.tick(2)
    assert minute_of(mail) == 45


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field", "text"),
    [
        ({"upstreams": ["reprot"]}, "upstreams", "did you mean 'report'"),
        ({"upstreams": ["report"]}, "upstreams", "report → report"),
        ({"upstreams": ["mail"]}, "upstreams", "report → mail → report"),
        ({"upstreams": []}, "upstreams", "at least one upstream job"),
        ({"upstreams": "load"}, "upstreams", "list of names"),
        ({"upstream_seconds": 0}, "upstream_seconds", "between 1 and"),
        ({"calendar": "kr"}, "calendar", "must be empty with @after"),
        ({"cron_expression": "@after\n0 * * * *"}, "cron_expression", "stands alone"),
        ({"upstreams": ["load", "half"]}, "upstreams", "no slot in common"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_is_refused_at_its_field(
    values: dict[str, Any], field: str, text: str, system: SchedulerHarness, report: CronJob
):
    system.control.create_job(name="mail", upstreams=["report"], **AFTER)
    system.control.create_job(name="half", **{**HOURLY, "cron_expression": "30 * * * *"})

    with pytest.raises(InvalidJob) as caught:
        system.control.update_job(report.pk, **values)

    assert text in " ".join(caught.value.problems[field])
    assert CronJob.objects.get(pk=report.pk).upstreams == ["load"]


def test_an_upstream_job_is_not_deleted_while_others_wait_for_it(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    with pytest.raises(NotPossible, match="report wait for it"):
        system.control.delete_job(load.pk)
    system.control.delete_job(report.pk)
    system.control.delete_job(load.pk)


def test_a_cycle_and_a_missing_upstream_job_by_sql_disable_the_job_with_the_reason(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    own = system.control.create_job(name="own", upstreams=["load"], **HOURLY)
    system.tick()
    JobUpstream.objects.create(job=load, upstream=own)
    JobUpstream.objects.filter(job=report).delete()
    due(system)

    for job, text in (
        (load, "load → own → load"),
        (own, "own → load → own"),
        (report, "at least one upstream job"),
    ):
        row = CronJob.objects.get(pk=job.pk)
        assert not row.is_enabled
        assert text in row.schedule_error


# --- what people see ------------------------------------------------------------------------------


def test_the_answer_about_the_slot_says_for_whom_it_waits(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    slot = due(system)
    number = run_of(load).pk

    found = answer(report, slot, now=system.clock.now(), settings=system.settings)

    assert (found.code, found.reason_code) == (SlotCode.WAITS, ReasonCode.UPSTREAM_AWAITED)
    text = " ".join(sentences(found, lambda at: f"{at:%H:%M}"))
    assert f"waits for the success of load (slot {slot:%H:%M}: execution #{number} is" in text

    over(system)
    found = answer(report, slot, now=system.clock.now(), settings=system.settings)
    assert "has waited in vain for the success of load" in sentences(found, str)[0]


def test_when_nothing_waits_beat_asks_one_index(system: SchedulerHarness):
    assert_probes(lambda: waits.settle(system.clock.now()), "job_waits")


def test_jobs_of_one_file_may_name_each_other_in_any_order(system: SchedulerHarness):
    report = {"cron": "@after", "handler": "ok", "upstreams": ["load"]}
    load = {"cron": "0 * * * *", "handler": "ok"}
    files = JobFiles(source="file:jobs.yaml", clock=system.clock)

    plan = files.apply(Document(value={"jobs": {"a report": report, "load": load}}))

    assert plan.mistakes == ()
    assert CronJob.objects.get(name="a report").upstreams == ["load"]
    circle = {"a report": report, "load": {**load, "upstreams": ["a report"]}}
    mistakes = files.plan(Document(value={"jobs": circle})).mistakes
    assert any("load → a report → load" in mistake.text for mistake in mistakes)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "point",
    ["record.inserted", "record.committed", "waits.locked", "waits.written", "waits.committed"],
)
def test_a_beat_killed_in_between_loses_and_doubles_nothing(
    point: str, system: SchedulerHarness, load: CronJob, report: CronJob
):
    system.tick()
    system.clock.advance(3600)
    if point.startswith("waits."):
        system.tick()
        system.deliver()

    assert tick_killed_at(system, point) == -signal.SIGKILL

    for _step in range(2):
        system.tick()
        system.deliver()
    assert statuses(load) == statuses(report) == [RunStatus.SUCCESS]
    assert not JobWait.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_beats_and_workers_at_once_let_each_run_go_on_once(
    system: SchedulerHarness, load: CronJob, report: CronJob
):
    others = [
        system.control.create_job(name=f"after {number}", upstreams=["load"], **AFTER)
        for number in range(5)
    ]
    due(system)
    system.deliver()
    nudge = Downstream(system.clock, lambda queues: None)
    beats = [system.new_dispatcher() for _ in range(3)]

    together(*(beat.tick for beat in beats), lambda: nudge.succeeded({load.pk}))
    system.tick()  # what one of them has left to another

    assert not JobWait.objects.exists()
    system.deliver()
    assert [statuses(job) for job in (report, *others)] == [[RunStatus.SUCCESS]] * 6
