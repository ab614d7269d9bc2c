"""Limits in the claim: who starts, who waits in line, and who goes on when a place becomes free."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from handlers.fan_out import FanOut
from scheduler import transient
from scheduler.concurrency import guard_of_group
from scheduler.models import ConcurrencyGroup, CronJob, JobExecution, JobPlace
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.groups import GroupControl
from scheduler.states import AttemptOutcome, PlaceState, RunStatus
from scheduler.store import claims, endings, place_rows
from scheduler.store.claims import Claimed, Floors, MostUrgent
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh, reason_of
from tests.scheduler.test_races import together

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def group(name: str = "dwh", **values: Any) -> ConcurrencyGroup:
    return ConcurrencyGroup.objects.create(name=name, **values)


def take(system: SchedulerHarness, places: int = 50, now: datetime | None = None) -> list[Claimed]:
    """What one claim of a worker begins."""
    claim = claims.Claim(owner="worker", lease_seconds=60, decide=decide)
    choice = MostUrgent(["", "celery", "other"], places, Floors())
    return list(claim.take(choice, now or system.clock.now()).started)


def end(
    system: SchedulerHarness,
    begun: Sequence[Claimed],
    status: RunStatus = RunStatus.SUCCESS,
    now: datetime | None = None,
) -> endings.Ended:
    outcome = AttemptOutcome.RELEASED if status == RunStatus.PENDING else AttemptOutcome.SUCCESS
    ends = [endings.Ending(lease=each.lease, outcome=outcome, status=status) for each in begun]
    return endings.end(ends, now=now or system.clock.now())


def ids(begun: Sequence[Claimed]) -> list[int]:
    return [each.row.id for each in begun]


def in_line() -> int:
    return JobExecution.objects.filter(in_line__isnull=False).count()


def test_a_group_limits_its_jobs_and_delays_no_other(system: SchedulerHarness):
    group(max_running=2)
    jobs = [system.job(concurrency_group="dwh") for _ in range(3)]
    rows = [system.execution(job) for job in jobs for _ in range(2)]
    other = system.execution(system.job())
    begun = take(system, 3)
    assert ids(begun) == [rows[0].pk, rows[1].pk]
    assert ids(take(system, 3)) == []
    assert ids(take(system, 3)) == [other.pk]
    assert in_line() == 4
    code, facts = reason_of(rows[2])
    assert (code, facts) == (
        "limit_reached",
        {"limit": 2, "running": 2, "group": "dwh", "per_key": False},
    )

    ended = end(system, begun[:1])
    assert ended.queues_to_wake == {""}
    assert in_line() == 3
    assert ids(take(system)) == [rows[2].pk]
    # A hand-back and a cancel free places as well, and a run needs one again.
    end(system, begun[1:], RunStatus.PENDING)
    assert (ids(take(system)), in_line()) == ([rows[3].pk], 3)


def test_a_job_has_a_limit_of_its_own_and_a_key_divides_it(system: SchedulerHarness):
    job = system.job(max_running=1, concurrency_key="params.tenant")
    rows = [system.execution(job, params={"tenant": tenant}) for tenant in ("a", "a", "b")]
    absent = [system.execution(job, params={}) for _ in range(2)]
    begun = take(system)
    assert ids(begun) == [rows[0].pk, rows[2].pk, absent[0].pk]
    assert reason_of(rows[1])[1] == {
        "limit": 1, "running": 1, "group": "", "per_key": True,
    }  # fmt: skip
    facts = reason_of(absent[1])[1]
    assert facts is not None
    assert facts["key_is"] == "absent"
    end(system, [begun[0]])
    assert ids(take(system)) == [rows[1].pk]


def test_a_run_in_the_line_of_its_group_keeps_the_place_of_its_job(system: SchedulerHarness):
    group(max_running=1)
    first = system.execution(system.job(concurrency_group="dwh"))
    job = system.job(concurrency_group="dwh", max_running=1)
    rows = [system.execution(job) for _ in range(3)]
    begun = take(system)
    assert ids(begun) == [first.pk]
    assert [reason_of(row)[1]["group"] for row in rows] == ["dwh", "", ""]  # type: ignore[index]
    for row in rows:
        end(system, begun)
        begun = take(system)
        assert ids(begun) == [row.pk]
        assert ids(take(system)) == []


def test_keys_take_turns_when_one_floods(system: SchedulerHarness):
    group(max_running=1)
    job = system.job(concurrency_group="dwh", concurrency_key="params.t")
    for _ in range(12):
        system.execution(job, params={"t": "flood"})
    for tenant in ("b", "c"):
        system.execution(job, params={"t": tenant})
    order = []
    begun = take(system)
    while begun:
        order += [each.row.params["t"] for each in begun]
        end(system, begun)
        begun = take(system)
    assert len(order) == 14
    assert set(order[:4]) == {"flood", "b", "c"}


def test_a_rate_gives_each_run_the_instant_at_which_it_may_start(system: SchedulerHarness):
    group(rate_count=2, rate_seconds=60)
    job = system.job(concurrency_group="dwh")
    rows = [system.execution(job) for _ in range(5)]
    begun = take(system)
    assert ids(begun) == [rows[0].pk, rows[1].pk]
    assert end(system, begun).queues_to_wake == frozenset()
    later = START + timedelta(seconds=60)
    assert [fresh(row).available_at for row in rows[2:4]] == [later, later]
    assert reason_of(rows[2]) == (
        "rate_reached", {"limit": 2, "seconds": 60, "group": "dwh", "per_key": False},
    )  # fmt: skip
    system.clock.advance(59)
    assert take(system) == []
    newcomer = system.execution(job)
    system.clock.advance(1)
    assert ids(take(system)) == [rows[2].pk, rows[3].pk]
    system.clock.advance(60)
    assert ids(take(system)) == [rows[4].pk, newcomer.pk]


def test_a_rate_of_thousands_counts_every_start_and_reads_few(system: SchedulerHarness):
    many = group(rate_count=3_000, rate_seconds=3_600)
    guard, seconds = guard_of_group(many.name), timedelta(seconds=1)
    JobPlace.objects.bulk_create(
        JobPlace(
            guard_id=guard, group_name=many.name, execution_id=10**9 + number,
            state=PlaceState.ENDED, at=START - number * seconds / 2,
        )
        for number in range(1, 2_999)
    )  # fmt: skip
    job = system.job(concurrency_group="dwh")
    rows = [system.execution(job) for _ in range(5)]
    begun = take(system)
    assert ids(begun) == [rows[0].pk, rows[1].pk]
    end(system, begun)
    oldest = START - 2_998 * seconds / 2
    assert [fresh(row).available_at for row in rows[2:]] == [
        oldest + 3_600 * seconds, oldest + 3_600.5 * seconds, oldest + 3_601 * seconds,
    ]  # fmt: skip
    found = place_rows.starts(
        guard, None, since=START - 3_600 * seconds, skipped=2_000, limit=1_000
    )
    assert (len(found), found[-1]) == (1_000, oldest)
    with pytest.raises(InvalidJob):
        GroupControl(clock=system.clock).set_limits("dwh", rate_count=10_001, rate_seconds=60)


def test_a_lost_worker_keeps_its_place_until_it_is_rescued(system: SchedulerHarness):
    group(max_running=1)
    job = system.job(concurrency_group="dwh", retry_backoff_seconds=0)
    rows = [system.execution(job) for _ in range(2)]
    assert ids(take(system)) == [rows[0].pk]
    system.tick()
    system.clock.advance(61)
    assert take(system) == []  # the lease has run out, but nobody knows that it is dead
    CronJob.objects.update(is_enabled=False)
    system.tick()
    assert fresh(rows[0]).status == RunStatus.PENDING
    assert ids(take(system)) == [rows[1].pk]


def test_what_sql_and_crashes_leave_behind_counts_for_nothing(system: SchedulerHarness):
    group(max_running=1)
    job = system.job(concurrency_group="dwh")
    rows = [system.execution(job) for _ in range(4)]
    (begun,) = take(system)
    take(system)
    # The run was ended by SQL, the first of the line cancelled, the second let go on and deleted.
    JobExecution.objects.filter(pk=begun.row.id).update(
        status="FAILED", finished_at=START, lease_token=None, lease_expires_at=None,
        deadline_at=None,
    )  # fmt: skip
    system.control.cancel(rows[1].pk)
    system.tick()
    assert fresh(rows[2]).in_line is None
    JobExecution.objects.filter(pk=rows[2].pk).delete()
    system.clock.advance(3)
    system.tick()
    assert ids(take(system)) == [rows[3].pk]
    assert list(JobPlace.objects.values_list("state", "execution_id")) == [
        (PlaceState.STARTED, rows[3].pk)
    ]


def test_a_run_that_nobody_takes_keeps_its_place_for_a_while_only(system: SchedulerHarness):
    group(max_running=1)
    away = system.job(concurrency_group="dwh", queue="nobody")
    job = system.job(concurrency_group="dwh")
    rows = [system.execution(job), system.execution(away, queue="nobody"), system.execution(job)]
    begun = take(system)
    claim = claims.Claim(owner="other", lease_seconds=60, decide=decide)
    claim.take(MostUrgent(["nobody"], 5, Floors()), START)
    assert in_line() == 2
    end(system, begun)
    assert (in_line(), take(system)) == (1, [])
    system.clock.advance(11)
    system.tick()
    assert ids(take(system)) == [rows[2].pk]


def test_an_edit_of_limits_lets_go_on_what_may_and_counts_what_runs(system: SchedulerHarness):
    control = GroupControl(clock=system.clock)
    control.set_limits("dwh", max_running=1)
    job = system.job(handler_name="ok")
    rows = [system.execution(job) for _ in range(4)]
    begun = take(system, 1)
    system.control.update_job(job.pk, concurrency_group="dwh")
    assert take(system) == []  # the one that goes on counts
    control.set_limits("dwh", max_running=3)
    assert ids(take(system)) == [rows[1].pk, rows[2].pk]
    control.set_limits("dwh", max_running=1)
    end(system, begun)
    assert take(system) == []  # two go on still
    system.control.update_job(job.pk, concurrency_group="")
    assert ids(take(system)) == [rows[3].pk]


def test_groups_are_refused_or_kept_with_a_reason(system: SchedulerHarness):
    control = GroupControl(clock=system.clock)
    control.set_limits("dwh", max_running=1)
    job = system.job(handler_name="ok")
    for values, field, text in (
        ({"concurrency_group": "dwg"}, "concurrency_group", "did you mean dwh?"),
        ({"max_running": 0}, "max_running", "not between 1"),
        ({"concurrency_key": "tenant", "max_running": 1}, "concurrency_key", "params.tenant"),
        ({"concurrency_key": "params.t"}, "concurrency_key", "a key alone limits nothing"),
        ({"concurrency_key": "params.password", "max_running": 1}, "concurrency_key", "secret"),
    ):
        with pytest.raises(InvalidJob) as refused:
            system.control.update_job(job.pk, **values)
        assert text in refused.value.problems[field][0]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"rate_count": 5}, "rate_seconds"),
        ({"max_running": 0}, "max_running"),
        ({}, "max_running"),
    ]
    for limits, field in wrong:
        with pytest.raises(InvalidJob) as refused:
            control.set_limits("other", **limits)
        assert set(refused.value.problems) == {field}
    system.control.update_job(job.pk, concurrency_group="dwh")
    system.tick()
    with pytest.raises(NotPossible, match=job.name):
        control.delete("dwh")
    # Deleted by SQL: its runs start without it, and the job is switched off with the reason.
    ConcurrencyGroup.objects.all().delete()
    rows = [system.execution(job) for _ in range(2)]
    assert ids(take(system)) == [row.pk for row in rows]
    system.clock.advance(61)
    system.tick()
    after = CronJob.objects.get(pk=job.pk)
    assert (after.is_enabled, after.schedule_error) == (
        False, "concurrency_group: there is no group 'dwh'",
    )  # fmt: skip


def test_a_cancelled_run_leaves_its_reserved_place_to_the_next_one_at_once(
    system: SchedulerHarness,
):
    group(max_running=1)
    job = system.job(concurrency_group="dwh", concurrency_key="params.t")
    rows = [system.execution(job) for _ in range(3)]
    begun = take(system)
    take(system)
    end(system, begun)
    assert (fresh(rows[1]).in_line, fresh(rows[2]).in_line) == (None, guard_of_group("dwh"))
    system.control.cancel(rows[1].pk)
    assert fresh(rows[2]).in_line is None
    assert ids(take(system)) == [rows[2].pk]


def test_shards_that_are_cancelled_with_their_parent_leave_their_reserved_places(
    system: SchedulerHarness,
):
    group(max_running=1)
    divided = system.job(concurrency_group="dwh", shards=3)
    parent, other = system.execution(divided), system.execution(system.job(concurrency_group="dwh"))
    begun = take(system, 1)
    lease = begun[0].lease
    plan = endings.Ending(
        lease=lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.FANNED_OUT,
        fan_out=FanOut(count=3),
    )  # fmt: skip
    endings.end([plan], now=START)
    (first,) = take(system)
    take(system)
    if first.row.id != other.pk:  # else a shard is let go on when the other one ends
        assert first.row.parent_id == parent.pk
    end(system, [first])
    system.control.cancel(parent.pk)
    assert fresh(other).status == RunStatus.SUCCESS or ids(take(system)) == [other.pk]
    assert not JobPlace.objects.filter(state=PlaceState.NEXT).exists()


def test_a_limit_that_sql_sets_counts_what_goes_on(system: SchedulerHarness):
    group(max_running=2)
    job, divided = system.job(), system.job(shards=2)
    rows = [system.execution(job, params={"t": number}) for number in range(3)]
    begun = take(system, 1)
    parent = system.execution(divided)
    (divides,) = [each for each in take(system) if each.row.id == parent.pk]
    plan = endings.Ending(
        lease=divides.lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.FANNED_OUT,
        fan_out=FanOut(count=2),
    )  # fmt: skip
    endings.end([plan], now=START)
    shard = take(system, 1)
    others = [system.execution(job) for _ in range(2)]
    CronJob.objects.update(concurrency_group="dwh", concurrency_key="params.t", max_running=3)
    system.clock.advance(2)
    system.tick()
    taken = JobPlace.objects.filter(state=PlaceState.STARTED)
    per_run = Counter(taken.values_list("execution_id", flat=True))
    # Each of those that go on has a place of its job and one of the group.
    assert per_run == {each.pk: 2 for each in rows} | {shard[0].row.id: 2}
    assert set(taken.filter(group_name="dwh").values_list("key_value", flat=True)) >= {"0", "1"}
    assert not set(ids(take(system))) & {each.pk for each in others}
    # Again: they are counted once. And a row of an earlier attempt counts nothing.
    system.clock.advance(2)
    system.tick()
    assert taken.count() == 8
    taken.filter(execution_id=begun[0].row.id).update(attempt=0)
    system.clock.advance(2)
    system.tick()
    assert taken.filter(execution_id=begun[0].row.id, attempt=1).count() == 2


def test_an_edit_of_the_key_counts_what_goes_on_under_the_new_one(system: SchedulerHarness):
    control = GroupControl(clock=system.clock)
    control.set_limits("dwh", max_running_per_key=1)
    job = system.job(handler_name="ok", concurrency_group="dwh")
    rows = [system.execution(job, params={"t": key}) for key in "xxy"]
    assert ids(take(system)) == [rows[0].pk]
    system.control.update_job(job.pk, concurrency_key="params.t")
    # The one that goes on is of x now, so that y may start and the other x may not.
    assert ids(take(system)) == [rows[2].pk]


def test_more_full_keys_than_are_looked_at_hide_no_key_with_room(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(place_rows, "MOST_KEYS", 3)
    group(max_running=20, max_running_per_key=1)
    job = system.job(concurrency_group="dwh", concurrency_key="params.t")
    full = [system.execution(job, params={"t": key}) for key in "abcdef"]
    assert len(take(system)) == 6
    for key in "abcdef":
        system.execution(job, params={"t": key})
    last = system.execution(job, params={"t": "z"})
    assert ids(take(system)) == [last.pk]
    waits = system.execution(job, params={"t": "z"})
    assert take(system) == []
    # SQL ends the run of the last key: nobody tells the others.
    JobExecution.objects.filter(pk=last.pk).update(
        status="FAILED", finished_at=START, lease_token=None, lease_expires_at=None,
        deadline_at=None,
    )  # fmt: skip
    for _ in range(4):
        system.clock.advance(2)
        system.tick()
    assert ids(take(system)) == [waits.pk]
    assert len(full) == 6


def test_a_run_that_has_waited_for_its_group_keeps_its_turn_in_its_job(system: SchedulerHarness):
    group(max_running=1)
    first = system.execution(system.job(concurrency_group="dwh"))
    job = system.job(concurrency_group="dwh", max_running=1)
    older = system.execution(job)
    begun = take(system)
    assert ids(begun) == [first.pk]
    system.clock.advance(30)
    newer = system.execution(job, queue="nobody")
    end(system, begun)  # the older one has waited for longer than a reserved place is kept
    claim = claims.Claim(owner="quicker", lease_seconds=60, decide=decide)
    assert claim.take(MostUrgent(["nobody"], 5, Floors()), system.clock.now()).started == []
    assert fresh(newer).in_line == job.pk  # and not behind the group, with the place of its job
    assert ids(take(system)) == [older.pk]


def test_starts_of_a_rate_that_is_no_more_are_forgotten(system: SchedulerHarness):
    control = GroupControl(clock=system.clock)
    control.set_limits("dwh", rate_count=100, rate_seconds=3600)
    job = system.job(concurrency_group="dwh")
    for _ in range(5):
        system.execution(job)
    end(system, take(system))
    assert JobPlace.objects.filter(state=PlaceState.ENDED).count() == 5
    control.set_limits("dwh", max_running=1, rate_count=None, rate_seconds=None)
    assert not JobPlace.objects.exists()


@pytest.mark.timeout(120)
def test_limits_hold_while_claims_and_ends_race(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    """Threads claim and end runs of jobs with two limits each; none deadlocks, nothing is lost."""
    lost: list[BaseException] = []
    lost_a_race = transient._lost_a_race

    def noted(error: BaseException) -> bool:
        lost.extend([error] if lost_a_race(error) else [])
        return lost_a_race(error)

    monkeypatch.setattr(transient, "_lost_a_race", noted)
    began = time.monotonic()

    def now() -> datetime:
        """Goes on: what is let go on lies elsewhere in the index than what a claim has read."""
        return START + timedelta(seconds=time.monotonic() - began)

    group("a", max_running=3, max_running_per_key=1)
    group("b", max_running=2)
    jobs = [
        system.job(concurrency_group="a", concurrency_key="params.t", max_running=2),
        system.job(concurrency_group="a", concurrency_key="params.t"),
        system.job(concurrency_group="b", overlap_policy="queue_one"),
        system.job(concurrency_group="b", max_running=1),
    ]
    for number in range(48):
        job = jobs[number % 4]
        source = "backfill" if job.overlap_policy == "queue_one" else "cron"
        system.execution(job, params={"t": number % 5}, param_source=source)
    most: Counter[str] = Counter()

    def look(begun: Sequence[Claimed]) -> None:
        """In one snapshot: a statement."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT j.id, j.concurrency_group, e.params FROM job_executions e"
                " JOIN cron_jobs j ON j.id = e.job_id WHERE e.status = 'RUNNING'"
            )
            found = cursor.fetchall()
        counts = Counter(name for _, name, _ in found)
        counts += Counter(f"job {id_}" for id_, _, _ in found)
        counts += Counter(f"key {params}" for _, name, params in found if name == "a")
        for name, number in counts.items():
            most[name] = max(most[name], number)

    def work() -> int:
        ended = idle = 0
        while idle < 5:
            begun = take(system, 4, now())
            look(begun)
            end(system, begun, now=now())
            ended += len(begun)
            idle = 0 if begun else idle + 1
        return ended

    ended = sum(together(*[work] * 3))
    while begun := take(system, now=now()):  # what the last claims have left
        end(system, begun, now=now())
        ended += len(begun)
    assert ended == 48
    # MySQL locks the entry behind those that a claim reads, too (store/overlap.py).
    assert connection.vendor != "postgresql" or not lost
    assert set(JobExecution.objects.values_list("status", flat=True)) == {"SUCCESS"}
    assert most["a"] <= 3
    assert most["b"] <= 2
    assert most[f"job {jobs[0].pk}"] <= 2
    assert most[f"job {jobs[3].pk}"] <= 1
    assert all(number <= 1 for name, number in most.items() if name.startswith("key"))
    assert not JobPlace.objects.exclude(state=PlaceState.ENDED).exists()


def test_a_worker_whose_clock_is_behind_starts_no_more_than_the_rate(system: SchedulerHarness):
    group(rate_count=2, rate_seconds=60)
    job = system.job(concurrency_group="dwh")
    rows = [system.execution(job) for _ in range(4)]
    end(system, take(system))
    behind, ahead = (START + timedelta(seconds=seconds) for seconds in (59.9, 60.1))
    assert ids(take(system, places=1, now=ahead)) == [rows[2].pk]  # it counts the first two no more
    JobExecution.objects.filter(pk=rows[3].pk).update(available_at=START)
    assert take(system, now=behind) == []
    assert ids(take(system, now=ahead)) == [rows[3].pk]


def test_a_run_whose_workers_were_late_keeps_its_turn(system: SchedulerHarness):
    group(max_running=1)
    job = system.job(concurrency_group="dwh")
    first, older, newer = (system.execution(job) for _ in range(3))
    begun = take(system)
    assert ids(begun) == [first.pk]
    end(system, begun)
    system.clock.advance(30)  # its worker was away for longer than a place is reserved
    system.tick()
    assert fresh(newer).in_line is None
    begun = take(system)
    assert ids(begun) == [older.pk]  # and not in line again, behind the reservation of the newer
    end(system, begun)
    assert ids(take(system)) == [newer.pk]


def test_late_runs_start_no_more_than_the_limit(system: SchedulerHarness):
    group(max_running=1)
    job = system.job(concurrency_group="dwh")
    rows = [system.execution(job) for _ in range(3)]
    begun = take(system)
    end(system, begun)
    system.clock.advance(30)
    system.tick()
    system.clock.advance(30)
    system.tick()
    assert ids(take(system)) == [rows[1].pk]
    assert take(system) == []
    assert fresh(rows[2]).in_line is not None
