"""Limits of runs that go on at once, and of starts in a span: the rules alone."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from scheduler.concurrency import (
    LONGEST_KEY,
    JobLimits,
    Next,
    Place,
    Room,
    Starts,
    Terms,
    guard_of_group,
    in_turn,
    key_of,
    path_parts,
    places_of,
)
from scheduler.states import ReasonCode
from tests.harness.scheduler_harness import START

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("params", "path", "key"),
    [
        ({"tenant": "a"}, "params.tenant", ("a", "")),
        ({"tenant": {"id": 7}}, "params.tenant.id", ("7", "")),
        ({"tenant": True}, "params.tenant", ("true", "")),
        ({"tenant": ""}, "params.tenant", ("", "")),
        ({}, "params.tenant", ("", "absent")),
        ({"tenant": None}, "params.tenant", ("", "absent")),
        ({"tenant": "a"}, "params.tenant.id", ("", "absent")),
        ({"tenant": ["a"]}, "params.tenant", ("", "not_scalar")),
        ("no object", "params.tenant", ("", "absent")),
    ],
)
def test_the_key_is_the_text_of_the_value(params: Any, path: str, key: tuple[str, str]):
    assert key_of(params, path) == key


@pytest.mark.parametrize("text", ["x" * 201, "a\x00b", "\ud800"])
def test_a_key_that_cannot_be_stored_is_shortened_and_stays_distinct(text: str):
    found, why = key_of({"k": text}, "params.k")
    other, _ = key_of({"k": text + "y"}, "params.k")
    assert why == "shortened"
    assert found != other
    assert len(found) <= LONGEST_KEY
    found.encode()


def test_paths():
    assert path_parts("params.a.b") == ["a", "b"]
    for text in ("params", "params.", "a.b", "params.a b", "params..a", ""):
        assert path_parts(text) is None


def test_a_run_needs_the_place_of_its_job_before_that_of_the_group():
    limits = JobLimits(max_running=2, group="dwh", key_path="params.t")
    own, group = places_of(limits, job_id=5, may_overlap=True, params={"t": "x"})
    assert (own.guard, own.key, own.group) == (5, "", "")
    assert (group.guard, group.key, group.group) == (guard_of_group("dwh"), "x", "dwh")
    assert group.guard.bit_length() <= 63
    # Without a group the key divides the job; a job that must not overlap needs no limit.
    alone = JobLimits(max_running=2, key_path="params.t")
    (only,) = places_of(alone, job_id=5, may_overlap=True, params={"t": "x"})
    assert (only.guard, only.key) == (5, "x")
    assert places_of(alone, job_id=5, may_overlap=False, params={"t": "x"}) == ()


def test_newcomers_wait_behind_those_that_were_let_go_on():
    room = Room(terms=Terms(max_running=2), running=Counter(a=1), next={7: Next(key="a", at=START)})
    place = Place(guard=1, key="a")
    refused = room.refusal(place, 8, START)
    assert refused is not None
    assert (refused.code, refused.facts["limit"]) == (ReasonCode.LIMIT_REACHED, 2)
    assert room.refusal(place, 7, START) is None


def test_keys_take_turns():
    room = Room(terms=Terms(max_running=5, max_running_per_key=2))
    lines = {"b": [11, 12, 13, 14], "c": [21], "a": [1, 2]}
    going = in_turn(lines, room, most=room.places(START), now=START)
    assert [id_ for id_, _ in going] == [11, 21, 1, 12, 2]
    assert room.places(START) == 0


def starts_of(starts: list[tuple[str, datetime]], key: str | None, others: int) -> Starts:
    """As the store answers: it skips as many as it may."""
    found = sorted((at for of, at in starts if key in (None, of)), reverse=True)
    skipped = max(0, 3 - others - 1)
    return Starts(skipped, found[skipped:3])


@pytest.mark.parametrize("per_key", [False, True])
def test_no_window_has_more_starts_than_the_rate_whoever_asks_when(per_key: bool):
    """Newcomers and runs that were let go on, by clocks that differ, over many seeds."""
    for seed in range(30):
        dice = random.Random(seed)
        terms = Terms(rate_count=3, rate_seconds=10, rate_per_key=per_key)
        starts: list[tuple[str, datetime]] = []
        waiting: dict[int, Next] = {}
        now = START
        for ids in range(200):
            now += timedelta(seconds=dice.random() * 2)
            seen = now + timedelta(seconds=dice.uniform(-1, 1))  # a worker's clock
            known = [(of, at) for of, at in starts if at > seen - 10 * SECOND]
            room = Room(terms=terms, next=dict(waiting), starts=partial(starts_of, known))
            key = dice.choice("ab")
            due = [id_ for id_, next_ in waiting.items() if next_.at <= seen]
            id_ = dice.choice(due) if due and dice.random() < 0.7 else ids
            key = waiting[id_].key if id_ in waiting else key
            place = Place(guard=1, key=key)
            if room.refusal(place, id_, seen) is None:
                room.begin(place, seen)
                starts.append((key, seen))
                waiting.pop(id_, None)
            elif (at := room.instant_for(key, seen)) is not None:
                waiting[id_] = Next(key=key, at=at)
        assert len(starts) > 20
        for scope in "ab" if per_key else (None,):
            instants = sorted(at for of, at in starts if scope in (None, of))
            for first, fourth in zip(instants, instants[3:], strict=False):
                assert fourth - first >= 10 * SECOND, seed
