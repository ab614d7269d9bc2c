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


def looks(expected: Expected, clock: StillClock, *, found_at: float = math.inf) -> list[float]:
    """The seconds after the slot at which it looks; from `found_at` on a look finds the runs."""
    slot, seen = clock.seconds + 0.03, []
    while (at := expected.next_look()) < math.inf:
        clock.seconds = max(clock.seconds, at)
        seen.append(round(clock.seconds - slot, 4))
        expected.looked(found=seen[-1] >= found_at)
        assert len(seen) < 100
    return seen


def test_nothing_announced_is_nothing_to_look_for(clock: StillClock):
    expected = Expected(clock)
    assert expected.next_look() == math.inf
    expected.looked(found=False)
    assert expected.next_look() == math.inf


def test_it_looks_until_it_has_found_the_runs(clock: StillClock):
    expected = Expected(clock)
    expected.announce(START + timedelta(seconds=0.03))
    assert looks(expected, clock, found_at=0.006) == [0.003, 0.005, 0.007]


def test_it_does_not_look_for_ever(clock: StillClock):
    expected = Expected(clock)
    expected.announce(START + timedelta(seconds=0.03))
    seen = looks(expected, clock)
    assert seen[-1] == pytest.approx(0.024, abs=0.0015)


def test_a_look_before_the_slot_changes_nothing(clock: StillClock):
    expected = Expected(clock)
    expected.announce(START + timedelta(seconds=0.03))
    assert expected.next_look() == pytest.approx(clock.seconds + 0.033)
    expected.looked(found=True)
    assert expected.next_look() == pytest.approx(clock.seconds + 0.033)


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
