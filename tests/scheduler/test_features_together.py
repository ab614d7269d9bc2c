"""What holds a run back, two at a time: freezes, upstream jobs, approvals, limits, shards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from scheduler.models import (
    ConcurrencyGroup,
    CronJob,
    JobExecution,
    JobFreeze,
    JobPlace,
    JobWait,
    RunApproval,
)
from scheduler.operations.actor import Actor
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control
from scheduler.operations.errors import NotPossible
from scheduler.operations.freezes import FreezeControl
from scheduler.operations.frozen import Frozen
from scheduler.states import Door, ReasonCode, RunStatus
from scheduler.store import waits
from tests.harness.scheduler_harness import SchedulerHarness, fresh
from tests.scheduler.test_places import end
from tests.scheduler.test_shards import half_bad, shards_of

pytestmark = [pytest.mark.database, pytest.mark.django_db]

ALICE = Actor(name="alice", door=Door.ADMIN)
RAN = (RunStatus.SUCCESS, None)
FROZEN, HELD = (RunStatus.SKIPPED, ReasonCode.FROZEN), (RunStatus.PENDING, ReasonCode.FROZEN_HELD)
AWAITS_UPSTREAM = (RunStatus.PENDING, ReasonCode.UPSTREAM_AWAITED)
AWAITS_PERSON = (RunStatus.PENDING, ReasonCode.AWAITS_APPROVAL)
HOUR = 3600


def alice(system: SchedulerHarness, **rights: Any) -> Control:
    return Control(actor=ALICE, clock=system.clock, **rights)


def freezes(system: SchedulerHarness) -> FreezeControl:
    return FreezeControl(actor=ALICE, clock=system.clock)


def every_minute(system: SchedulerHarness, name: str, **values: Any) -> CronJob:
    given = {"cron_expression": "* * * * *", "handler_name": "ok", "tags": [name, "all"]}
    return system.control.create_job(name=name, **{**given, **values})


def after(system: SchedulerHarness, upstream: CronJob, **values: Any) -> CronJob:
    known = {"cron_expression": "@after", "upstreams": [upstream.name], "upstream_seconds": 60}
    return every_minute(system, "report", **{**known, **values})


def freeze(system: SchedulerHarness, minutes: float, *tags: str) -> JobFreeze:
    """It is 10:00:30. The last slot before the end is held, the others are skipped."""
    now = system.clock.now()
    return freezes(system).create(
        name="year end",
        reason="the books close",
        since=now,
        until=now + timedelta(minutes=minutes),
        tags=list(tags),
        blocked_slots="latest",
    )


def outcomes(job: CronJob) -> list[tuple[str, str | None]]:
    rows = JobExecution.objects.filter(job_id=job.pk).order_by("scheduled_time")
    return list(rows.values_list("status", "reason_code"))


def newest(job: CronJob) -> JobExecution:
    return JobExecution.objects.filter(job_id=job.pk).latest("scheduled_time")


def approve(system: SchedulerHarness, run: JobExecution, **rights: Any) -> JobExecution:
    return alice(system, **rights).approve(run.pk, digest=digest_of_params(fresh(run)))


def go_on(system: SchedulerHarness, times: int = 2) -> None:
    for _ in range(times):
        system.deliver()
        system.tick()


# --- freezes and upstream jobs --------------------------------------------------------------------


def test_a_held_slot_waits_for_its_upstream_job_from_the_end_of_the_freeze_on(
    system: SchedulerHarness,
):
    load = every_minute(system, "load")
    report = after(system, load)
    freeze(system, 3.25, "all")
    system.minutes(3)
    assert outcomes(load) == [FROZEN, FROZEN, HELD]
    assert outcomes(report) == [FROZEN, FROZEN, AWAITS_UPSTREAM]

    system.minutes(1)  # the time to wait counted from the slot would be over
    go_on(system)

    assert outcomes(load) == outcomes(report) == [FROZEN, FROZEN, RAN, RAN]


@pytest.mark.parametrize("change", ["stays", "ends", "is longer"])
def test_a_held_slot_whose_upstream_job_has_succeeded_follows_the_freeze(
    system: SchedulerHarness, change: str
):
    report = after(system, every_minute(system, "load"))
    made = freeze(system, 3.25, "report")
    system.minutes(3)
    system.tick()
    assert outcomes(report) == [FROZEN, FROZEN, HELD]
    assert newest(report).available_at == made.until

    match change:
        case "stays":
            system.clock.advance_to(made.until or system.clock.now())
        case "ends":
            freezes(system).end(made.pk)
        case "is longer":
            freezes(system).update(made.pk, until=system.clock.now() + timedelta(minutes=5))
    system.deliver()

    assert outcomes(report)[2] == (FROZEN if change == "is longer" else RAN)


@pytest.mark.parametrize("minutes", [3.25, 60])
def test_whoever_ends_a_freeze_early_lets_the_chain_go_on_in_its_order(
    system: SchedulerHarness, minutes: float
):
    load = every_minute(system, "load")
    report = after(system, load, approval_seconds=HOUR)
    made = freeze(system, minutes, "all")
    system.minutes(3)
    freezes(system).end(made.pk)
    assert outcomes(report) == [FROZEN, FROZEN, AWAITS_UPSTREAM]

    go_on(system)

    assert outcomes(load) == [FROZEN, FROZEN, RAN]
    assert outcomes(report)[2] == AWAITS_PERSON
    approve(system, newest(report))
    system.deliver()
    assert outcomes(report)[2] == RAN


# --- approvals ------------------------------------------------------------------------------------


def test_a_run_asks_for_its_approval_when_its_upstream_jobs_have_succeeded(
    system: SchedulerHarness,
):
    report = after(system, every_minute(system, "load"), approval_seconds=HOUR)
    system.clock.advance(60)
    system.tick()
    assert outcomes(report) == [AWAITS_UPSTREAM]
    with pytest.raises(NotPossible, match="does not wait for an approval"):
        approve(system, newest(report))

    go_on(system)

    assert outcomes(report) == [AWAITS_PERSON]
    known = RunApproval.objects.get()
    assert known.expires_at == system.clock.now() + timedelta(seconds=HOUR)
    approve(system, newest(report))
    system.deliver()
    assert outcomes(report) == [RAN]


def test_an_approval_follows_the_freeze_that_holds_the_run(system: SchedulerHarness):
    job = every_minute(system, "pay", approval_seconds=HOUR)
    made = freeze(system, 1.25, "pay")
    system.minutes(1)
    run = newest(job)
    assert outcomes(job) == [AWAITS_PERSON]
    with pytest.raises(Frozen):
        approve(system, run)

    freezes(system).end(made.pk)

    assert RunApproval.objects.get().expires_at == system.clock.now() + timedelta(seconds=HOUR)
    assert approve(system, run).available_at == system.clock.now()
    system.deliver()
    assert outcomes(job) == [RAN]


def test_an_approval_in_spite_of_a_freeze_does_not_wait_for_its_end(system: SchedulerHarness):
    job = every_minute(system, "pay", approval_seconds=HOUR)
    freeze(system, 1.25, "pay")
    system.minutes(1)

    approve(system, newest(job), despite_freeze=True)
    system.deliver()

    assert outcomes(job) == [RAN]


def test_an_approved_run_waits_for_a_place_without_a_further_approval(system: SchedulerHarness):
    ConcurrencyGroup.objects.create(name="dwh", max_running=1)
    job = every_minute(system, "pay", approval_seconds=HOUR, concurrency_group="dwh")
    going_on = system.claimed(system.execution(system.job(concurrency_group="dwh")))
    system.minutes(1)
    assert outcomes(job) == [AWAITS_PERSON]
    assert JobPlace.objects.count() == 1  # who waits for a person takes no place

    approve(system, newest(job))
    system.deliver()
    assert outcomes(job) == [(RunStatus.PENDING, ReasonCode.LIMIT_REACHED)]
    end(system, [going_on])
    system.deliver()

    assert outcomes(job) == [RAN]


def test_who_starts_a_backfill_of_a_chain_approves_all_its_runs(system: SchedulerHarness):
    load = every_minute(system, "load", is_enabled=False, approval_seconds=HOUR)
    report = after(system, load, is_enabled=False, approval_seconds=HOUR)
    now = system.clock.now().replace(second=0)
    how: dict[str, Any] = {"since": now, "until": now, "with_downstream": True}
    with pytest.raises(NotPossible, match="approved by a person"):
        BackfillControl(actor=ALICE, clock=system.clock).start(load.pk, **how)

    BackfillControl(actor=ALICE, clock=system.clock, may_approve=True).start(load.pk, **how)
    system.tick()
    assert outcomes(report) == [AWAITS_UPSTREAM]
    go_on(system)

    assert outcomes(load) == outcomes(report) == [RAN]


# --- shards ---------------------------------------------------------------------------------------


def test_a_retried_shard_waits_for_the_approval_and_the_turn_of_its_parent(
    system: SchedulerHarness,
):
    parent = half_bad(system, overlap_policy="queue_one")
    system.deliver()
    job = CronJob.objects.get()
    CronJob.objects.update(approval_seconds=HOUR)
    failed = shards_of(parent)[0]
    JobExecution.objects.filter(pk=failed.pk).update(params={"part": 0})
    made = freeze(system, 1)
    with pytest.raises(Frozen):
        alice(system).retry(failed.pk)
    freezes(system).delete(made.pk)

    going_on = system.claimed(system.execution(job))
    alice(system).retry(failed.pk)
    assert (fresh(parent).status, fresh(parent).reason_code) == AWAITS_PERSON
    approve(system, parent)
    system.deliver()
    assert fresh(parent).reason_code == ReasonCode.OVERLAP_HELD
    assert fresh(failed).status == RunStatus.PENDING
    end(system, [going_on])
    go_on(system)

    assert fresh(parent).status == fresh(failed).status == RunStatus.SUCCESS


# --- what people do with a run that waits ---------------------------------------------------------


def _upstream(system: SchedulerHarness) -> CronJob:
    job = after(system, every_minute(system, "load"))
    system.clock.advance(60)
    system.tick()
    return job


def _approval(system: SchedulerHarness) -> CronJob:
    job = every_minute(system, "pay", approval_seconds=HOUR)
    system.minutes(1)
    return job


def _freeze(system: SchedulerHarness) -> CronJob:
    job = every_minute(system, "pay")
    freeze(system, 1.25, "pay")
    system.minutes(1)
    return job


def _all_three(system: SchedulerHarness) -> CronJob:
    job = after(system, every_minute(system, "load"), approval_seconds=HOUR)
    freeze(system, 1.25, "report")
    system.clock.advance(60)
    system.tick()
    return job


def _limit(system: SchedulerHarness) -> CronJob:
    ConcurrencyGroup.objects.create(name="dwh", max_running=1)
    job = every_minute(system, "pay", concurrency_group="dwh")
    system.claimed(system.execution(system.job(concurrency_group="dwh"), queue="other"))
    system.minutes(1)
    return job


def _overlap(system: SchedulerHarness) -> CronJob:
    job = every_minute(system, "pay", overlap_policy="queue_one")
    system.claimed(system.execution(job))
    system.minutes(1)
    return job


WAITING = [_upstream, _approval, _freeze, _all_three, _limit, _overlap]


@pytest.mark.parametrize("waiting", WAITING)
def test_a_run_that_waits_is_cancelled_for_good_and_a_retry_of_it_waits_for_no_upstream_job(
    system: SchedulerHarness, waiting: Callable[[SchedulerHarness], CronJob]
):
    run = newest(waiting(system))
    assert run.status == RunStatus.PENDING
    assert alice(system).cancel(run.pk) == RunStatus.CANCELLED
    for made in JobFreeze.objects.all():
        freezes(system).end(made.pk)
    go_on(system)
    assert fresh(run).status == RunStatus.CANCELLED
    assert fresh(run).available_at < waits.NEVER
    assert not JobWait.objects.filter(execution_id=run.pk).exists()

    JobExecution.objects.filter(status=RunStatus.RUNNING).delete()  # of limits and of overlap
    alice(system, may_approve=True).retry(run.pk)
    system.deliver()

    assert fresh(run).status == RunStatus.SUCCESS


@pytest.mark.parametrize("waiting", WAITING)
def test_a_job_whose_run_waits_is_deleted_with_it(
    system: SchedulerHarness, waiting: Callable[[SchedulerHarness], CronJob]
):
    job = waiting(system)
    run = newest(job)
    system.control.delete_job(job.pk)
    go_on(system)

    assert not JobExecution.objects.filter(pk=run.pk).exists()
    assert not JobWait.objects.exists()
    assert not RunApproval.objects.exists()
