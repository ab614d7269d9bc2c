"""A claim takes the most urgent runs of its queues, whoever else claims at the same moment."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection

from scheduler.clock import host_now
from scheduler.models import CronJob, JobExecution, JobGuard
from scheduler.states import RunStatus
from scheduler.store import candidates, claims, heads
from scheduler.store.claims import ByIds, Claims, Floors, MostUrgent
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh, reason_of
from tests.scheduler.test_faults import Faults, lost_commits
from tests.scheduler.test_races import together

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def new_claim() -> claims.Claim:
    return claims.Claim(owner="worker", lease_seconds=60, decide=decide)


def take(
    queues: Sequence[str] = ("",),
    places: int = 1,
    floors: Floors | None = None,
    now: datetime = START,
) -> Claims:
    return new_claim().take(MostUrgent(queues, places, floors or Floors()), now)


def ids_of(taken: Claims) -> list[int]:
    return [claimed.row.id for claimed in taken.started]


def pending(system: SchedulerHarness, waited: float = 0, **values: Any) -> JobExecution:
    """A run that waits for so many seconds."""
    return system.execution(available_at=START - timedelta(seconds=waited), **values)


def test_most_urgent_first_then_the_oldest_over_all_queues_and_claims(system: SchedulerHarness):
    dice = random.Random(7)
    JobExecution.objects.bulk_create(
        JobExecution(
            handler_name="ok",
            scheduled_time=START,
            created_at=START,
            queue=dice.choice(["", "mail", "Mail", "other"]),
            priority=dice.choice([0, 0, 1, 5, 9]),
            # Some at the same instant, some in the future, and the oldest has aged to the top.
            available_at=START + timedelta(seconds=dice.choice(range(-3600, 301, 20))),
        )
        for _ in range(400)
    )
    rows = JobExecution.objects.filter(queue__in=["", "mail", "Mail"], available_at__lte=START)

    def urgency(row: JobExecution) -> int:
        return min(9, row.priority + (START - row.available_at) // timedelta(minutes=5))

    wanted = sorted(rows, key=lambda row: (-urgency(row), row.available_at, row.pk))
    floors, found = Floors(), []
    while True:
        taken = take(["", "mail", "Mail"], 17, floors)
        found += ids_of(taken)
        if not taken.is_full:
            break

    assert found == [row.pk for row in wanted]
    assert not take(["", "mail", "Mail"], 17).started


def test_the_lowest_priority_is_at_the_front_after_45_minutes(system: SchedulerHarness):
    lowest = pending(system, waited=45 * 60)
    urgent = pending(system, priority=9)
    assert ids_of(take()) == [lowest.pk]
    assert ids_of(take()) == [urgent.pk]
    lowest, urgent = pending(system, waited=45 * 60 - 1), pending(system, priority=9)
    assert ids_of(take()) == [urgent.pk]


def test_names_of_queues_are_exact_and_a_claim_has_a_limit(system: SchedulerHarness):
    for _ in range(candidates.AT_ONCE + 1):
        pending(system, queue="mail")
    assert not take(["Mail", ""], 10).started
    taken = take(["mail"], 200)
    assert (len(taken.started), taken.is_full) == (candidates.AT_ONCE, True)
    taken = take(["mail"], 200)
    assert (len(taken.started), taken.is_full) == (1, False)
    assert take(["mail"], 0) == Claims()


def test_what_comes_back_below_the_floor_is_found_when_the_floor_is_forgotten(
    system: SchedulerHarness,
):
    floors = Floors()
    first = pending(system, waited=10)
    assert ids_of(take(floors=floors)) == [first.pk]
    older, same, newer = (pending(system, waited=waited) for waited in (11, 10, 9))
    if connection.vendor == "sqlite":  # it needs no floors
        assert ids_of(take(places=5, floors=floors)) == [older.pk, same.pk, newer.pk]
        return
    assert ids_of(take(places=5, floors=floors)) == [same.pk, newer.pk]
    assert not take(places=5, floors=floors).started
    floors.forget()
    assert ids_of(take(places=5, floors=floors)) == [older.pk]


def test_runs_that_sql_has_inserted_at_one_instant_are_claimed_one_after_the_other(
    system: SchedulerHarness,
):
    """On SQLite their default has milliseconds, and compares as a text with what a claim writes."""
    with connection.cursor() as cursor:
        for number in range(3):
            cursor.execute(
                "INSERT INTO job_executions (handler_name, scheduled_time, param_source)"
                " VALUES ('ok', %s, 'event')",
                [f"2026-01-01 00:00:00.{number:06d}"],
            )
    JobExecution.objects.update(available_at=JobExecution.objects.values("available_at")[:1])
    floors, now = Floors(), host_now() + timedelta(seconds=1)
    assert [len(take(floors=floors, now=now).started) for _ in range(4)] == [1, 1, 1, 0]


def test_the_floor_moves_with_the_commit_and_not_before(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    floors = Floors()
    row = pending(system)
    choice = MostUrgent([""], 1, floors)
    writes = Faults(lambda statement: "lease_owner = " in statement, done=True)
    claim = new_claim()
    with connection.execute_wrapper(writes), pytest.raises(DatabaseError):
        claim.take(choice, START)
    assert writes.seen
    assert floors.last(("", 0)) is None
    assert claim.taken_after_all(START) == Claims()
    with lost_commits(monkeypatch, after="lease_owner = "), pytest.raises(DatabaseError):
        claim.take(choice, START)
    assert floors.last(("", 0)) is None
    connection.close()
    taken = claim.taken_after_all(START)
    assert (ids_of(taken), taken.is_full) == ([row.pk], True)
    if connection.vendor != "sqlite":
        assert floors.last(("", 0)) == (START, row.pk)


def test_claims_at_the_same_moment_share_the_runs_and_none_fails(system: SchedulerHarness):
    jobs = [system.job(overlap_policy=policy) for policy in ("allow", "skip") for _ in range(4)]
    rows = [
        pending(system, job=jobs[at % 8], waited=at, priority=at % 3, queue="ab"[at % 2])
        for at in range(160)
    ]

    def worker() -> list[int]:
        floors, misses = Floors(), 0
        found: list[int] = []
        while misses < 3:
            taken = take(["a", "b"], 7, floors)
            found += ids_of(taken) + [row.id for row, _ in taken.held]
            if not taken.is_full:
                floors.forget()
                misses += 1
        return found

    seen = [id_ for found in together(*[worker] * 4) for id_ in found]
    assert sorted(seen) == [row.pk for row in rows]
    started = JobExecution.objects.filter(status=RunStatus.RUNNING)
    # Of the jobs that must not overlap each has one run: the guards made the others wait.
    assert started.filter(job__in=jobs[4:]).count() == 4
    assert started.filter(job__in=jobs[:4]).count() == 80


def test_a_run_that_sql_has_cancelled_or_orphaned_is_ended_and_blocks_nobody(
    system: SchedulerHarness,
):
    cancelled = pending(system, waited=9, cancel_requested_at=START)
    orphan = pending(system, waited=8)
    next_one = pending(system, waited=7)
    if connection.vendor == "sqlite":  # the servers have a foreign key, SQLite has a trigger
        JobExecution.objects.filter(pk=orphan.pk).update(job_id=4711)
    else:
        JobExecution.objects.filter(pk=orphan.pk).delete()

    taken = take(places=3)

    assert ids_of(taken) == [next_one.pk]
    assert fresh(cancelled).status == RunStatus.CANCELLED
    assert reason_of(cancelled) == ("cancelled_by_person", None)
    assert {row.id for row, _ in taken.held} == {cancelled.pk, orphan.pk} & set(
        JobExecution.objects.values_list("id", flat=True)
    )
    if connection.vendor == "sqlite":
        assert fresh(orphan).error_message == "cancelled because its job was deleted"
        assert reason_of(orphan) == ("job_deleted", None)
        assert not JobGuard.objects.exists()


def test_runs_of_a_job_that_must_not_overlap_are_decided_together(system: SchedulerHarness):
    job = system.job(overlap_policy="queue_one")
    first, second, third = (pending(system, job=job, waited=waited) for waited in (3, 2, 1))
    taken = take(places=3)
    assert ids_of(taken) == [first.pk]
    assert [(row.id, decision.step.value) for row, decision in taken.held] == [
        (second.pk, "wait"),
        (third.pk, "skip"),
    ]
    assert JobGuard.objects.get().running_id == first.pk
    assert (fresh(second).in_line, fresh(third).status) == (job.pk, RunStatus.SKIPPED)
    # The guard's run was ended by SQL: nobody believes the guard.
    JobExecution.objects.filter(pk=first.pk).delete()
    assert ids_of(new_claim().take(ByIds([second.pk]), START + timedelta(seconds=60))) == [
        second.pk
    ]


def test_heads_say_what_waits_at_the_front_of_each_queue(system: SchedulerHarness):
    assert heads.heads(START) == []
    assert heads.next_available_at(START) is None
    later = START + timedelta(seconds=5)
    for waited in (3, 9, -5, -8):
        pending(system, waited=waited, queue="mail")
    pending(system, waited=-7, queue="Mail", priority=9)
    pending(system, waited=1, queue="", priority=3)
    system.execution(status=RunStatus.SKIPPED, finished_at=START, queue="ended")

    found = {(head.queue, head.priority): head for head in heads.heads(START)}

    assert found == {
        ("", 3): heads.Head(queue="", priority=3, first_at=START - timedelta(seconds=1)),
        ("Mail", 9): heads.Head(
            queue="Mail",
            priority=9,
            first_at=START + timedelta(seconds=7),
            next_at=START + timedelta(seconds=7),
        ),
        ("mail", 0): heads.Head(
            queue="mail", priority=0, first_at=START - timedelta(seconds=9), next_at=later
        ),
    }
    assert heads.runnable_queues(START) == ["", "mail"]
    assert heads.next_available_at(START) == later
    assert [head.queue for head in heads.heads(START, ["Mail", "x"])] == ["Mail"]
    floors = Floors()
    floors.advance([(("mail", 0), START - timedelta(seconds=9), 2**40)])
    (head,) = heads.heads(START, ["mail"], floors)
    assert (head.priority, head.first_at) == (0, START - timedelta(seconds=3))


def test_the_table_refuses_a_priority_that_no_claim_would_find(system: SchedulerHarness):
    row = pending(system)
    with pytest.raises(DatabaseError):
        JobExecution.objects.filter(pk=row.pk).update(priority=10)
    assert not CronJob.objects.exists()


def test_what_may_start_is_counted_up_to_a_limit(system: SchedulerHarness):
    for priority in (0, 0, 5):
        system.execution(queue="mail", priority=priority)
    system.execution(queue="other")
    system.execution(queue="mail", available_at=START + timedelta(seconds=1))
    counts = [heads.count_runnable(START, ["mail", "none"], limit=limit) for limit in (1, 2, 9)]
    assert counts == [1, 2, 3]
