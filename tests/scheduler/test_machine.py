"""Any order of events over the real store, dispatcher and executor: a Hypothesis state machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scheduler.models import CronJob, JobAttempt, JobExecution
from scheduler.operations.control import NotPossible
from scheduler.states import FINAL, TRANSITIONS, AttemptOutcome, RunStatus
from scheduler.store import claims, endings, runs
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

POLICIES = ("allow", "skip", "queue_one", "replace")
LEASE_SECONDS = 60
# Which of the rows that there are: drawn before anybody looks, so that examples can be repeated.
WHICH = st.integers(0, 59)


class Lives(RuleBasedStateMachine):
    """Two beats, a worker that runs at once, and silent workers that only claim."""

    harness: SchedulerHarness  # set by the test, which owns the database

    def __init__(self) -> None:
        super().__init__()
        harness = self.harness
        CronJob.objects.all().delete()
        JobExecution.objects.all().delete()
        self.clock = harness.clock
        self.clock.restart()
        self.beats = [harness.new_dispatcher(), harness.new_dispatcher()]
        self.jobs = [
            harness.job(
                overlap_policy=policy,
                handler_name="fail" if index % 2 else "ok",
                misfire_policy="all",
                max_retry=1,
                retry_backoff_seconds=1,
            )
            for index, policy in enumerate(POLICIES)
        ]
        self.beats[0].tick()
        self.first = self.clock.now()
        self.statuses: dict[int, str] = {}
        self.leases: list[runs.Lease] = []
        self.deleted: dict[int, set[datetime]] = {job.pk: set() for job in self.jobs}

    # --- what happens -----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 5, 31, 60, 61, 150]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(beat=st.integers(0, 1))
    def a_beat_ticks(self, beat: int) -> None:
        self.beats[beat].tick()

    @rule(left=st.integers(0, 5), double=st.booleans())
    def a_worker_looks(self, left: int, double: bool) -> None:
        for number, execution_id in enumerate(self.harness.runnable()):
            if number == left:
                continue
            for _ in range(2 if double else 1):
                self.see()
                self.harness.worker.execute(execution_id)

    @rule(which=WHICH)
    def somebody_claims_and_says_nothing(self, which: int) -> None:
        row = self.some(which, RunStatus.PENDING)
        if row is None:
            return
        claim = claims.Claim(owner="silent", lease_seconds=LEASE_SECONDS, decide=decide)
        taken = claim.take(claims.ByIds([row]), self.clock.now())
        self.leases += [claimed.lease for claimed in taken.started]

    @precondition(lambda self: self.leases)
    @rule(
        which=WHICH,
        status=st.sampled_from([RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.TIMEOUT]),
    )
    def a_silent_worker_answers_perhaps_too_late(self, which: int, status: RunStatus) -> None:
        lease = self.leases[which % len(self.leases)]
        ours = runs.rows_of([lease]).exists()
        outcome = AttemptOutcome(status.value)
        ending = endings.Ending(lease=lease, outcome=outcome, status=status)
        written = bool(endings.end([ending], now=self.clock.now()))
        assert written == ours
        if written:
            self.see()

    @rule(which=WHICH)
    def a_person_cancels(self, which: int) -> None:
        self.by_a_person(self.harness.control.cancel, which)

    @rule(which=WHICH)
    def a_person_retries(self, which: int) -> None:
        self.by_a_person(self.harness.control.retry, which)

    @rule(job=st.integers(0, 3))
    def a_person_runs_a_job_now(self, job: int) -> None:
        self.harness.control.run_now(self.jobs[job].pk)

    @rule(which=WHICH)
    def history_is_pruned(self, which: int) -> None:
        row = self.some(which, *FINAL)
        found = JobExecution.objects.filter(pk=row).first() if row else None
        if found is not None and found.job_id is not None:
            if found.param_source == "cron":
                self.deleted[found.job_id].add(found.scheduled_time)
            self.harness.control.delete_execution(found.pk)
            self.statuses.pop(found.pk)

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def only_known_transitions_are_seen(self) -> None:
        self.see()

    @invariant()
    def rows_are_whole(self) -> None:
        running: dict[int, int] = {}
        for row in JobExecution.objects.select_related("job"):
            assert (row.finished_at is not None) == (row.status in FINAL)
            assert (row.lease_token is not None) == (row.status == RunStatus.RUNNING)
            assert row.failures <= row.max_retry + 1
            if row.status == RunStatus.RUNNING and row.job and row.job.overlap_policy != "allow":
                running[row.job.pk] = running.get(row.job.pk, 0) + 1
        assert all(number == 1 for number in running.values())

    @invariant()
    def every_ended_attempt_has_its_row(self) -> None:
        for row in JobExecution.objects.all():
            ended = JobAttempt.objects.filter(execution=row).count()
            assert ended == row.attempt - (row.status == RunStatus.RUNNING)

    @invariant()
    def no_slot_is_lost_or_doubled(self) -> None:
        for job in CronJob.objects.all():
            assert job.next_run_at is not None
            slot = self.first.replace(second=0) + timedelta(minutes=1)
            expected = set()
            while slot < job.next_run_at:
                expected.add(slot)
                slot += timedelta(minutes=1)
            rows = JobExecution.objects.filter(job=job, param_source="cron")
            there = list(rows.values_list("scheduled_time", flat=True))
            assert len(there) == len(set(there))
            assert set(there) | self.deleted[job.pk] == expected
            assert not set(there) & self.deleted[job.pk]

    # --- helpers ----------------------------------------------------------------------------------

    def some(self, which: int, *statuses: RunStatus) -> int | None:
        rows = JobExecution.objects.filter(status__in=sorted(statuses)).order_by("id")
        ids = list(rows.values_list("id", flat=True))
        return ids[which % len(ids)] if ids else None

    def by_a_person(self, verb: Any, which: int) -> None:
        row = self.some(which, *RunStatus)
        if row is None:
            return
        self.see()
        try:
            verb(row)
        except NotPossible:
            return
        self.see()

    def see(self) -> None:
        """Compare with what was seen last. Several steps may lie in between, so each change must be
        possible in one or more allowed steps.
        """
        now = dict(JobExecution.objects.values_list("id", "status"))
        for id_, status in now.items():
            before = self.statuses.get(id_)
            if before != status:
                assert RunStatus(status) in ways_from(RunStatus(before) if before else None), (
                    before,
                    status,
                )
        self.statuses = now

    def teardown(self) -> None:
        for _ in range(60):  # all trouble is over: everything comes to its end
            self.clock.advance(31)
            CronJob.objects.update(is_enabled=False)
            for beat in self.beats:
                beat.tick()
            self.harness.deliver()
            if not JobExecution.objects.exclude(status__in=sorted(FINAL)).exists():
                return
        raise AssertionError(list(JobExecution.objects.exclude(status__in=FINAL).values()))


def ways_from(status: RunStatus | None) -> set[RunStatus]:
    """The statuses that a row can reach by allowed steps without a person."""
    reached: set[RunStatus] = set()
    frontier = set(TRANSITIONS[status])
    while frontier:
        reached |= frontier
        onward = {after for step in frontier if step not in FINAL for after in TRANSITIONS[step]}
        frontier = onward - reached
    return reached


@pytest.fixture
def quick_database() -> Iterator[None]:
    """The machine's database need not survive a power failure."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")
    yield
    connection.close()


@pytest.mark.thorough
def test_any_order_of_events_keeps_the_promises(system: SchedulerHarness, quick_database: None):
    from hypothesis.stateful import run_state_machine_as_test

    system.worker.execute(0)  # made before the examples, so that they share it
    is_slow = os.environ.get("JOBU_TEST_SLOW") == "1"  # script/test --slow
    machine = type("TheLives", (Lives,), {"harness": system})
    run_state_machine_as_test(
        machine,
        settings=settings(
            # The order of events is no matter of the database; how each writes them is.
            max_examples=(5 if connection.vendor == "sqlite" else 2) * (3 if is_slow else 1),
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
