"""The database's clock goes back, jumps, stands still or differs: said, and no row is absurd."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.test import Client

from scheduler import clock as clocks
from scheduler.admin.liveness import missing_parts
from scheduler.beat.clock_watch import ClockWatch
from scheduler.models import JobAttempt, JobExecution
from scheduler.operations.liveness import ClockState, liveness
from scheduler.states import AttemptOutcome, ReasonCode, RunStatus
from scheduler.store import endings, overlap, runs
from scheduler.store.connection import database_now
from scheduler.store.endings import Ending
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh


class Readings:
    """A database's clock and a host's clock, which go on together until a test moves one."""

    def __init__(self) -> None:
        self.database = self.host = START
        self.elapsed = 0.0
        self.watch = ClockWatch(host_now=lambda: self.host, since_boot=lambda: self.elapsed)

    def look(self, *, step: float = 0, is_still: bool = False) -> ClockState:
        """Five seconds later. `step`: the database's clock has moved by so much in between."""
        self.elapsed += 5
        self.host += timedelta(seconds=5)
        self.database += timedelta(seconds=step + (0 if is_still else 5))
        return self.watch.look(self.database)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(each, "event", "") for each in caplog.records]


@pytest.mark.django_db
def test_beat_says_once_that_the_clock_went_back_and_once_that_it_is_right(
    caplog: pytest.LogCaptureFixture,
):
    clock = Readings()
    with caplog.at_level(logging.INFO, logger="scheduler"):
        assert clock.look() == ClockState.OK
        assert clock.look(step=-3600) == ClockState.BEHIND
        assert clock.look() == ClockState.BEHIND
        assert clock.look(step=3600) == ClockState.OK
    assert told(caplog) == ["clock.behind", "clock.jumped", "clock.right"]


@pytest.mark.django_db
def test_beat_says_that_the_clock_stands_still_and_that_it_jumped_ahead(
    caplog: pytest.LogCaptureFixture,
):
    clock = Readings()
    with caplog.at_level(logging.INFO, logger="scheduler"):
        found = [clock.look(is_still=number > 0) for number in range(4)]
        assert found == [ClockState.OK, ClockState.OK, ClockState.DIFFERS, ClockState.DIFFERS]
        clock.look(step=3600)
    assert told(caplog) == ["clock.differs", "clock.jumped"]
    # Long enough for those who look now and then.
    clock.look()
    assert clock.watch.jumped_seconds == 3600
    clock.elapsed += 61
    assert clock.watch.jumped_seconds == 0


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_health_figures_and_pages_say_that_the_clock_is_wrong(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    assert Client().get("/health").json()["clock"] == "ok"
    real = clocks.host_now
    monkeypatch.setattr(clocks, "host_now", lambda: real() + timedelta(seconds=60))
    assert Client().get("/health").json()["clock"] == "differs"
    now = database_now()
    assert liveness(now).clock == ClockState.DIFFERS
    assert any("differs by -60 s" in text for text in missing_parts(now))

    # A row says what the clock has shown before.
    system.execution(created_at=now + timedelta(hours=1))
    assert Client().get("/health").json()["clock"] == "behind"
    assert round(liveness(now).clock_behind_seconds) == 3600
    assert any("stands 3600 s before" in text for text in missing_parts(now))


def claimed(system: SchedulerHarness) -> tuple[JobExecution, runs.Lease]:
    row = system.execution()
    return row, system.claim(row)


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_no_run_ends_before_it_began_when_the_clock_goes_back(system: SchedulerHarness):
    finished, lease = claimed(system)
    handed_back = [claimed(system) for _ in range(3)]
    for _, other in handed_back:
        released = Ending(lease=other, outcome=AttemptOutcome.RELEASED, status=RunStatus.PENDING)
        assert endings.end([released], now=system.clock.now())
    (cancelled, _), (skipped, _), (given_up, _) = handed_back

    system.clock.advance(-3600)
    now = system.clock.now()
    success = Ending(lease=lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.SUCCESS)
    assert endings.end([success], now=now)
    assert system.control.cancel(cancelled.pk)
    facts = {"running": 1}
    code = ReasonCode.OVERLAP_RUNNING
    assert overlap.skip([skipped.pk], now=now, reason="skipped", code=code, facts=facts)
    assert overlap.cancel_waiting([given_up.pk], now=now, reason="newer", code=code, facts=facts)

    for row in (finished, cancelled, skipped, given_up):
        ended = fresh(row)
        assert ended.started_at is not None
        assert ended.finished_at == ended.started_at, ended.status
    assert all(each.started_at <= each.ended_at for each in JobAttempt.objects.all())
