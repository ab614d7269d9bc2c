"""Runs that are divided: the shards, their parent, and the end of both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from handlers import BaseHandler, handler
from handlers.fan_out import MAX_SHARDS, FanOut
from scheduler import failpoints
from scheduler.models import ALL_JOBS, CronJob, FailedRun, JobCounters, JobExecution, JobGuard
from scheduler.operations.control import InvalidJob, NotPossible
from scheduler.states import FINAL, AttemptOutcome, ReasonCode, RunStatus
from scheduler.store import counters, endings, retention, statistics
from scheduler.store.runs import Lease
from scheduler.store.shards import state_of_parent
from tests.harness.scheduler_harness import SchedulerHarness, fresh, outcomes, reason_of

pytestmark = [pytest.mark.database, pytest.mark.django_db]

Params = dict[str, Any]


async def where(self: BaseHandler, params: Any) -> dict[str, Any]:
    shard = self.context.shard
    assert shard is not None
    return {"index": shard.index, "count": shard.count, "job_id": self.context.job_id}


def planner(name: str, plan: Callable[[Any], Any], execute: Callable[..., Any]) -> str:
    async def planned(self: BaseHandler, params: Any) -> Any:
        return plan(params)

    members = {"plan": planned, "execute": execute, "__module__": __name__}
    handler(name)(type("Planner", (BaseHandler,), members))
    return name


async def echo(self: BaseHandler, params: Any) -> dict[str, Any]:
    if params.get("bad"):
        raise RuntimeError("a bad part")
    return {"part": params.get("part")}


def run(system: SchedulerHarness, **columns: Any) -> JobExecution:
    """A run of a new job, claimed and divided."""
    job = system.job(max_retry=0, **columns)
    row = system.execution(job, queue=job.queue, priority=job.priority)
    system.deliver()
    return fresh(row)


def guard_of(run: JobExecution) -> int | None:
    """The run that holds the guard of this run's job."""
    assert run.job_id is not None
    return JobGuard.objects.get(pk=run.job_id).running_id


def shards_of(parent: JobExecution) -> list[JobExecution]:
    return list(JobExecution.objects.filter(parent_id=parent.pk).order_by("shard"))


def states(parent: JobExecution) -> list[str]:
    return [shard.status for shard in shards_of(parent)]


# --- the state of a parent ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "is_cancelled", "state"),
    [
        ({"SUCCESS": 3}, False, RunStatus.SUCCESS),
        ({"SUCCESS": 3}, True, RunStatus.SUCCESS),  # the cancel came too late
        ({"SUCCESS": 2, "FAILED": 1}, False, RunStatus.FAILED),
        ({"SUCCESS": 2, "TIMEOUT": 1}, False, RunStatus.FAILED),
        ({"CANCELLED": 2, "FAILED": 1}, False, RunStatus.FAILED),
        ({"CANCELLED": 2, "FAILED": 1}, True, RunStatus.CANCELLED),
        ({"SUCCESS": 2, "CANCELLED": 1}, False, RunStatus.CANCELLED),
        ({"SUCCESS": 2}, False, RunStatus.FAILED),  # SQL has deleted one
    ],
)
def test_the_shards_decide_the_state_of_their_parent(
    counts: dict[str, int], is_cancelled: bool, state: RunStatus
):
    assert state_of_parent(counts, 3, is_cancelled=is_cancelled) == state


def test_a_job_divides_its_runs_and_the_last_shard_ends_them(system: SchedulerHarness):
    system.handler("where", where)
    parent = run(system, handler_name="where", shards=3, priority=4, queue="mail")
    assert parent.status == RunStatus.FANNED_OUT
    assert outcomes(parent) == [AttemptOutcome.SUCCESS]
    for shard in shards_of(parent):
        assert (shard.job_id, shard.status, shard.priority, shard.queue) == (
            None, "PENDING", 4, "mail",
        )  # fmt: skip

    system.deliver()

    parent = fresh(parent)
    assert parent.status == RunStatus.SUCCESS
    assert parent.result["shards"] == {"count": 3, "SUCCESS": 3}
    assert [each["result"] for each in parent.result["results"]] == [
        {"index": index, "count": 3, "job_id": parent.job_id} for index in range(3)
    ]


def test_a_parent_holds_the_guard_until_its_last_shard_has_ended(system: SchedulerHarness):
    parent = run(system, shards=2, overlap_policy="queue_one")
    later = system.execution(parent.job)
    system.worker.execute(later.pk)
    assert fresh(later).reason_code == ReasonCode.OVERLAP_HELD
    first, last = shards_of(parent)

    system.worker.execute(first.pk)
    assert fresh(later).in_line is not None
    system.worker.execute(last.pk)

    assert fresh(parent).status == RunStatus.SUCCESS
    assert fresh(later).in_line is None
    assert guard_of(parent) is None


# --- plan() ---------------------------------------------------------------------------------------


def test_a_plan_gives_each_shard_its_own_params(system: SchedulerHarness):
    planner("parts", lambda params: [{"part": part} for part in params.get("of")], echo)
    parent = run(system, handler_name="parts", handler_params={"of": [5, 7]})
    assert [shard.params for shard in shards_of(parent)] == [{"part": 5}, {"part": 7}]

    system.deliver()

    results = fresh(parent).result["results"]
    assert [each["result"] for each in results] == [{"part": 5}, {"part": 7}]


def test_an_empty_plan_succeeds(system: SchedulerHarness):
    planner("none", lambda params: [], echo)
    parent = run(system, handler_name="none")
    assert (parent.status, parent.result) == (RunStatus.SUCCESS, {"shards": {"count": 0}})


def _endless() -> list[Any]:
    """Params that hold themselves."""
    params: dict[str, Any] = {}
    params["self"] = params
    return [params]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (None, "plan() returned NoneType, not a list"),
        ("parts", "plan() returned str, not a list"),
        ([{}] * (MAX_SHARDS + 1), f"more than {MAX_SHARDS}"),
        ([{}, 5], "shard 1: "),
        ([{"at": float("nan")}], "shard 0: "),
        ([{"at": b"bytes"}], "shard 0: "),
        ([{"at": {1, 2}}], "shard 0: "),
        (({} for _number in range(3)), "plan() returned generator, not a list"),
        ({"part": 1}, "plan() returned dict, not a list"),
        ([{"text": "x" * 10_000_000}], "shard 0: "),
        ([{"text": "x" * 60_000}] * 100, "more than 4 MiB"),
        (_endless(), "shard 0: "),
    ],
)
def test_a_plan_that_cannot_be_run_fails_with_the_reason(
    plan: Any, said: str, system: SchedulerHarness
):
    planner("wrong", lambda params: plan, echo)
    parent = run(system, handler_name="wrong")
    assert parent.status == RunStatus.FAILED
    assert parent.reason_code == ReasonCode.INVALID_SHARDS
    assert said in (parent.error_message or "")
    assert shards_of(parent) == []


def test_a_plan_that_names_a_part_twice_has_it_run_twice(system: SchedulerHarness):
    planner("twice", lambda params: [{"part": 5}] * 2, echo)
    parent = run(system, handler_name="twice")
    system.deliver()
    assert [each["result"] for each in fresh(parent).result["results"]] == [{"part": 5}] * 2


def test_a_plan_that_raises_or_never_ends_is_an_attempt_like_any_other(system: SchedulerHarness):
    async def never(self: BaseHandler, params: Any) -> Any:
        await asyncio.sleep(600)

    def fail(params: Any) -> Any:
        raise RuntimeError("no plan")

    planner("raises", fail, echo)
    members = {"plan": never, "execute": echo, "__module__": __name__}
    handler("endless")(type("Endless", (BaseHandler,), members))

    raised = run(system, handler_name="raises")
    job = system.job(max_retry=0, handler_name="endless", timeout_seconds=1)
    row = system.execution(job, timeout_seconds=1)
    system.deliver()
    endless = fresh(row)

    assert (raised.status, raised.reason_code) == (RunStatus.FAILED, ReasonCode.HANDLER_FAILED)
    assert "no plan" in (raised.error_message or "")
    assert endless.status == RunStatus.TIMEOUT
    assert not JobExecution.objects.filter(parent_id__isnull=False).exists()


def test_a_run_is_divided_by_its_job_or_by_its_handler(system: SchedulerHarness):
    planner("parts", lambda params: [], echo)
    good = {"name": "divided", "cron_expression": "* * * * *"}
    with pytest.raises(InvalidJob) as refused:
        system.control.create_job(**good, handler_name="parts", shards=4)
    assert set(refused.value.problems) == {"shards"}
    for number in (1, MAX_SHARDS + 1, True, "4"):
        with pytest.raises(InvalidJob) as refused:
            system.control.create_job(**good, handler_name="ok", shards=number)
        assert set(refused.value.problems) == {"shards"}
    assert system.control.create_job(**good, handler_name="ok", shards=None).shards is None


# --- failures, and what people do -----------------------------------------------------------------


def half_bad(system: SchedulerHarness, **columns: Any) -> JobExecution:
    """A divided run of which the first shard fails."""
    planner("parts", lambda params: [{"bad": True}, {"part": 1}], echo)
    return run(system, handler_name="parts", **columns)


def test_a_failed_shard_fails_its_parent_and_a_retry_repeats_it_alone(system: SchedulerHarness):
    parent = half_bad(system, overlap_policy="skip")
    system.deliver()
    first, second = shards_of(parent)
    assert (fresh(parent).status, states(parent)) == ("FAILED", ["FAILED", "SUCCESS"])
    assert reason_of(parent) == (
        "shards_failed", {"count": 2, "failed": 1, "missing": 0, "first": first.pk},
    )  # fmt: skip
    assert "1 of 2 shards failed" in (fresh(parent).error_message or "")
    JobExecution.objects.filter(pk=first.pk).update(params={"part": 0})

    system.control.retry(parent.pk)

    assert states(parent) == ["PENDING", "SUCCESS"]
    assert system.runnable() == [parent.pk]  # the shard waits until its parent has the guard
    system.deliver()
    assert fresh(parent).status == RunStatus.FANNED_OUT
    system.deliver()
    assert (fresh(parent).status, states(parent)) == ("SUCCESS", ["SUCCESS", "SUCCESS"])
    assert fresh(parent).error_message is None
    assert fresh(second).attempt == 1


def test_a_retry_of_one_shard_opens_its_parent_again(system: SchedulerHarness):
    parent = half_bad(system)
    system.deliver()
    first, _ = shards_of(parent)
    JobExecution.objects.filter(pk=first.pk).update(params={"part": 0})

    system.control.retry(first.pk)

    assert fresh(parent).status == RunStatus.PENDING
    # Where a claim meets it before: it is put off.
    JobExecution.objects.filter(pk=first.pk).update(available_at=system.clock.now())
    assert system.worker.execute(first.pk) is None
    assert fresh(first).reason_code == ReasonCode.WAITS_FOR_PARENT
    system.deliver()
    system.deliver()
    assert fresh(parent).status == RunStatus.SUCCESS


def test_a_shard_that_is_retried_while_others_go_on_leaves_its_parent_open(
    system: SchedulerHarness,
):
    parent = half_bad(system)
    first, _ = shards_of(parent)
    system.worker.execute(first.pk)
    assert fresh(parent).status == RunStatus.FANNED_OUT
    system.control.retry(first.pk)
    system.deliver()
    assert (fresh(parent).status, outcomes(first)) == ("FAILED", ["FAILED", "FAILED"])


def test_a_cancel_of_the_parent_cancels_its_shards(system: SchedulerHarness):
    parent = run(system, shards=3)
    first, second, _ = shards_of(parent)
    system.worker.execute(first.pk)
    lease = system.claim(second)

    system.control.cancel(parent.pk, reason="enough")

    assert states(parent) == ["SUCCESS", "RUNNING", "CANCELLED"]
    assert fresh(parent).status == RunStatus.FANNED_OUT
    end(lease, RunStatus.CANCELLED, AttemptOutcome.CANCELLED, system)
    assert fresh(parent).status == RunStatus.CANCELLED
    assert "enough" in (fresh(parent).error_message or "")
    system.control.retry(parent.pk)
    system.deliver()
    system.deliver()
    assert (fresh(parent).status, states(parent)) == ("SUCCESS", ["SUCCESS"] * 3)


def test_a_cancel_of_what_only_waits_ends_the_parent_at_once(system: SchedulerHarness):
    parent = run(system, shards=2, overlap_policy="queue_one")
    system.control.cancel(parent.pk)
    assert (fresh(parent).status, states(parent)) == ("CANCELLED", ["CANCELLED"] * 2)
    assert guard_of(parent) is None


def test_the_cancel_of_the_last_waiting_shard_ends_its_parent(system: SchedulerHarness):
    parent = run(system, shards=2)
    first, second = shards_of(parent)
    system.worker.execute(first.pk)
    system.control.cancel(second.pk)
    assert fresh(parent).status == RunStatus.CANCELLED
    assert reason_of(parent) == ("shards_cancelled", {"count": 2, "cancelled": 1})


def test_a_newer_run_replaces_the_shards_of_an_older_one(system: SchedulerHarness):
    parent = run(system, shards=2, overlap_policy="replace")
    newer = system.execution(parent.job)
    system.worker.execute(newer.pk)
    assert states(parent) == ["CANCELLED"] * 2
    assert fresh(parent).status == RunStatus.CANCELLED
    assert fresh(parent).reason_code == ReasonCode.REPLACED
    system.worker.execute(newer.pk)
    assert fresh(newer).status == RunStatus.FANNED_OUT


def test_a_shard_is_neither_replayed_nor_deleted_alone(system: SchedulerHarness):
    parent = run(system, shards=2)
    system.deliver()
    shard = shards_of(parent)[0]
    for verb in (system.control.replay, system.control.delete_execution):
        with pytest.raises(NotPossible, match=f"shard of #{parent.pk}"):
            verb(shard.pk)
    system.control.delete_execution(parent.pk)
    assert not JobExecution.objects.exists()


# --- what nobody has ended in the usual way -------------------------------------------------------


def end(
    lease: Lease, status: RunStatus, outcome: AttemptOutcome, system: SchedulerHarness
) -> endings.Ended:
    ending = endings.Ending(lease=lease, status=status, outcome=outcome)
    return endings.end([ending], now=system.clock.now())


def test_beat_ends_a_parent_whose_shards_sql_has_ended(system: SchedulerHarness):
    parent = run(system, shards=2, is_enabled=False)
    now = system.clock.now()
    JobExecution.objects.filter(parent_id=parent.pk).update(status="SUCCESS", finished_at=now)
    sweep(system)
    assert fresh(parent).status == RunStatus.SUCCESS


def test_beat_cancels_the_shards_of_a_parent_that_sql_wants_cancelled(system: SchedulerHarness):
    parent = run(system, shards=2, is_enabled=False)
    JobExecution.objects.filter(pk=parent.pk).update(cancel_requested_at=system.clock.now())
    sweep(system)
    assert (fresh(parent).status, states(parent)) == ("CANCELLED", ["CANCELLED"] * 2)


def sweep(system: SchedulerHarness) -> None:
    system.tick()
    system.clock.advance(system.settings.lease_seconds + 60)
    system.tick()


def test_the_rescue_of_a_last_shard_ends_its_parent(system: SchedulerHarness):
    parent = run(system, shards=2, is_enabled=False)
    first, second = shards_of(parent)
    system.worker.execute(first.pk)
    system.tick()
    system.claim(second)
    system.clock.advance(system.settings.lease_seconds + 60)
    system.tick()
    assert (fresh(parent).status, fresh(second).reason_code) == ("FAILED", "worker_lost")


def test_a_shard_whose_parent_has_ended_does_not_run(system: SchedulerHarness):
    parent = run(system, shards=2)
    now = system.clock.now()
    JobExecution.objects.filter(pk=parent.pk).update(status="FAILED", finished_at=now)
    shard = shards_of(parent)[0]
    assert system.worker.execute(shard.pk) is None
    assert fresh(shard).status == RunStatus.CANCELLED
    assert reason_of(shard) == ("parent_ended", {"parent": parent.pk})


class Crash(Exception):
    pass


@pytest.mark.parametrize("point", ["shards.inserted", "end.updated", "end.recorded"])
def test_what_dies_before_the_commit_has_made_no_shard(
    point: str, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    row = system.execution(system.job(shards=3, is_enabled=False))
    lease = system.claim(row)

    monkeypatch.setattr(failpoints, "point", crash_at(point))
    with pytest.raises(Crash), transaction.atomic():
        divide(lease, 3, system)
    monkeypatch.undo()

    assert fresh(row).status == RunStatus.RUNNING
    assert shards_of(row) == []
    divide(lease, 3, system)
    assert divide(lease, 3, system) == frozenset()  # the answer to its COMMIT was lost
    assert states(row) == ["PENDING"] * 3


def crash_at(point: str) -> Callable[[str], None]:
    def reached(name: str) -> None:
        if name == point:
            raise Crash

    return reached


def divide(lease: Lease, count: int, system: SchedulerHarness) -> endings.Ended:
    ending = endings.Ending(
        lease=lease,
        status=RunStatus.FANNED_OUT,
        outcome=AttemptOutcome.SUCCESS,
        fan_out=FanOut(count=count),
    )
    return endings.end([ending], now=system.clock.now())


def test_ten_thousand_shards_are_made_and_ended(system: SchedulerHarness):
    row = system.execution(system.job(shards=2))
    divide(system.claim(row), MAX_SHARDS, system)
    rows = JobExecution.objects.filter(parent_id=row.pk)
    assert rows.count() == MAX_SHARDS
    last = rows.order_by("shard").last()
    assert last is not None
    assert last.shard == MAX_SHARDS - 1
    rows.exclude(pk=last.pk).update(status="SUCCESS", finished_at=system.clock.now())

    system.worker.execute(last.pk)

    assert fresh(row).result["shards"] == {"count": MAX_SHARDS, "SUCCESS": MAX_SHARDS}
    assert len(fresh(row).result["results"]) <= 100
    assert retention.prune(system.clock.now() + timedelta(days=1), 10) > MAX_SHARDS
    assert not JobExecution.objects.exists()


# --- counts ---------------------------------------------------------------------------------------


def test_a_divided_run_counts_once(system: SchedulerHarness):
    parent = half_bad(system, is_enabled=False)
    assert statistics.running_count().value == 1
    system.deliver()
    system.clock.advance(5)
    while counters.count(system.clock.now(), lease_seconds=system.settings.lease_seconds):
        pass
    counted = {row.job_id: row.ended for row in JobCounters.objects.all()}
    assert counted == {ALL_JOBS: {"FAILED": 1}, parent.job_id: {"FAILED": 1}}
    assert list(FailedRun.objects.values_list("execution_id", flat=True)) == [parent.pk]
    ended = statistics.ended_since(system.clock.now() - timedelta(hours=1))
    assert ended.counts == {"FAILED": 1}


# --- races ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_last_shards_that_end_at_once_one_ends_the_parent(system: SchedulerHarness):
    job = system.job(overlap_policy="queue_one", is_enabled=False)
    for _ in range(5):
        row = system.execution(job)
        divide(system.claim(row), 4, system)
        leases = [system.claim(shard) for shard in shards_of(row)]
        barrier = threading.Barrier(len(leases))

        def finish(lease: Lease, barrier: threading.Barrier = barrier) -> int:
            try:
                connection.ensure_connection()
                barrier.wait(30)
                done = end(lease, RunStatus.SUCCESS, AttemptOutcome.SUCCESS, system)
                return len(done.parents)
            finally:
                connection.close()

        with ThreadPoolExecutor(len(leases)) as pool:
            ended = [future.result(60) for future in [pool.submit(finish, x) for x in leases]]

        assert sum(ended) == 1
        assert fresh(row).status == RunStatus.SUCCESS
        assert guard_of(row) is None


@pytest.mark.django_db(transaction=True)
def test_a_cancel_and_the_ends_of_shards_agree(system: SchedulerHarness):
    job = system.job(is_enabled=False)
    for _ in range(5):
        row = system.execution(job)
        divide(system.claim(row), 4, system)
        leases = [system.claim(shard) for shard in shards_of(row)[:3]]
        barrier = threading.Barrier(len(leases) + 1)

        def work(lease: Lease | None, row: JobExecution, barrier: threading.Barrier) -> None:
            try:
                connection.ensure_connection()
                barrier.wait(30)
                if lease is None:
                    system.control.cancel(row.pk)
                else:
                    end(lease, RunStatus.SUCCESS, AttemptOutcome.SUCCESS, system)
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(work, lease, row, barrier) for lease in (*leases, None)]
            for future in futures:
                future.result(60)

        assert fresh(row).status == RunStatus.CANCELLED
        assert set(states(row)) <= {str(status) for status in FINAL}


def test_deleting_a_job_deletes_its_runs_with_their_shards(system: SchedulerHarness):
    parent = run(system, shards=2)
    assert parent.job is not None
    CronJob.objects.filter(pk=parent.job.pk).delete()
    assert not JobExecution.objects.exists()
