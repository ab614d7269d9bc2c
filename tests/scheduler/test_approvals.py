"""Runs that wait for a person: what waits, who decides once, what comes of the time running out."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from scheduler.admin.explain import explain_execution
from scheduler.models import Activity, CronJob, JobExecution, RunApproval
from scheduler.operations import history
from scheduler.operations.actor import Actor
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.freezes import FreezeControl
from scheduler.operations.frozen import Frozen
from scheduler.states import Door, ReasonCode, RunStatus
from scheduler.store import approvals
from tests.harness.scheduler_harness import SchedulerHarness, reason_of

pytestmark = [pytest.mark.database, pytest.mark.django_db]

ALICE = Actor(name="alice", door=Door.ADMIN)
WAITS = (RunStatus.PENDING, ReasonCode.AWAITS_APPROVAL)
RAN = (RunStatus.SUCCESS, None)
HOUR = 3600


@pytest.fixture
def job(system: SchedulerHarness) -> CronJob:
    return system.control.create_job(
        name="a", cron_expression="0 * * * *", handler_name="ok", approval_seconds=HOUR
    )


def control(system: SchedulerHarness, **rights: Any) -> Control:
    return Control(actor=ALICE, clock=system.clock, **rights)


def slot_of(system: SchedulerHarness, job: CronJob) -> JobExecution:
    """The run of 11:00, which has just been recorded."""
    system.clock.advance(60 * 60 - 30)
    system.tick()
    system.deliver()
    return JobExecution.objects.get(job_id=job.pk)


def outcomes(job: CronJob) -> list[tuple[str, str | None]]:
    rows = JobExecution.objects.filter(job_id=job.pk).order_by("scheduled_time")
    return list(rows.values_list("status", "reason_code"))


def expire(system: SchedulerHarness) -> None:
    """Beat looks for it now and then."""
    system.clock.advance(10)
    system.tick()


def test_a_slot_runs_when_a_person_has_approved_it_and_not_before(
    system: SchedulerHarness, job: CronJob
):
    run = slot_of(system, job)
    assert outcomes(job) == [WAITS]
    assert run.available_at == approvals.NEVER
    assert "approves it" in explain_execution(run, system.clock.now())[0]

    done = control(system).approve(run.pk, digest=digest_of_params(run), note="looks right")
    system.deliver()

    assert done.available_at <= system.clock.now()
    assert outcomes(job) == [RAN]
    known = RunApproval.objects.get()
    assert (known.state, known.decided_by, known.note) == ("approved", "alice", "looks right")
    assert history.describe(Activity.objects.get(verb="approved"), str) == "Approved"


def test_nobody_approves_it_in_time_and_it_is_skipped(system: SchedulerHarness, job: CronJob):
    run = slot_of(system, job)
    system.clock.advance(HOUR - 30)
    expire(system)
    assert outcomes(job)[0] == WAITS

    system.clock.advance(20)
    with pytest.raises(NotPossible, match="is over"):
        control(system).approve(run.pk, digest=digest_of_params(run))
    expire(system)

    code, facts = reason_of(run)
    assert code == ReasonCode.NOT_APPROVED
    assert facts is not None
    assert facts["until"] == (run.scheduled_time + timedelta(seconds=HOUR)).isoformat()
    assert RunApproval.objects.get(pk=run.pk).state == "expired"


def test_a_rejected_run_is_skipped_with_who_and_why(system: SchedulerHarness, job: CronJob):
    run = slot_of(system, job)

    control(system).reject(run.pk, digest=digest_of_params(run), note="not today")

    assert reason_of(run) == (ReasonCode.REJECTED, {"by": "alice", "note": "not today"})
    assert "alice rejected it: not today" in explain_execution(
        JobExecution.objects.get(pk=run.pk), system.clock.now()
    )[0]  # fmt: skip


def test_what_cannot_be_approved_is_refused_with_the_reason(system: SchedulerHarness, job: CronJob):
    run = slot_of(system, job)
    seen = digest_of_params(run)
    JobExecution.objects.filter(pk=run.pk).update(params={"other": 1})
    with pytest.raises(NotPossible, match="have changed"):
        control(system).approve(run.pk, digest=seen)
    run.refresh_from_db()
    control(system).approve(run.pk, digest=digest_of_params(run))

    for act in (control(system).approve, control(system).reject):
        with pytest.raises(NotPossible, match="does not wait"):
            act(run.pk, digest=digest_of_params(run))  # a second time
    system.deliver()
    with pytest.raises(NotPossible, match="does not wait"):
        control(system).approve(run.pk, digest=digest_of_params(run))
    free = system.execution()
    with pytest.raises(NotPossible, match="does not wait"):
        control(system).approve(free.pk, digest=digest_of_params(free))
    assert outcomes(job) == [RAN]


def test_a_run_whose_time_is_over_or_that_was_cancelled_is_not_approved(
    system: SchedulerHarness, job: CronJob
):
    cancelled = slot_of(system, job)
    control(system).cancel(cancelled.pk)
    system.clock.advance(HOUR)
    system.tick()
    late = JobExecution.objects.filter(job=job).latest("id")
    assert late.pk != cancelled.pk
    system.clock.advance(HOUR)  # beat has not looked since

    for act in (control(system).approve, control(system).reject):
        with pytest.raises(NotPossible, match="does not wait"):
            act(cancelled.pk, digest=digest_of_params(cancelled))
        with pytest.raises(NotPossible, match="time in which it could be approved is over"):
            act(late.pk, digest=digest_of_params(late))
    with pytest.raises(NotPossible, match="have changed"):
        control(system).approve(late.pk, digest="")
    with pytest.raises(InvalidJob):
        control(system).approve(late.pk, digest=digest_of_params(late), note="x" * 501)
    assert {row.state for row in RunApproval.objects.all()} <= {"waiting", "expired"}
    expire(system)
    assert (RunStatus.SKIPPED, ReasonCode.NOT_APPROVED) in outcomes(job)


def test_retries_need_no_further_approval(system: SchedulerHarness, job: CronJob):
    CronJob.objects.update(handler_name="fail", retry_backoff_seconds=1)
    run = slot_of(system, job)
    control(system).approve(run.pk, digest=digest_of_params(run))
    system.deliver()
    system.clock.advance(5)
    system.deliver()
    run.refresh_from_db()
    assert (run.attempt, run.status) == (2, RunStatus.PENDING)

    control(system).cancel(run.pk)
    control(system).retry(run.pk)
    assert outcomes(job) == [(RunStatus.PENDING, None)]  # the same parameters


def test_a_run_that_was_not_approved_needs_it_when_somebody_retries_it(
    system: SchedulerHarness, job: CronJob
):
    run = slot_of(system, job)
    control(system).reject(run.pk, digest=digest_of_params(run))

    control(system).retry(run.pk)
    assert outcomes(job) == [WAITS]
    control(system).reject(run.pk, digest=digest_of_params(run))
    control(system, may_approve=True).retry(run.pk)
    system.deliver()
    assert outcomes(job) == [RAN]


def test_what_a_person_with_the_right_asks_for_is_approved_at_once(
    system: SchedulerHarness, job: CronJob
):
    asked = control(system).run_now(job.pk)
    mine = control(system, may_approve=True).run_now(job.pk)
    event, _is_new = control(system, may_approve=True).event(params={}, job_id=job.pk)
    system.deliver()

    statuses = {
        run.pk: (run.status, run.reason_code) for run in JobExecution.objects.filter(job_id=job.pk)
    }
    assert statuses == {asked.pk: WAITS, mine.pk: RAN, event.pk: WAITS}
    assert RunApproval.objects.get(pk=mine.pk).decided_by == "alice"
    now = system.clock.now()
    hours: dict[str, Any] = {"since": now - timedelta(hours=3), "until": now}
    with pytest.raises(NotPossible, match="approves all its runs"):
        BackfillControl(clock=system.clock).start(job.pk, **hours)
    BackfillControl(clock=system.clock, may_approve=True).start(job.pk, **hours)
    system.tick()
    assert system.deliver() == [RunStatus.SUCCESS]


def test_missed_slots_that_somebody_catches_up_wait_too(system: SchedulerHarness, job: CronJob):
    system.tick()
    system.control.disable(job.pk)
    system.clock.advance(3 * HOUR)
    system.control.enable(job.pk, missed="latest")
    system.deliver()

    assert outcomes(job)[-1] == WAITS


def test_in_a_freeze_nobody_approves_and_a_held_slot_has_its_time_after_the_freeze(
    system: SchedulerHarness, job: CronJob
):
    now = system.clock.now()
    end = now + timedelta(hours=1, minutes=30)
    freezes = FreezeControl(clock=system.clock)
    freezes.create(name="f", reason="r", since=now, until=end, blocked_slots="latest")
    run = slot_of(system, job)
    assert outcomes(job) == [WAITS]
    assert RunApproval.objects.get().expires_at == end + timedelta(seconds=HOUR)

    with pytest.raises(Frozen):
        control(system).approve(run.pk, digest=digest_of_params(run))
    assert RunApproval.objects.get().state == "waiting"
    system.clock.advance_to(end)
    control(system).approve(run.pk, digest=digest_of_params(run))
    system.deliver()
    assert outcomes(job) == [RAN]


def test_a_deleted_run_takes_its_approval_with_it_and_a_cancelled_one_ends_it(
    system: SchedulerHarness, job: CronJob
):
    run = slot_of(system, job)
    control(system).cancel(run.pk)
    system.clock.advance(2 * HOUR)
    expire(system)
    assert outcomes(job)[0] == (RunStatus.CANCELLED, ReasonCode.CANCELLED_BY_PERSON)
    assert RunApproval.objects.get(pk=run.pk).state == "expired"

    control(system).delete_execution(run.pk)
    assert not RunApproval.objects.filter(pk=run.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_two_people_and_the_end_of_its_time_make_one_verdict(
    system: SchedulerHarness, job: CronJob
):
    run = slot_of(system, job)
    seen, start, verdicts = digest_of_params(run), threading.Barrier(2), list[str]()

    def decide(verb: str) -> None:
        try:
            start.wait(10)
            getattr(control(system), verb)(run.pk, digest=seen)
            verdicts.append(verb)
        except NotPossible:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=(verb,)) for verb in ("approve", "reject")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    [verdict] = verdicts
    state = RunApproval.objects.get().state
    assert state == {"approve": "approved", "reject": "rejected"}[verdict]
    system.clock.advance(2 * HOUR)
    expire(system)
    assert RunApproval.objects.get(pk=run.pk).state == state
    assert Activity.objects.filter(verb__in=["approved", "rejected"]).count() == 1
