"""Freezes: what a tick records while one holds, what a change of it does, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from scheduler.models import Activity, Backfill, CronJob, JobExecution, JobFreeze
from scheduler.operations import freezes, history
from scheduler.operations.actor import Actor
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.freezes import FreezeControl
from scheduler.operations.frozen import Frozen
from scheduler.operations.slot_answer import answer
from scheduler.operations.slot_words import sentences
from scheduler.states import Door, ReasonCode, RunStatus, SlotCode
from scheduler.store.executions import FailedRange
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db]

ALICE = Actor(name="alice", door=Door.ADMIN)
FROZEN, HELD = (RunStatus.SKIPPED, ReasonCode.FROZEN), (RunStatus.PENDING, ReasonCode.FROZEN_HELD)
RAN = (RunStatus.SUCCESS, None)


@pytest.fixture
def job(system: SchedulerHarness) -> CronJob:
    return system.control.create_job(
        name="a", cron_expression="* * * * *", handler_name="ok", tags=["dwh"]
    )


def control(system: SchedulerHarness) -> FreezeControl:
    return FreezeControl(actor=ALICE, clock=system.clock)


def freeze(system: SchedulerHarness, minutes: float, **values: Any) -> JobFreeze:
    """A freeze that holds from now on for so long. It is 10:00:30 when a test begins."""
    now = system.clock.now()
    known = {
        "name": "year end",
        "reason": "the books close",
        "since": now,
        "until": now + timedelta(minutes=minutes),
    }
    return control(system).create(**{**known, **values})


def outcomes(job: CronJob) -> list[tuple[str, str | None]]:
    rows = JobExecution.objects.filter(job_id=job.pk).order_by("scheduled_time")
    return list(rows.values_list("status", "reason_code"))


def test_blocked_slots_are_recorded_with_the_freeze_and_the_last_one_runs_at_its_end(
    system: SchedulerHarness, job: CronJob
):
    other = system.control.create_job(name="b", cron_expression="* * * * *", handler_name="ok")
    made = freeze(system, 3.25, blocked_slots="latest", tags=["dwh", "bi"])

    system.minutes(3)

    assert outcomes(job) == [FROZEN, FROZEN, HELD]
    assert outcomes(other) == [RAN] * 3  # without one of its tags
    first, _second, last = JobExecution.objects.filter(job_id=job.pk).order_by("scheduled_time")
    assert first.reason_facts == {
        "freeze": "year end", "freeze_id": made.pk, "note": "the books close",
    }  # fmt: skip
    assert last.available_at == made.until
    system.minutes(1)
    assert outcomes(job) == [FROZEN, FROZEN, RAN, RAN]
    found = answer(job, first.scheduled_time, now=system.clock.now(), settings=system.settings)
    assert (found.code, found.is_calm) == (SlotCode.FROZEN, True)
    assert "year end" in sentences(found, str)[0]
    assert "the books close" in sentences(found, str)[0]


def test_slots_that_all_beats_have_missed_are_blocked_as_if_one_had_been_there(
    system: SchedulerHarness, job: CronJob
):
    CronJob.objects.update(misfire_policy="all")
    freeze(system, 3)
    system.tick()

    system.clock.advance(4 * 60)
    system.tick()
    system.deliver()

    assert outcomes(job) == [FROZEN, FROZEN, FROZEN, RAN]


def test_a_missed_slot_of_before_does_not_start_in_a_freeze_either(
    system: SchedulerHarness,
):
    hourly = system.control.create_job(name="h", cron_expression="0 * * * *", handler_name="ok")
    system.clock.advance(70 * 60)
    freeze(system, 20, blocked_slots="latest")
    system.tick()

    assert outcomes(hourly) == [HELD]


@pytest.mark.parametrize("change", ["end", "delete", "disable"])
def test_whoever_ends_a_freeze_early_lets_the_latest_slot_run(
    system: SchedulerHarness, job: CronJob, change: str
):
    made = freeze(system, 60, blocked_slots="latest")
    system.minutes(3)
    assert outcomes(job) == [FROZEN] * 3

    match change:
        case "end":
            control(system).end(made.pk)
        case "delete":
            control(system).delete(made.pk)
        case "disable":
            control(system).update(made.pk, is_enabled=False)
    system.deliver()

    assert outcomes(job) == [FROZEN, FROZEN, RAN]
    system.minutes(1)
    assert outcomes(job)[3:] == [RAN]


def test_of_two_freezes_the_other_one_still_holds_what_the_ended_one_has_blocked(
    system: SchedulerHarness, job: CronJob
):
    made = freeze(system, 60, blocked_slots="latest")
    system.minutes(1)
    freeze(system, 30, name="other")

    control(system).end(made.pk)
    system.deliver()

    assert outcomes(job) == [FROZEN]


def test_a_held_slot_follows_the_changes_of_its_freeze(system: SchedulerHarness, job: CronJob):
    made = freeze(system, 1.25, blocked_slots="latest")
    system.minutes(1)
    assert outcomes(job) == [HELD]

    assert made.until is not None
    longer = made.until + timedelta(minutes=1)
    control(system).update(made.pk, until=longer)
    assert outcomes(job) == [FROZEN]  # the next slot is blocked now, and will be the last one
    system.minutes(1)
    assert outcomes(job) == [FROZEN, HELD]
    later = longer + timedelta(seconds=10)
    control(system).update(made.pk, until=later)
    assert set(JobExecution.objects.filter(status="PENDING").values_list("available_at")) == {
        (later,)
    }
    control(system).update(made.pk, tags=["another"])
    system.deliver()
    assert outcomes(job) == [FROZEN, RAN]


def test_what_was_recorded_before_goes_on_and_its_retries_too(
    system: SchedulerHarness, job: CronJob
):
    failing = system.control.create_job(
        name="f", cron_expression="* * * * *", handler_name="fail", retry_backoff_seconds=1
    )
    system.clock.advance(30)
    system.tick()
    made = freeze(system, 60, since=system.clock.now() + timedelta(seconds=1))
    system.clock.advance(1)

    system.deliver()
    run = JobExecution.objects.get(job_id=failing.pk)
    assert (run.status, run.attempt) == (RunStatus.PENDING, 1)
    system.clock.advance(5)
    system.deliver()

    run.refresh_from_db()
    assert run.attempt == 2
    assert outcomes(job) == [RAN]
    assert made.until is not None
    assert made.until > system.clock.now()


def test_runs_that_a_person_asks_for_are_refused_by_name_but_for_an_exception(
    system: SchedulerHarness, job: CronJob
):
    failed = system.execution(job, status="FAILED", finished_at=system.clock.now())
    now = system.clock.now()
    freeze(system, 60, tags=["dwh"])
    operations = Control(actor=ALICE, clock=system.clock)
    all_failed = FailedRange(
        since=now - timedelta(days=1), until=now, statuses=frozenset({RunStatus.FAILED})
    )
    backfills = BackfillControl(actor=ALICE, clock=system.clock)
    hour: dict[str, Any] = {"since": now - timedelta(hours=1), "until": now}

    for act in (
        lambda: operations.run_now(job.pk),
        lambda: operations.replay(failed.pk),
        lambda: operations.event(params={}, job_id=job.pk),
        lambda: operations.retry(failed.pk),
        lambda: operations.retry_range(all_failed),
        lambda: backfills.start(job.pk, **hour),
    ):
        with pytest.raises(Frozen, match="year end"):
            act()
    assert outcomes(job) == [(RunStatus.FAILED, None)]
    assert operations.event(params={}, handler_name="ok")[1]  # no job: no freeze

    excepted = Control(actor=ALICE, clock=system.clock, despite_freeze=True)
    excepted.run_now(job.pk)
    excepted.retry(failed.pk)
    system.deliver()
    assert outcomes(job) == [RAN, RAN]
    texts = [history.describe(entry, str) for entry in Activity.objects.order_by("id")]
    assert sum("in spite of the freeze “year end”" in text for text in texts) == 2


def test_a_backfill_waits_while_a_freeze_holds_but_for_an_exception(
    system: SchedulerHarness, job: CronJob
):
    now = system.clock.now()
    hour: dict[str, Any] = {
        "since": now - timedelta(minutes=10), "until": now, "parallelism": 3,
    }  # fmt: skip
    BackfillControl(clock=system.clock).start(job.pk, **hour)
    freeze(system, 5)
    BackfillControl(clock=system.clock, despite_freeze=True).start(job.pk, **hour)

    system.tick()

    made = dict(Backfill.objects.order_by("id").values_list("despite_freeze", "made"))
    assert made == {False: 0, True: 3}
    system.clock.advance(6 * 60)
    system.tick()
    assert Backfill.objects.get(despite_freeze=False).made == 3


def test_slots_that_somebody_catches_up_on_enabling_are_blocked_too(
    system: SchedulerHarness, job: CronJob
):
    system.tick()
    system.control.disable(job.pk)
    system.clock.advance(180)
    freeze(system, 60, since=system.clock.now() - timedelta(seconds=5))

    system.control.enable(job.pk, missed="latest")

    assert outcomes(job)[-1] == FROZEN


def test_a_tick_looks_once_at_the_freezes_however_many_jobs_are_due(system: SchedulerHarness):
    for number in range(5):
        system.job(cron_expression=f"{number}-59 * * * *")
    system.tick()
    system.clock.advance(5 * 60)

    with CaptureQueriesContext(
        connection,
    ) as queries:
        system.tick()

    asked = [each["sql"] for each in queries if "jobu_freezes" in each["sql"]]
    of_due_jobs = [statement for statement in asked if "WHERE" in statement]
    # The other one looks for what SQL has changed, every two seconds.
    assert (len(of_due_jobs), len(asked)) == (1, 2)


def test_a_row_that_is_no_freeze_holds_nothing_and_stops_no_tick(
    system: SchedulerHarness, job: CronJob
):
    JobFreeze.objects.create(name="typed", reason="r", hours="whenever")
    made = freeze(system, 1)

    system.minutes(2)

    assert outcomes(job) == [FROZEN, RAN]
    problems = {row.name: control(system).problem(row) for row in control(system).all()}
    assert "neither like" in problems["typed"]
    assert problems[made.name] == ""


def test_the_database_refuses_a_freeze_without_an_end(system: SchedulerHarness):
    now = system.clock.now()
    for values in ({"since": now}, {"until": now}, {}, {"since": now, "until": now}):
        with pytest.raises(IntegrityError), transaction.atomic():
            JobFreeze.objects.create(name="endless", reason="r", **values)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "year end"}, "name"),
        ({"reason": " "}, "reason"),
        ({"until": None}, "until"),
        ({"since": None}, "since"),
        ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, "until"),
        ({"hours": "Fry 18:00 - Mon 06:00"}, "hours"),
        ({"hours": "daily 00:00 - 24:00", "since": None, "until": None}, "hours"),
        ({"hours": "Fri 18:00 - Mon 06:00", "timezone": "Asia/Soul"}, "timezone"),
        ({"tags": "dwh"}, "tags"),
        ({"blocked_slots": "all"}, "blocked_slots"),
        ({"day": 1}, "day"),
    ],
)
def test_a_freeze_that_makes_no_sense_is_refused_where_it_is_typed(
    system: SchedulerHarness, given: dict[str, Any], field: str
):
    freeze(system, 1)
    with pytest.raises(InvalidJob) as refused:
        freeze(system, 1, **{"name": "n", **given})
    assert list(refused.value.problems) == [field]


def test_the_preview_says_what_it_will_block(system: SchedulerHarness, job: CronJob):
    now = system.clock.now()
    nightly = system.control.create_job(name="n", cron_expression="0 11 * * *", handler_name="ok")

    found = control(system).preview(
        since=now, until=now + timedelta(minutes=60), blocked_slots="latest"
    )

    assert [(each.job.name, each.count) for each in found.jobs] == [("a", 60), ("n", 1)]
    assert found.jobs[1].runs_at == now + timedelta(minutes=60)
    only = control(system).preview(since=now, until=now + timedelta(minutes=60), tags=["dwh"])
    assert [each.job.name for each in only.jobs] == ["a"]
    assert not JobFreeze.objects.exists()
    assert nightly.pk


def test_the_preview_of_a_long_freeze_counts_every_slot_of_a_small_shop(
    system: SchedulerHarness, job: CronJob
):
    now = system.clock.now()
    seconds = system.control.create_job(
        name="s", cron_expression="* * * * *", handler_name="ok", timezone="Asia/Seoul"
    )
    system.control.create_job(name="i", cron_expression="every 90 minutes", handler_name="ok")
    # As SQL may write it: each ten seconds. Two of them lie before the watermark.
    CronJob.objects.filter(pk=seconds.pk).update(
        cron_expression="*/10 * * * * *", end_at=now + timedelta(days=2)
    )

    found = control(system).preview(since=now, until=now + timedelta(days=30))
    weekly = control(system).preview(
        hours="Mon-Sun 00:00 - 13:00\nMon-Sun 12:00 - 23:00", timezone="UTC"
    )

    counts = {each.job.name: each.count for each in found.jobs}
    assert counts == {"a": 7 * 24 * 60, "s": 2 * 24 * 360 - 2, "i": 7 * 16}
    assert not found.is_partial
    assert {each.job.name: each.count for each in weekly.jobs}["a"] == 7 * 23 * 60
    last = next(each.last for each in found.jobs if each.job.name == "a")
    assert last == now.replace(second=0) + timedelta(days=7)


def test_the_preview_says_when_there_are_more_jobs_than_it_looks_at(
    system: SchedulerHarness, job: CronJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(freezes, "PREVIEW_JOBS", 1)
    system.control.create_job(name="b", cron_expression="* * * * *", handler_name="ok")
    now = system.clock.now()

    found = control(system).preview(since=now, until=now + timedelta(minutes=60))

    assert ([each.job.name for each in found.jobs], found.is_partial) == (["a"], True)


def test_the_history_says_who_did_what(system: SchedulerHarness):
    made = freeze(system, 5)
    system.clock.advance(1)
    control(system).update(made.pk, reason="something else")
    control(system).end(made.pk)
    with pytest.raises(NotPossible, match="does not hold"):
        control(system).end(made.pk)
    control(system).delete(made.pk)

    entries = list(Activity.objects.order_by("id"))
    assert [each.target_kind for each in entries] == ["freeze"] * 4
    assert [history.describe(each, str) for each in entries] == [
        "Created", "Changed reason", "Ended before its time", "Deleted",
    ]  # fmt: skip
