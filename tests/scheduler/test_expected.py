"""The looks of a worker around a slot that beat has announced."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.wakeup_messages import SLOT_HEADER, slot_of
from scheduler.worker.expected import Expected
from tests.harness.scheduler_harness import START


class StillClock:
    """Both readings stand until a test moves them."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 1_000)

    estimate = now

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def looks(expected: Expected, clock: StillClock, *, there_at: float = math.inf) -> list[float]:
    """The seconds after a slot at which it looks; the runs are there from `there_at` on."""
    slot, seen = clock.seconds + 0.03, []
    expected.announce(clock.now() + timedelta(seconds=0.03))
    while (at := expected.next_look()) < math.inf:
        clock.seconds = max(clock.seconds, at)
        seen.append(round(clock.seconds - slot, 4))
        expected.looked(clock.seconds, found=seen[-1] >= there_at)
        assert len(seen) < 100
    return seen


def test_nothing_announced_is_nothing_to_look_for(clock: StillClock):
    expected = Expected(clock)
    assert expected.next_look() == math.inf
    expected.looked(clock.seconds, found=False)
    assert expected.next_look() == math.inf


def test_it_looks_until_it_has_found_the_runs(clock: StillClock):
    assert looks(Expected(clock), clock, there_at=0.003) == [0.001, 0.0025, 0.004]


def test_it_does_not_look_for_ever(clock: StillClock):
    seen = looks(Expected(clock), clock)
    assert 10 < len(seen) < 20
    assert seen[-1] <= 0.025


def test_the_first_look_comes_when_the_runs_were_there_before(clock: StillClock):
    expected = Expected(clock)
    seen = [looks(expected, clock, there_at=0.0103) for _ in range(100)]
    assert all(0.009 <= first <= 0.0113 for first, *_ in seen[20:])
    assert sum(len(each) == 1 for each in seen[20:]) > 50
    # Beat has become faster.
    assert looks(expected, clock, there_at=0.001)[0] >= 0.009
    for _ in range(30):
        (first,) = looks(expected, clock, there_at=0.001)
    assert first == 0.001


def test_a_look_before_the_slot_changes_nothing(clock: StillClock):
    expected = Expected(clock)
    expected.announce(START + timedelta(seconds=0.03))
    assert expected.next_look() == pytest.approx(clock.seconds + 0.031)
    expected.looked(clock.seconds, found=True)
    assert expected.next_look() == pytest.approx(clock.seconds + 0.031)


def test_a_message_may_be_faster_than_the_first_look(clock: StillClock):
    expected = Expected(clock)
    expected.announce(START + timedelta(seconds=0.03))
    expected.next_look()
    clock.seconds += 0.032
    expected.looked(clock.seconds, found=True)
    assert expected.next_look() == math.inf


@pytest.mark.parametrize("seconds", [-60, -1.5, 1.5, 3_600, 10**9])
def test_an_instant_that_is_not_near_is_not_waited_for(clock: StillClock, seconds: float):
    expected = Expected(clock)
    expected.announce(START + timedelta(seconds=seconds))
    assert expected.next_look() == math.inf


@pytest.mark.parametrize(
    "value", [None, "soon", "1e3", [], {}, math.nan, math.inf, -math.inf, 10**30, -(10**30)]
)
def test_a_header_that_is_no_instant_announces_nothing(value: object):
    assert slot_of({SLOT_HEADER: value}) is None
    assert slot_of({}) is None


def test_the_header_is_seconds_since_1970():
    assert slot_of({SLOT_HEADER: 1_768_212_030.5}) == datetime(
        2026, 1, 12, 10, 0, 30, 500_000, tzinfo=UTC
    )
