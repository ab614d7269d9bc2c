"""Limits while workers claim and end, people cancel and edit, and two beats look: all at once."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from scheduler.models import ConcurrencyGroup, CronJob, JobExecution, JobPlace
from scheduler.operations.control import Control
from scheduler.operations.errors import NotPossible
from scheduler.operations.groups import GroupControl
from scheduler.states import FINAL, AttemptOutcome, PlaceState, RunStatus
from scheduler.store import claims, endings, limited_jobs, places
from scheduler.store.claims import Claimed, Floors, MostUrgent
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START, FakeClock, SchedulerHarness
from tests.scheduler.test_races import together

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

MOST = 3
RUNS = 60
GOING_ON = """
SELECT j.id, j.concurrency_group, e.params FROM job_executions e
  JOIN cron_jobs j ON j.id = e.job_id WHERE e.status = 'RUNNING'
"""


class RealClock(FakeClock):
    """Goes on by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()

    def now(self) -> datetime:
        return START + timedelta(seconds=time.monotonic() - self._began)


@pytest.mark.timeout(180)
def test_limits_hold_while_people_and_beats_interfere(system: SchedulerHarness):
    seed = int(os.environ.get("JOBU_TEST_SEED") or random.randrange(1 << 30))
    print(f"JOBU_TEST_SEED={seed}")
    clock = RealClock()
    for name in ("a", "b"):
        ConcurrencyGroup.objects.create(name=name, max_running=2)
    jobs = [
        system.job(
            is_enabled=False, handler_name="ok", concurrency_group=group, max_running=most,
            concurrency_key="params.t",
        )
        for group, most in (("a", None), ("a", 2), ("b", 1), ("b", None))
    ]  # fmt: skip
    for number in range(RUNS):
        system.execution(jobs[number % 4], params={"t": number % 5})
    most: Counter[str] = Counter()
    broken: list[Any] = []
    is_over = threading.Event()

    def look() -> None:
        """In one snapshot: a statement. The limits are never higher than MOST."""
        with connection.cursor() as cursor:
            cursor.execute(GOING_ON)
            found = cursor.fetchall()
        counts = Counter(name for _, name, _ in found)
        counts += Counter(f"job {id_}" for id_, _, _ in found if id_ in (jobs[1].pk, jobs[2].pk))
        for name, number in counts.items():
            most[name] = max(most[name], number)
        if any(number > MOST for number in counts.values()):
            broken.append(found)

    def work(mine: random.Random) -> Callable[[], None]:
        def worker() -> None:
            until, idle = time.monotonic() + 60, 0
            while idle < 30 and time.monotonic() < until:
                claim = claims.Claim(owner="worker", lease_seconds=600, decide=decide)
                taken = claim.take(MostUrgent([""], mine.randint(1, 5), Floors()), clock.now())
                look()
                end(list(taken.started))
                idle = 0 if taken.started else idle + 1
                if not taken.started:
                    is_over.wait(0.02)
            is_over.set()

        def end(begun: list[Claimed]) -> None:
            endings.end(
                [
                    endings.Ending(
                        lease=each.lease,
                        outcome=AttemptOutcome.RELEASED if back else AttemptOutcome.SUCCESS,
                        status=RunStatus.PENDING if back else RunStatus.SUCCESS,
                    )
                    for each in begun
                    for back in [mine.random() < 0.2]
                ],
                now=clock.now(),
            )

        return worker

    def person(mine: random.Random) -> Callable[[], None]:
        def act() -> None:
            control, groups = Control(clock=clock), GroupControl(clock=clock)
            while not is_over.wait(mine.random() * 0.05):
                match mine.randrange(4):
                    case 0:
                        groups.set_limits(mine.choice("ab"), max_running=mine.randint(1, MOST))
                    case 1:
                        job = mine.choice((jobs[1], jobs[2]))
                        control.update_job(job.pk, max_running=mine.randint(1, MOST))
                    case 2:
                        CronJob.objects.filter(pk=jobs[2].pk).update(max_running=mine.randint(1, 3))
                    case _:
                        rows = JobExecution.objects.exclude(status__in=sorted(FINAL))
                        ids = list(rows.values_list("id", flat=True))
                        try:
                            control.cancel_all(mine.sample(ids, min(2, len(ids))))
                        except NotPossible:
                            continue

        return act

    def beat() -> None:
        while not is_over.wait(0.05):
            limited_jobs.count_going_on(clock.now())
            places.release_awaited(clock.now())

    parts = [random.Random(seed + number) for number in range(4)]
    together(work(parts[0]), work(parts[1]), work(parts[2]), person(parts[3]), beat, beat)
    assert not broken, (seed, broken)
    # What is left goes on when nobody interferes any more.
    for _ in range(200):
        places.release_awaited(clock.now() + timedelta(seconds=30))
        claim = claims.Claim(owner="last", lease_seconds=600, decide=decide)
        taken = claim.take(MostUrgent([""], 50, Floors()), clock.now() + timedelta(seconds=30))
        endings.end(
            [
                endings.Ending(
                    lease=each.lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.SUCCESS
                )
                for each in taken.started
            ],
            now=clock.now(),
        )
        if not JobExecution.objects.exclude(status__in=sorted(FINAL)).exists():
            break
    left = list(JobExecution.objects.exclude(status__in=sorted(FINAL)).values())
    assert not left, (seed, left, list(JobPlace.objects.values()))
    assert JobExecution.objects.count() == RUNS
    assert most["a"] >= 2  # they were used at all
    assert not JobPlace.objects.filter(state=PlaceState.NEXT).exists()
