"""Any order of claims, ends, cancels, losses, edits and SQL under limits: a Hypothesis machine.

A place is a row of job_places that is believed: STARTED, and its run goes on with that attempt.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scheduler.concurrency import JobLimits, Place, guard_of_group, places_of
from scheduler.models import ConcurrencyGroup, CronJob, JobExecution, JobGuard, JobPlace
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.groups import GroupControl
from scheduler.states import FINAL, AttemptOutcome, OverlapPolicy, PlaceState, RunStatus
from scheduler.store import claims, endings
from scheduler.store.claims import Floors, MostUrgent
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START, SchedulerHarness
from tests.scheduler.test_machine import quick_database  # noqa: F401 - a fixture

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

LEASE_SECONDS = 60
GROUPS = ("a", "b")
WHICH = st.integers(0, 59)
NUMBER = st.sampled_from([None, 1, 2, 3])
KEYS = st.sampled_from([{"t": "x"}, {"t": "y"}, {"t": 7}, {}, {"t": [1]}])
# max_running, max_running_per_key, rate_count, rate_per_key
LIMITS = st.sampled_from(
    [
        (1, None, None, False),
        (3, 1, None, False),
        (None, 1, None, False),
        (None, None, 2, False),
        (2, None, 3, True),
        (None, 2, 1, True),
    ]
)
RATE_SECONDS = 30


class Places(RuleBasedStateMachine):
    """Three jobs under two groups, of which one job has shards of its own limit, and workers that
    claim and say nothing until they end or are lost."""

    harness: SchedulerHarness

    def __init__(self) -> None:
        super().__init__()
        for model in (JobExecution, CronJob, JobPlace, JobGuard, ConcurrencyGroup):
            model.objects.all().delete()
        self.clock = self.harness.clock
        self.clock.restart()
        self.beats = [self.harness.new_dispatcher(), self.harness.new_dispatcher()]
        self.groups = GroupControl(clock=self.clock)
        for name in GROUPS:
            self.groups.set_limits(name, max_running=2)
        self.jobs = [
            self.harness.job(
                is_enabled=False,
                max_retry=1,
                retry_backoff_seconds=1,
                overlap_policy=policy,
                max_running=most,
                concurrency_group=group,
                concurrency_key="params.t",
            ).pk
            for policy, most, group in (
                ("allow", 2, "a"),
                ("allow", None, "b"),
                ("queue_one", None, "a"),
                ("allow", 1, ""),
            )
        ]
        self.made = 0
        self.leases: dict[int, claims.Claimed] = {}
        # The starts that each limit has counted since its terms were changed last.
        self.changed_at = {guard_of_group(name): self.clock.now() for name in GROUPS}
        # SQL has changed a limit, and no beat has seen it yet.
        self.is_unseen = False
        for beat in self.beats:
            beat.tick()

    # --- what happens -----------------------------------------------------------------------------

    @rule(job=st.integers(0, 3), params=KEYS, number=st.integers(1, 4))
    def runs_are_made(self, job: int, params: dict[str, Any], number: int) -> None:
        found = CronJob.objects.get(pk=self.jobs[job])
        for _ in range(number):
            self.made += 1
            at = START - timedelta(days=1, microseconds=self.made)
            self.harness.execution(found, params=params, param_source="manual", scheduled_time=at)

    @rule(places=st.integers(1, 6))
    def a_worker_claims(self, places: int) -> None:
        now = self.clock.now()
        claim = claims.Claim(owner="silent", lease_seconds=LEASE_SECONDS, decide=decide)
        taken = claim.take(MostUrgent([""], places, Floors()), now)
        for claimed in taken.started:
            self.leases[claimed.row.id] = claimed
        self.no_limit_is_exceeded([claimed.row.id for claimed in taken.started], now)

    @precondition(lambda self: self.leases)
    @rule(which=WHICH, status=st.sampled_from(["SUCCESS", "FAILED", "PENDING"]))
    def a_run_ends(self, which: int, status: str) -> None:
        id_ = sorted(self.leases)[which % len(self.leases)]
        claimed = self.leases.pop(id_)
        outcome = AttemptOutcome.RELEASED if status == "PENDING" else AttemptOutcome(status)
        ending = endings.Ending(lease=claimed.lease, outcome=outcome, status=RunStatus(status))
        endings.end([ending], now=self.clock.now())

    @rule(which=WHICH)
    def a_person_cancels(self, which: int) -> None:
        rows = JobExecution.objects.exclude(status__in=sorted(FINAL)).order_by("id")
        ids = list(rows.values_list("id", flat=True))
        if ids:
            self.harness.control.cancel(ids[which % len(ids)])

    @rule(seconds=st.sampled_from([1, 3, 11, 31, 61]))
    def time_passes(self, seconds: int) -> None:
        """After a minute those that go on are lost."""
        self.clock.advance(seconds)

    @rule(beat=st.integers(0, 1))
    def a_beat_ticks(self, beat: int) -> None:
        self.clock.advance(2)  # else it leaves the limits alone
        self.beats[beat].tick()
        self.is_unseen = False

    @rule(name=st.sampled_from(GROUPS), limits=LIMITS)
    def a_person_changes_a_group(self, name: str, limits: tuple[Any, ...]) -> None:
        most, per_key, count, rate_per_key = limits
        self.groups.set_limits(
            name,
            max_running=most,
            max_running_per_key=per_key,
            rate_count=count,
            rate_seconds=RATE_SECONDS if count else None,
            rate_per_key=rate_per_key,
        )
        self.changed_at[guard_of_group(name)] = self.clock.now()

    @rule(job=st.integers(0, 3), most=NUMBER, group=st.sampled_from(["", *GROUPS]))
    def a_person_changes_a_job(self, job: int, most: int | None, group: str) -> None:
        if group and not ConcurrencyGroup.objects.filter(name=group).exists():
            return
        key = "params.t" if group or most else ""
        self.harness.control.update_job(
            self.jobs[job], max_running=most, concurrency_group=group, concurrency_key=key
        )

    @rule(job=st.integers(0, 3), most=NUMBER, group=st.sampled_from(["", *GROUPS]))
    def sql_changes_a_job(self, job: int, most: int | None, group: str) -> None:
        rows = CronJob.objects.filter(pk=self.jobs[job])
        rows.update(max_running=most, concurrency_group=group)
        self.is_unseen = True

    @rule(job=st.integers(0, 3), policy=st.sampled_from(["allow", "queue_one", "skip"]))
    def a_person_changes_the_overlap(self, job: int, policy: str) -> None:
        try:
            self.harness.control.update_job(self.jobs[job], overlap_policy=policy)
        except InvalidJob:  # SQL has deleted the group that it names
            return

    @rule(name=st.sampled_from(GROUPS))
    def a_person_deletes_a_group(self, name: str) -> None:
        try:
            self.groups.delete(name)
        except NotPossible:
            return

    @rule(name=st.sampled_from(GROUPS))
    def sql_deletes_a_group(self, name: str) -> None:
        ConcurrencyGroup.objects.filter(name=name).delete()
        self.is_unseen = True

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def each_run_has_its_places_once(self) -> None:
        """A run that goes on has one row for each limit of its job, and no run two of one limit."""
        taken = taken_places()
        assert not [place for place, number in taken.items() if number > 1]
        if self.is_unseen:
            return
        for id_, needed in needed_places(self.running()).items():
            for guard in needed:
                assert (guard, id_) in taken, (id_, guard)

    @invariant()
    def no_row_is_of_a_state_that_its_run_is_not_in(self) -> None:
        """A run that waits in a line has its ticket there, or it would never go on."""
        waiting = JobExecution.objects.filter(in_line__isnull=False, reason_code="limit_reached")
        tickets = set(
            JobPlace.objects.filter(state=PlaceState.WAITS).values_list("execution_id", "guard_id")
        )
        for id_, guard in waiting.values_list("id", "in_line"):
            assert (id_, guard) in tickets

    # --- helpers ----------------------------------------------------------------------------------

    def running(self) -> list[JobExecution]:
        rows = JobExecution.objects.filter(status=RunStatus.RUNNING, job_id__isnull=False)
        return list(rows.select_related("job"))

    def no_limit_is_exceeded(self, started: Collection[int], now: datetime) -> None:
        """Of the limits of what has just begun. One that was made lower may be exceeded before."""
        if self.is_unseen:
            return
        running = self.running()
        needed = needed_places(running)
        groups = {guard_of_group(each.name): each for each in ConcurrencyGroup.objects.all()}
        jobs = {job.pk: job for job in CronJob.objects.all()}
        taken = taken_places()
        for id_ in started:
            for guard, place in needed[id_].items():
                here = [each for each, _ in taken if each == guard]
                of_key = JobPlace.objects.filter(
                    guard_id=guard, key_value=place.key, state=PlaceState.STARTED,
                    execution_id__in=[each for of, each in taken if of == guard],
                ).count()  # fmt: skip
                if place.group:
                    limit = groups.get(guard)
                    if limit is None:
                        continue
                    most, per_key = limit.max_running, limit.max_running_per_key
                    if limit.rate_count is not None:
                        self.no_rate_is_exceeded(limit, place, now)
                else:
                    job = jobs[guard]
                    is_of_key = bool(job.concurrency_key) and not job.concurrency_group
                    most, per_key = (
                        (None, job.max_running) if is_of_key else (job.max_running, None)
                    )
                assert most is None or len(here) <= most, (id_, place, taken)
                assert per_key is None or of_key <= per_key, (id_, place, taken)

    def no_rate_is_exceeded(self, limit: ConcurrencyGroup, place: Place, now: datetime) -> None:
        assert limit.rate_seconds is not None
        since = max(now - timedelta(seconds=limit.rate_seconds), self.changed_at[place.guard])
        starts = JobPlace.objects.filter(
            guard_id=place.guard,
            state__in=[PlaceState.STARTED, PlaceState.ENDED],
            at__gt=since,
        )
        if limit.rate_per_key:
            starts = starts.filter(key_value=place.key)
        assert starts.count() <= (limit.rate_count or 0)

    def teardown(self) -> None:
        """Nothing waits for ever: with beats and workers all runs come to their end."""
        if not hasattr(self, "leases"):
            return
        for _ in range(400):
            self.clock.advance(31)
            for beat in self.beats:
                beat.tick()
            claim = claims.Claim(owner="last", lease_seconds=LEASE_SECONDS, decide=decide)
            taken = claim.take(MostUrgent([""], 50, Floors()), self.clock.now())
            ends = [
                endings.Ending(
                    lease=each.lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.SUCCESS
                )
                for each in taken.started
            ]
            endings.end(ends, now=self.clock.now())
            if not JobExecution.objects.exclude(status__in=sorted(FINAL)).exists():
                break
        else:
            left = JobExecution.objects.exclude(status__in=sorted(FINAL))
            note(list(left.values()))
            note(list(JobPlace.objects.values()))
            raise AssertionError("some runs never end")
        assert not taken_places()
        self.clock.advance(2)
        self.beats[0].tick()
        waiting = JobPlace.objects.filter(state=PlaceState.WAITS)
        assert not waiting.exists()


def taken_places() -> Counter[tuple[int, int]]:
    """How many believed rows there are, by guard and execution."""
    attempts = dict(
        JobExecution.objects.filter(status=RunStatus.RUNNING).values_list("id", "attempt")
    )
    rows = JobPlace.objects.filter(state=PlaceState.STARTED)
    return Counter(
        (guard, id_)
        for guard, id_, attempt in rows.values_list("guard_id", "execution_id", "attempt")
        if attempts.get(id_) == attempt
    )


def needed_places(running: Collection[JobExecution]) -> dict[int, dict[int, Place]]:
    """What each of these runs needs by the columns of its job now, by guard."""
    found: dict[int, dict[int, Place]] = {}
    for row in running:
        job = row.job
        assert job is not None
        limits = JobLimits.of(job.max_running, job.concurrency_group, job.concurrency_key)
        places: tuple[Place, ...] = ()
        if limits is not None:
            may_overlap = job.overlap_policy == OverlapPolicy.ALLOW
            places = places_of(limits, job_id=job.pk, may_overlap=may_overlap, params=row.params)
        found[row.pk] = {place.guard: place for place in places}
    return found


@pytest.mark.timeout(300)
@pytest.mark.thorough
def test_any_order_of_events_keeps_the_limits(
    system: SchedulerHarness,
    quick_database: None,  # noqa: F811
):
    from hypothesis.stateful import run_state_machine_as_test

    is_slow = os.environ.get("JOBU_TEST_SLOW") == "1"  # script/test --slow
    machine = type("ThePlaces", (Places,), {"harness": system})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=(10 if connection.vendor == "sqlite" else 4) * (10 if is_slow else 1),
            stateful_step_count=40,
            # What it finds it finds in some steps, and to make these fewer takes minutes.
            phases=[Phase.explicit, Phase.generate],
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
