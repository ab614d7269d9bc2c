"""Backfills: what is refused, what beat makes of one, and that each slot gets exactly one run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections

from handlers import BaseHandler, HandlerParams
from scheduler import failpoints
from scheduler.models import Backfill, CronJob, JobExecution
from scheduler.operations.actor import Actor
from scheduler.operations.backfills import BackfillControl, InvalidJob, NotPossible
from scheduler.states import BackfillState, RunStatus
from scheduler.store import backfills, retention
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh, reason_of
from tests.scheduler.test_races import together
from tests.scheduler.test_statements import assert_probes

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

HOUR = timedelta(hours=1)
FIRST = datetime(2026, 1, 10, 3, tzinfo=UTC)


@pytest.fixture
def control(system: SchedulerHarness) -> BackfillControl:
    return BackfillControl(actor=Actor(name="alice"), clock=system.clock)


def hourly(system: SchedulerHarness, **values: Any) -> CronJob:
    """A job that is enabled but not due during the test."""
    given = {"cron_expression": "0 * * * *", "next_run_at": START + timedelta(days=300)}
    return system.job(**{**given, **values})


def slots_of(backfill: Backfill) -> list[datetime | None]:
    """The slots of its runs, in the order in which they were made."""
    rows = JobExecution.objects.filter(backfill_id=backfill.pk).order_by("id")
    return list(rows.values_list("logical_time", flat=True))


def now_of(backfill: Backfill) -> Backfill:
    return Backfill.objects.get(pk=backfill.pk)


# --- starting one ---------------------------------------------------------------------------------


def test_a_preview_lists_the_slots_and_writes_nothing(
    system: SchedulerHarness, control: BackfillControl
):
    job = hourly(system, timezone="Asia/Seoul", handler_params={"day": "{slot:%d. %H}"})

    seen = control.preview(job.pk, since=FIRST, until=FIRST + 200 * HOUR, order="newest_first")

    assert seen.total == 201
    assert seen.slots == [FIRST + (200 - i) * HOUR for i in range(100)]
    assert seen.params_of_first == {"day": "18. 20"}
    assert not Backfill.objects.exists()


def test_a_range_without_a_slot_previews_as_nothing_and_does_not_start(
    system: SchedulerHarness, control: BackfillControl
):
    job = hourly(system)
    since, until = FIRST + timedelta(minutes=1), FIRST + timedelta(minutes=59)
    assert control.preview(job.pk, since=since, until=until).total == 0
    with pytest.raises(InvalidJob, match="no slot"):
        control.start(job.pk, since=since, until=until)


class _Numbered(HandlerParams):
    number: int
    day: str


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"since": FIRST + 4 * HOUR}, "since: must not be after until"),
        ({"since": FIRST.replace(tzinfo=None)}, "since: must say its time zone"),
        ({"until": None}, "until: is required"),
        ({"until": FIRST + timedelta(days=800)}, "until: more than 10000 slots"),
        ({"order": "sideways"}, "order: 'sideways' is unknown"),
        ({"parallelism": 0}, "parallelism: 0 is not between 1 and 100"),
        ({"parallelism": 101}, "parallelism: 101"),
        ({"parallelism": True}, "parallelism: must be a whole number"),
        ({"params": {"number": "{slot}", "day": ""}}, "params: .*number"),
        ({"params": {"day": "{slot}"}}, "params: .*number"),
        ({"params": [1]}, "params: must be a JSON object"),
    ],
)
def test_what_cannot_be_backfilled_is_refused_at_its_field(
    changes: dict[str, Any], problem: str, system: SchedulerHarness, control: BackfillControl
):
    async def count(self: BaseHandler, params: _Numbered) -> None: ...

    system.handler("count", count, params=_Numbered)
    job = hourly(system, handler_name="count", handler_params={"number": 1, "day": "{slot}"})
    given = {"since": FIRST, "until": FIRST + 3 * HOUR, **changes}
    with pytest.raises(InvalidJob, match=problem):
        control.start(job.pk, **given)
    assert not Backfill.objects.exists()


def test_params_that_fit_once_the_slot_is_filled_in_are_taken(
    system: SchedulerHarness, control: BackfillControl
):
    async def count(self: BaseHandler, params: _Numbered) -> None: ...

    system.handler("count", count, params=_Numbered)
    job = hourly(system, handler_name="count", handler_params={"number": "{slot:%d}", "day": ""})
    assert control.start(job.pk, since=FIRST, until=FIRST).total == 1


def test_a_job_that_cannot_run_or_is_gone_is_not_backfilled(
    system: SchedulerHarness, control: BackfillControl
):
    for values, field in (
        ({"cron_expression": "nonsense"}, "cron_expression"),
        ({"handler_name": "nobody"}, "handler_name"),
    ):
        with pytest.raises(InvalidJob, match=field):
            control.start(hourly(system, **values).pk, since=FIRST, until=FIRST)
    with pytest.raises(CronJob.DoesNotExist):
        control.start(10**9, since=FIRST, until=FIRST)


# --- beat goes on with it -------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["oldest_first", "newest_first"])
def test_one_at_a_time_each_slot_runs_once_in_order(
    order: str, system: SchedulerHarness, control: BackfillControl
):
    seen: list[tuple[datetime, str]] = []

    async def note(self: BaseHandler, params: dict[str, Any]) -> None:
        seen.append((self.context.scheduled_time, params["day"]))

    system.handler("note", note)
    job = hourly(system, handler_name="note", handler_params={"day": "{slot:%H}"})
    made = control.start(job.pk, since=FIRST, until=FIRST + 3 * HOUR, order=order)

    for number in range(1, 5):
        assert system.tick() <= system.settings.poll_interval_seconds
        system.tick()  # nothing more while one is unfinished
        assert now_of(made).made == number
        assert system.deliver() == [RunStatus.SUCCESS]
        system.clock.advance(1)

    wanted = [FIRST + i * HOUR for i in range(4)]
    if order == "newest_first":
        wanted.reverse()
    assert [slot for slot, _ in seen] == wanted
    assert [day for _, day in seen] == [f"{slot:%H}" for slot in wanted]
    assert slots_of(made) == wanted
    after = now_of(made)
    assert (after.state, after.total, after.made) == (BackfillState.DONE, 4, 4)
    row = JobExecution.objects.filter(backfill_id=made.pk)[0]
    assert (row.param_source, row.requested_by) == ("backfill", "alice")
    assert all(run.scheduled_time.microsecond for run in JobExecution.objects.all())
    assert JobExecution.objects.count() == 4


def test_as_many_are_unfinished_as_it_may_have(system: SchedulerHarness, control: BackfillControl):
    job = hourly(system)
    made = control.start(job.pk, since=FIRST, until=FIRST + 9 * HOUR, parallelism=4)
    system.tick()
    assert len(system.runnable()) == 4
    assert system.wakeups.take() == [""]
    system.worker.execute(system.runnable()[0])
    system.tick()
    assert len(system.runnable()) == 4
    assert now_of(made).made == 5


def test_two_runs_for_one_slot_have_keys_of_their_own(
    system: SchedulerHarness, control: BackfillControl
):
    keys: list[str] = []

    async def note(self: BaseHandler, params: dict[str, Any]) -> None:
        keys.append(self.context.idempotency_key)

    system.handler("note", note)
    job = hourly(system, handler_name="note")
    for _ in range(2):
        control.start(job.pk, since=FIRST, until=FIRST)
        system.tick()
        system.deliver()
    assert len(set(keys)) == 2


def test_a_manual_run_in_the_same_microsecond_is_no_hindrance(
    system: SchedulerHarness, control: BackfillControl
):
    job = hourly(system)
    for _ in range(3):
        system.control.run_now(job.pk)
    control.start(job.pk, since=FIRST, until=FIRST + 2 * HOUR, parallelism=3)
    system.tick()
    assert JobExecution.objects.count() == 6


def test_more_backfills_than_one_tick_looks_at_all_make_progress(
    system: SchedulerHarness, control: BackfillControl
):
    job = hourly(system)
    made = [control.start(job.pk, since=FIRST, until=FIRST + HOUR) for _ in range(45)]
    for _ in range(3):
        system.tick()
    assert all(now_of(one).made == 1 for one in made)


def test_the_question_of_an_idle_tick_is_one_index_probe(
    system: SchedulerHarness, control: BackfillControl
):
    job = hourly(system)
    Backfill.objects.bulk_create(
        Backfill(job=job, since=FIRST, until=FIRST, total=1, state=BackfillState.DONE)
        for _ in range(1_000)
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "ANALYZE TABLE jobu_backfills"
            if connection.vendor == "mysql"
            else "ANALYZE jobu_backfills"
        )
    assert_probes(lambda: backfills.any_active(), "backfills_active")
    assert not backfills.any_active()


# --- what may change meanwhile --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cron_expression": "nonsense"}, "schedule cannot be used"),
        ({"timezone": "Mars/Olympus"}, "schedule cannot be used"),
        ({"handler_name": "nobody"}, "Handler not found"),
        ({"handler_name": "sample"}, "Invalid params"),
        ({"cron_expression": "* * * * *"}, "more than 10000 slots"),
    ],
)
def test_a_backfill_whose_job_has_become_unusable_ends_with_the_reason(
    change: dict[str, Any], reason: str, system: SchedulerHarness, control: BackfillControl
):
    job = hourly(system)
    params = {"sleep_seconds": "never"} if "sample" in change.values() else {}
    made = control.start(job.pk, since=FIRST, until=FIRST + timedelta(days=10), params=params)
    other = control.start(hourly(system).pk, since=FIRST, until=FIRST + HOUR)
    if "more" in reason:
        Backfill.objects.filter(pk=made.pk).update(made=9_999, parallelism=5)
    CronJob.objects.filter(pk=job.pk).update(**change)

    system.tick()

    after = now_of(made)
    assert (after.state, after.ended_at) == (BackfillState.CANCELLED, START)
    assert reason in after.error
    assert now_of(other).made == 1


def test_a_row_typed_by_sql_that_cannot_be_worked_with_ends_and_holds_up_no_other(
    system: SchedulerHarness, control: BackfillControl
):
    typed = control.start(hourly(system).pk, since=FIRST, until=FIRST + HOUR)
    other = control.start(hourly(system).pk, since=FIRST, until=FIRST + HOUR)
    Backfill.objects.filter(pk=typed.pk).update(params=[1])

    system.tick()

    ended = Backfill.objects.filter(state=BackfillState.CANCELLED).exclude(error="")
    assert list(ended.values_list("id", flat=True)) == [typed.pk]
    assert now_of(other).made == 1


def test_a_changed_schedule_counts_anew(system: SchedulerHarness, control: BackfillControl):
    job = hourly(system)
    made = control.start(job.pk, since=FIRST, until=FIRST + 3 * HOUR)
    CronJob.objects.filter(pk=job.pk).update(cron_expression="0 5 * * *")
    system.tick()
    after = now_of(made)
    assert (after.state, after.made, after.total) == (BackfillState.DONE, 1, 1)
    assert slots_of(made) == [FIRST + 2 * HOUR]


def test_deleting_a_job_removes_its_backfills(system: SchedulerHarness, control: BackfillControl):
    job = hourly(system)
    control.start(job.pk, since=FIRST, until=FIRST + HOUR)
    system.tick()
    system.control.delete_job(job.pk)
    assert not Backfill.objects.exists()
    assert not JobExecution.objects.exists()
    system.tick()


# --- pause, resume, cancel, delete ----------------------------------------------------------------


def test_a_paused_backfill_makes_no_runs_until_it_is_resumed(
    system: SchedulerHarness, control: BackfillControl
):
    made = control.start(hourly(system).pk, since=FIRST, until=FIRST + 3 * HOUR)
    system.tick()
    assert control.pause(made.pk).state == BackfillState.PAUSED
    with pytest.raises(NotPossible, match="is paused"):
        control.pause(made.pk)
    system.deliver()
    system.tick()
    assert now_of(made).made == 1
    assert control.resume(made.pk).state == BackfillState.ACTIVE
    system.tick()
    assert now_of(made).made == 2
    with pytest.raises(NotPossible, match="is active"):
        control.resume(made.pk)


def test_a_cancelled_backfill_takes_back_what_waits_and_leaves_what_runs(
    system: SchedulerHarness, control: BackfillControl
):
    made = control.start(hourly(system).pk, since=FIRST, until=FIRST + 9 * HOUR, parallelism=3)
    system.tick()
    running = claim(system, JobExecution.objects.order_by("id")[0])

    assert control.cancel(made.pk).state == BackfillState.CANCELLED

    assert control.counts(made) == {RunStatus.RUNNING: 1, RunStatus.CANCELLED: 2}
    assert fresh(running).cancel_requested_at is None
    control.cancel(made.pk, running=True)
    assert fresh(running).cancel_requested_at == system.clock.now()
    assert fresh(running).error_message == f"backfill #{made.pk} was cancelled"
    stopped = [running, *JobExecution.objects.filter(status=RunStatus.CANCELLED)]
    assert [reason_of(row) for row in stopped] == [
        ("backfill_cancelled", {"backfill": made.pk})
    ] * 3
    with pytest.raises(NotPossible, match="is cancelled already"):
        control.cancel(made.pk)
    with pytest.raises(NotPossible, match="is cancelled, not paused"):
        control.resume(made.pk)
    system.tick()
    assert now_of(made).made == 3


def claim(system: SchedulerHarness, row: JobExecution) -> JobExecution:
    """Make the row RUNNING, as a worker does."""
    now = system.clock.now()
    leased = {"lease_token": "t" * 32, "lease_expires_at": now + HOUR, "deadline_at": now + HOUR}
    JobExecution.objects.filter(pk=row.pk).update(
        status=RunStatus.RUNNING, started_at=now, **leased
    )
    return row


def test_only_what_has_ended_is_deleted_and_its_runs_stay(
    system: SchedulerHarness, control: BackfillControl
):
    made = control.start(hourly(system).pk, since=FIRST, until=FIRST)
    with pytest.raises(NotPossible, match="cancel it first"):
        control.delete(made.pk)
    system.tick()
    control.delete(made.pk)
    assert not Backfill.objects.exists()
    assert JobExecution.objects.get().backfill_id is None
    with pytest.raises(Backfill.DoesNotExist):
        control.delete(made.pk)


def test_an_old_backfill_goes_with_the_last_of_its_runs(
    system: SchedulerHarness, control: BackfillControl
):
    old = control.start(hourly(system).pk, since=FIRST, until=FIRST)
    system.tick()
    system.deliver()
    system.clock.advance(86_400)
    young = control.start(hourly(system).pk, since=FIRST, until=FIRST)
    system.tick()
    before = system.clock.now() - timedelta(hours=1)
    assert backfills.prune(before, 100) == 0
    retention.prune(before, 100)
    assert backfills.prune(before, 100) == 1
    assert [one.pk for one in Backfill.objects.all()] == [young.pk]
    assert old.pk != young.pk


def test_the_overlap_policy_holds_at_claim(system: SchedulerHarness, control: BackfillControl):
    job = hourly(system, overlap_policy="skip")
    made = control.start(job.pk, since=FIRST, until=FIRST + HOUR, parallelism=2)
    system.tick()
    system.claim(JobExecution.objects.order_by("id")[0])
    system.deliver()
    # The runs of a backfill do not skip each other.
    assert control.counts(made) == {RunStatus.RUNNING: 1, RunStatus.PENDING: 1}
    warned = control.warnings(job, parallelism=2, until=FIRST)
    assert "skip" in warned[0]


# --- how far it is --------------------------------------------------------------------------------


def test_progress_shows_percent_and_an_end_estimated_from_the_runs_so_far(
    system: SchedulerHarness, control: BackfillControl
):
    made = control.start(hourly(system).pk, since=FIRST, until=FIRST + 9 * HOUR, parallelism=2)
    assert control.progress(now_of(made)).ends_at is None
    system.tick()
    ran = {"status": RunStatus.SUCCESS, "started_at": START - timedelta(seconds=60)}
    JobExecution.objects.update(**ran, finished_at=START)
    system.tick()

    seen = control.progress(now_of(made))

    assert dict(seen.counts) == {RunStatus.SUCCESS: 2, RunStatus.PENDING: 2}
    assert (seen.ended, seen.percent) == (2, 20)
    # 8 left, two at once, 60 s each and half a second until it is noticed.
    assert seen.ends_at == START + timedelta(seconds=4 * 60.5)
    # Retention takes what has ended; the backfill goes on from where it was.
    JobExecution.objects.filter(status=RunStatus.SUCCESS).delete()
    assert control.progress(now_of(made)).percent == 20


# --- several at once, and cut off anywhere --------------------------------------------------------


def test_beats_that_tick_at_the_same_moment_make_each_slot_once(
    system: SchedulerHarness, control: BackfillControl
):
    jobs = [hourly(system) for _ in range(3)]
    made = [
        control.start(job.pk, since=FIRST, until=FIRST + 19 * HOUR, parallelism=3) for job in jobs
    ]
    beats = [system.new_dispatcher() for _ in range(4)]
    for _ in range(30):
        together(*(beat.tick for beat in beats))
        JobExecution.objects.filter(status=RunStatus.PENDING).update(
            status=RunStatus.SUCCESS, finished_at=START
        )
        if all(now_of(one).state == BackfillState.DONE for one in made):
            break
    for one in made:
        assert slots_of(one) == [FIRST + i * HOUR for i in range(20)]
        assert now_of(one).made == 20


def test_a_cancel_while_beats_make_runs_leaves_nothing_waiting(
    system: SchedulerHarness, control: BackfillControl
):
    for _ in range(5):
        made = control.start(
            hourly(system).pk, since=FIRST, until=FIRST + 50 * HOUR, parallelism=10
        )
        beats = [system.new_dispatcher() for _ in range(2)]
        together(*(beat.tick for beat in beats), lambda: bool(control.cancel(made.pk)))  # noqa: B023
        system.tick()
        assert set(control.counts(made)) <= {RunStatus.CANCELLED}


@pytest.mark.parametrize("point", ["backfill.locked", "backfill.inserted", "backfill.committed"])
def test_a_beat_killed_in_between_loses_and_doubles_no_slot(
    point: str, system: SchedulerHarness, control: BackfillControl
):
    made = control.start(hourly(system).pk, since=FIRST, until=FIRST + 5 * HOUR, parallelism=2)
    endings: list[int | None] = []
    while now_of(made).state == BackfillState.ACTIVE and len(endings) < 20:
        endings.append(tick_killed_at(system, point))
        system.tick()
        system.deliver()
    assert endings[0] == -signal.SIGKILL
    assert slots_of(made) == [FIRST + i * HOUR for i in range(6)]
    assert now_of(made).made == 6
    assert set(JobExecution.objects.values_list("status", flat=True)) == {RunStatus.SUCCESS}


def tick_killed_at(system: SchedulerHarness, point: str) -> int | None:
    """Tick in a process of its own that is killed at `point`. Returns how it ended."""

    def beat() -> None:
        failpoints.arm(point)
        system.new_dispatcher().tick()
        os._exit(0)

    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=beat)
    process.start()
    process.join(30)
    return process.exitcode
