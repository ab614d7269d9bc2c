"""Divided runs of jobs that have limits, that others wait for, and that are backfilled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.admin.explain import explain_execution
from scheduler.models import CronJob, JobExecution, JobPlace
from scheduler.operations.backfills import BackfillControl
from scheduler.states import PlaceState, ReasonCode, RunStatus
from scheduler.store import claims, places
from scheduler.store.claims import Claimed, Claims, Floors, MostUrgent
from scheduler.store.turns import end_and_claim
from scheduler.worker.downstream import Downstream
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh, reason_of, statuses
from tests.scheduler.test_claim_cost import statements, successes
from tests.scheduler.test_places import end, group, ids, in_line, take
from tests.scheduler.test_races import together
from tests.scheduler.test_shards import echo, planner, run, shards_of, states

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

SUCCESS, RUNNING = RunStatus.SUCCESS, RunStatus.RUNNING


def planned(system: SchedulerHarness, *parts: dict[str, Any], **columns: Any) -> JobExecution:
    planner("parts", lambda params: list(parts), echo)
    return run(system, handler_name="parts", **columns)


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allow", "queue_one"])
def test_shards_obey_the_limit_of_their_job(policy: str, system: SchedulerHarness):
    parent = run(system, shards=5, max_running=2, overlap_policy=policy)
    shards = shards_of(parent)
    begun = take(system)
    assert ids(begun) == [shards[0].pk, shards[1].pk]
    facts = {"limit": 2, "running": 2, "group": "", "per_key": False}
    assert reason_of(shards[2]) == ("limit_reached", facts)
    said = explain_execution(fresh(shards[2]), system.clock.now())
    assert said[0].startswith("It waits for a place: its job runs at most 2 at once.")
    # The next runs of the job wait for the end of the parent, and shards in line are none of them.
    later = [system.execution(parent.job) for _ in range(2)]
    assert take(system) == []
    code = {"allow": ReasonCode.LIMIT_REACHED, "queue_one": ReasonCode.OVERLAP_HELD}[policy]
    assert fresh(later[0]).reason_code == code
    expected = RunStatus.SKIPPED if policy == "queue_one" else RunStatus.PENDING
    assert (fresh(later[0]).status, fresh(later[1]).status) == (RunStatus.PENDING, expected)

    for number in range(2, 5):
        assert end(system, begun[:1]).queues_to_wake == {""}
        begun = [begun[1], *take(system)]
        assert ids(begun) == [shards[number - 1].pk, shards[number].pk]
    end(system, begun)

    assert (fresh(parent).status, states(parent)) == (SUCCESS, [SUCCESS] * 5)
    assert later[0].pk in ids(take(system))


def test_shards_of_all_parents_share_a_group_by_the_key_in_their_own_params(
    system: SchedulerHarness,
):
    group(max_running_per_key=1)
    limited = {"concurrency_group": "dwh", "concurrency_key": "params.part"}
    first = planned(system, {"part": "a"}, {"part": "a"}, {"part": "b"}, **limited)
    one, two, three = shards_of(first)
    begun = take(system)
    assert ids(begun) == [one.pk, three.pk]
    second = system.execution(first.job)
    system.worker.execute(second.pk)
    waiting = shards_of(second)
    assert take(system) == []
    assert "The key is params.part." in explain_execution(fresh(two), system.clock.now())[0]

    end(system, begun)

    assert ids(take(system)) == [two.pk, waiting[2].pk]


def test_shards_that_must_wait_leave_the_front_of_their_queue_together(system: SchedulerHarness):
    group(max_running_per_key=1)
    limited = {"concurrency_group": "dwh", "concurrency_key": "params.part"}
    parent = planned(system, *[{"part": part} for part in "aaaaabbb"], **limited)
    shards = shards_of(parent)
    other = system.execution(system.job())
    assert ids(take(system, 1)) == [shards[0].pk]
    assert take(system, 1) == []
    assert in_line() == 4  # those of key b may start
    assert ids(take(system, 1)) == [shards[5].pk]
    assert take(system, 1) == []
    assert in_line() == 6
    assert ids(take(system, 1)) == [other.pk]


def test_an_edit_of_limits_counts_shards_that_go_on_and_looks_at_those_that_wait(
    system: SchedulerHarness,
):
    parent = run(system, shards=4, overlap_policy="skip")
    shards = shards_of(parent)
    begun = take(system, 1)
    assert parent.job_id is not None
    system.control.update_job(parent.job_id, max_running=1)
    assert take(system) == []  # the one that goes on counts
    end(system, begun)  # by a worker that does not know of the limit
    places.release_awaited(system.clock.now())
    begun = take(system)
    assert ids(begun) == [shards[1].pk]
    system.control.update_job(parent.job_id, overlap_policy="allow")
    assert take(system) == []
    system.control.update_job(parent.job_id, max_running=None)
    assert ids(take(system)) == [shards[2].pk, shards[3].pk]


def test_a_shard_gives_its_place_back_however_its_attempt_ends(system: SchedulerHarness):
    parent = run(system, shards=4, max_running=1, overlap_policy="queue_one")
    JobExecution.objects.filter(parent_id=parent.pk).update(max_retry=3)
    CronJob.objects.update(is_enabled=False)
    shards = shards_of(parent)
    assert ids(take(system)) == [shards[0].pk]
    system.tick()
    system.clock.advance(61)
    assert take(system) == []  # the lease has run out, but nobody knows that the worker is dead
    system.tick()
    assert fresh(shards[0]).status == RunStatus.PENDING
    begun = take(system)
    assert ids(begun) == [shards[1].pk]
    end(system, begun, RunStatus.PENDING)  # handed back: it needs a place again
    begun = take(system)
    assert ids(begun) == [shards[2].pk]

    system.control.cancel(parent.pk)
    end(system, begun, RunStatus.CANCELLED)
    assert fresh(parent).status == RunStatus.CANCELLED
    system.control.retry(parent.pk)
    system.deliver()

    assert ids(take(system)) == [shards[0].pk]
    assert states(parent) == [RUNNING, *[RunStatus.PENDING] * 3]
    assert parent.job_id is not None
    system.control.delete_job(parent.job_id)
    assert not JobPlace.objects.exists()


def test_thousands_of_shards_that_wait_no_more_are_passed_in_a_few_steps(
    system: SchedulerHarness,
):
    group(max_running=1)
    job = system.job(concurrency_group="dwh")
    system.execution(job)
    last = system.execution(job)
    begun = take(system)
    (ticket,) = JobPlace.objects.filter(state=PlaceState.WAITS)
    of_gone = {"guard_id": ticket.guard_id, "group_name": "dwh", "state": "WAITS", "at": ticket.at}
    JobPlace.objects.bulk_create(JobPlace(execution_id=-n, **of_gone) for n in range(3000))

    with statements() as found:
        end(system, begun)

    assert fresh(last).in_line is None
    assert len(found) < 100


@pytest.mark.timeout(120)
def test_limits_of_shards_hold_while_ends_and_claims_race(system: SchedulerHarness):
    """Threads end and claim shards in one transaction; none deadlocks, every parent ends."""
    group(max_running=3, max_running_per_key=2)
    jobs = [
        system.job(shards=8, max_running=2, overlap_policy="queue_one"),
        system.job(shards=8, max_running=2, concurrency_group="dwh"),
        system.job(shards=8, concurrency_group="dwh", concurrency_key="params.part"),
    ]
    parents = [system.execution(job) for job in jobs]
    for parent in parents:
        system.worker.execute(parent.pk)
    most: Counter[str] = Counter()

    def look() -> None:
        """In one snapshot: a statement."""
        shards = JobExecution.objects.filter(parent_id__isnull=False, status=RUNNING)
        running = list(shards.values_list("parent__job_id", "parent__job__concurrency_group"))
        counts = Counter(f"job {job_id}" for job_id, _ in running)
        counts += Counter(name for _, name in running)
        for name, number in counts.items():
            most[name] = max(most[name], number)

    def work() -> None:
        begun: Sequence[Claimed] = []
        idle = 0
        while idle < 5 or begun:
            claim = claims.Claim(owner="worker", lease_seconds=60, decide=decide)
            choice = MostUrgent([""], 3, Floors())
            if begun:
                _, taken = end_and_claim(successes(Claims(started=begun)), claim, choice, START)
            else:
                taken = claim.take(choice, START)
            begun = taken.started
            look()
            idle = 0 if begun else idle + 1

    together(*[work] * 3)
    while begun := take(system):  # what the last claims have left
        end(system, begun)

    assert [fresh(parent).status for parent in parents] == [SUCCESS] * 3
    assert most[f"job {jobs[0].pk}"] <= 2
    assert most[f"job {jobs[1].pk}"] <= 2
    assert most["dwh"] <= 3
    assert not JobPlace.objects.exists()


# --- dependencies and backfills -------------------------------------------------------------------


def test_the_last_shard_lets_the_runs_go_on_that_wait_for_its_parent(system: SchedulerHarness):
    hourly: dict[str, Any] = {"cron_expression": "0 * * * *", "timezone": "UTC"}
    load = system.control.create_job(name="load", handler_name="ok", shards=2, **hourly)
    report = system.control.create_job(
        name="report", cron_expression="@after", handler_name="ok", upstreams=["load"],
        upstream_seconds=3600,
    )  # fmt: skip
    woken: list[frozenset[str]] = []
    system.worker.on_success = Downstream(system.clock, woken.append).succeeded
    system.tick()
    system.clock.advance_to(system.clock.now().replace(minute=0, second=0) + timedelta(hours=1))
    system.tick()
    waiting = JobExecution.objects.get(job=report)

    system.deliver()
    first, last = shards_of(JobExecution.objects.get(job=load))
    system.worker.execute(first.pk)
    assert fresh(waiting).reason_code == ReasonCode.UPSTREAM_AWAITED
    said = explain_execution(fresh(waiting), system.clock.now())[0]
    assert f"execution #{first.parent_id} is running since" in said
    system.worker.execute(last.pk)

    assert woken == [frozenset({""})]
    assert system.runnable() == [waiting.pk]


def test_a_backfill_counts_divided_runs_until_their_last_shards_have_ended(
    system: SchedulerHarness,
):
    job = system.control.create_job(
        name="load", cron_expression="0 * * * *", timezone="UTC", handler_name="ok", shards=2,
        is_enabled=False,
    )  # fmt: skip
    since = datetime(2026, 1, 10, 3, tzinfo=UTC)
    control = BackfillControl(clock=system.clock)
    backfill = control.start(job.pk, since=since, until=since + timedelta(hours=1), parallelism=1)
    system.tick()
    (parent,) = JobExecution.objects.filter(backfill_id=backfill.pk)
    system.deliver()
    system.clock.advance(1)
    system.tick()
    assert fresh(parent).status == RunStatus.FANNED_OUT
    assert JobExecution.objects.filter(backfill_id=backfill.pk).count() == 1

    system.deliver()
    system.clock.advance(1)
    system.tick()

    assert fresh(parent).status == SUCCESS
    assert JobExecution.objects.filter(backfill_id=backfill.pk).count() == 2
    system.deliver()
    control.cancel(backfill.pk, running=True)
    assert {*statuses(job), *JobExecution.objects.values_list("status", flat=True)} == {
        SUCCESS, RunStatus.CANCELLED,
    }  # fmt: skip
