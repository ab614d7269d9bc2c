"""What a person may choose for a backfill: missing slots, a rate, the overlap policy, a chain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.models import Backfill, CronJob, JobExecution, JobGuard
from scheduler.operations.backfills import BackfillControl, InvalidJob
from scheduler.states import BackfillState, ReasonCode, RunStatus, UpstreamState
from tests.harness.scheduler_harness import SchedulerHarness, fresh

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

HOUR = timedelta(hours=1)
FIRST = datetime(2026, 1, 10, 3, tzinfo=UTC)


@pytest.fixture
def control(system: SchedulerHarness) -> BackfillControl:
    return BackfillControl(clock=system.clock)


@pytest.fixture
def load(system: SchedulerHarness) -> CronJob:
    return system.control.create_job(
        name="load", cron_expression="0 * * * *", timezone="UTC", handler_name="ok", max_retry=0
    )


@pytest.fixture
def report(system: SchedulerHarness, load: CronJob) -> CronJob:
    return system.control.create_job(
        name="report", cron_expression="@after", handler_name="ok", upstreams=["load"]
    )


def run(job: CronJob, slot: datetime, status: RunStatus, **values: Any) -> None:
    """A run of the past for this slot."""
    is_final = status not in {RunStatus.PENDING, RunStatus.RUNNING}
    JobExecution.objects.create(
        job=job,
        job_name=job.name,
        handler_name=job.handler_name,
        scheduled_time=slot,
        status=status,
        finished_at=slot + HOUR if is_final else None,
        available_at=slot + timedelta(days=3650),
        **values,
    )


def slots_of(backfill: Backfill) -> list[datetime | None]:
    rows = JobExecution.objects.filter(backfill_id=backfill.pk).order_by("id")
    return list(rows.values_list("logical_time", flat=True))


def until_done(system: SchedulerHarness, most: int = 30) -> None:
    for _round in range(most):
        system.tick()
        system.deliver()
        system.clock.advance(1)


def test_only_missing_slots_are_run(
    system: SchedulerHarness, control: BackfillControl, load: CronJob
):
    run(load, FIRST, RunStatus.SUCCESS)
    run(load, FIRST + HOUR, RunStatus.FAILED)
    run(load, FIRST + 2 * HOUR, RunStatus.PENDING)
    run(load, FIRST + 3 * HOUR, RunStatus.CANCELLED)
    made_up = FIRST + 400 * HOUR
    run(load, made_up, RunStatus.SUCCESS, logical_time=FIRST + 4 * HOUR)
    span: dict[str, Any] = {"since": FIRST, "until": FIRST + 5 * HOUR, "only_missing": True}
    missing = [FIRST + n * HOUR for n in (1, 3, 5)]

    seen = control.preview(load.pk, **span)
    assert [each.slot for each in seen.runs] == seen.slots == missing

    started = control.start(load.pk, parallelism=2, **span)
    assert started.total == 3
    until_done(system)

    assert slots_of(started) == missing
    assert Backfill.objects.get(pk=started.pk).state == BackfillState.DONE
    with pytest.raises(InvalidJob, match="is missing"):
        control.start(load.pk, **span)


def test_a_rate_holds_in_any_minute(
    system: SchedulerHarness, control: BackfillControl, load: CronJob
):
    started = control.start(
        load.pk, since=FIRST, until=FIRST + 9 * HOUR, parallelism=10, per_minute=4
    )
    until_done(system, 5)
    assert len(slots_of(started)) == 4

    system.clock.advance(61)
    until_done(system, 3)
    assert len(slots_of(started)) == 8


def test_runs_beside_the_overlap_policy_have_no_guard(
    system: SchedulerHarness, control: BackfillControl, load: CronJob
):
    system.control.update_job(load.pk, overlap_policy="skip")
    by_hand = system.control.run_now(load.pk)
    system.claim(by_hand)  # it goes on
    started = control.start(
        load.pk, since=FIRST, until=FIRST + HOUR, parallelism=2, ignores_overlap=True
    )
    system.tick()
    system.deliver()

    runs = JobExecution.objects.filter(backfill_id=started.pk)
    assert {each.status for each in runs} == {RunStatus.SUCCESS}
    assert JobGuard.objects.get(id=load.pk).running_id == by_hand.pk


def test_a_chain_goes_slot_by_slot_and_a_failed_slot_is_skipped_downstream(
    system: SchedulerHarness, control: BackfillControl, load: CronJob, report: CronJob
):
    async def execute(self: Any, params: Any) -> None:
        if self.context.scheduled_time == FIRST + HOUR:
            raise RuntimeError("this slot")

    system.handler("second_fails", execute)
    system.control.update_job(load.pk, handler_name="second_fails")
    seen = control.preview(load.pk, since=FIRST, until=FIRST + 2 * HOUR, with_downstream=True)
    assert [(each.job.name, each.total) for each in seen.downstream] == [("report", 3)]

    first = control.start(load.pk, since=FIRST, until=FIRST + 2 * HOUR, with_downstream=True)
    second = Backfill.objects.get(job=report)
    assert first.group_id == second.group_id == first.pk
    system.tick()
    waiting = JobExecution.objects.get(backfill_id=second.pk)
    assert waiting.reason_code == ReasonCode.UPSTREAM_AWAITED
    until_done(system)

    assert slots_of(second) == [FIRST + n * HOUR for n in range(3)]
    ends = JobExecution.objects.filter(backfill_id=second.pk).order_by("logical_time")
    assert list(ends.values_list("status", flat=True)) == [
        RunStatus.SUCCESS,
        RunStatus.SKIPPED,
        RunStatus.SUCCESS,
    ]
    skipped = JobExecution.objects.get(backfill_id=second.pk, status=RunStatus.SKIPPED)
    assert skipped.reason_facts["upstreams"][0]["state"] == RunStatus.FAILED


def test_in_a_chain_of_missing_slots_an_upstream_slot_that_has_succeeded_is_done(
    system: SchedulerHarness, control: BackfillControl, load: CronJob, report: CronJob
):
    run(load, FIRST, RunStatus.SUCCESS)
    run(load, FIRST + HOUR, RunStatus.SUCCESS)
    span: dict[str, Any] = {"since": FIRST, "until": FIRST + 2 * HOUR}
    started = control.start(load.pk, only_missing=True, with_downstream=True, **span)
    until_done(system)

    second = Backfill.objects.get(job=report)
    assert slots_of(started) == [FIRST + 2 * HOUR]
    ends = JobExecution.objects.filter(backfill_id=second.pk).values_list("status", flat=True)
    assert list(ends) == [RunStatus.SUCCESS] * 3


def test_cancelling_the_first_backfill_cancels_the_chain(
    system: SchedulerHarness, control: BackfillControl, load: CronJob, report: CronJob
):
    first = control.start(load.pk, since=FIRST, until=FIRST + 2 * HOUR, with_downstream=True)
    system.tick()
    control.cancel(first.pk)
    system.tick(2)

    assert {each.state for each in Backfill.objects.all()} == {BackfillState.CANCELLED}
    runs = JobExecution.objects.filter(backfill_id__isnull=False)
    assert {each.status for each in runs} == {RunStatus.CANCELLED}


def test_when_the_upstream_backfill_is_gone_nothing_waits_for_it_for_ever(
    system: SchedulerHarness, control: BackfillControl, load: CronJob, report: CronJob
):
    first = control.start(load.pk, since=FIRST, until=FIRST, with_downstream=True)
    control.pause(first.pk)
    system.tick(2)
    waiting = JobExecution.objects.get(job=report)
    assert waiting.status == RunStatus.PENDING

    Backfill.objects.filter(pk=first.pk).delete()
    system.tick()

    row = fresh(waiting)
    assert (row.status, row.reason_code) == (RunStatus.SKIPPED, ReasonCode.UPSTREAM_MISSING)
    assert row.reason_facts["upstreams"][0]["state"] == UpstreamState.NO_RUN


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"per_minute": 0}, "per_minute"),
        ({"per_minute": "4"}, "per_minute"),
        ({"parallelism": 0}, "parallelism"),
        ({"only_missing": "yes"}, "only_missing"),
        ({"since": FIRST + 9 * HOUR}, "since"),
        ({"until": FIRST + 10_001 * HOUR}, "until"),
        ({"with_downstream": True}, "with_downstream"),
    ],
    ids=repr,
)
def test_bad_choices_are_refused_at_their_field(
    values: dict[str, Any], field: str, control: BackfillControl, load: CronJob, report: CronJob
):
    CronJob.objects.filter(pk=report.pk).update(handler_name="gone")
    asked = {"since": FIRST, "until": FIRST + HOUR, **values}

    with pytest.raises(InvalidJob) as caught:
        control.start(load.pk, **asked)

    assert set(caught.value.problems) == {field}
    assert not Backfill.objects.exists()
