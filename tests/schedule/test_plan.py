"""What happens to the slots of a due job: on time, late, after a night, after a year."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.schedule import parse, slots_between
from scheduler.schedule.plan import (
    COUNTED_SKIPS,
    SLOTS_PER_PLAN,
    DueSchedule,
    Plan,
    backoff_seconds,
    first_slot,
    jitter_seconds,
    plan,
)
from scheduler.states import MisfirePolicy

NOON = datetime(2026, 1, 12, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)


def due(
    expression: str = "* * * * *", since: datetime = NOON, zone: str = "UTC", **options: Any
) -> DueSchedule:
    return DueSchedule(schedule=parse(expression, zone), next_run_at=since, **options)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- on time --------------------------------------------------------------------------------------


def test_a_slot_runs_at_the_instant_at_which_it_is_due():
    assert plan(due(), NOON) == Plan(slots=(NOON,), next_run_at=NOON + MINUTE)


def test_a_slot_runs_when_beat_looks_some_seconds_later():
    planned = plan(due(), NOON + timedelta(seconds=59))
    assert (planned.slots, planned.next_run_at) == ((NOON,), NOON + MINUTE)


def test_every_slot_within_the_grace_runs_whatever_the_policy():
    for policy in MisfirePolicy:
        late = NOON + timedelta(seconds=150)
        planned = plan(due(misfire_policy=policy, misfire_grace_seconds=150), late)
        assert planned.slots == (NOON, NOON + MINUTE, NOON + 2 * MINUTE)
        assert planned.skipped is None


def test_one_microsecond_past_the_grace_is_missed():
    late = NOON + timedelta(seconds=60) + INSTANT
    planned = plan(due("0 12 * * *", misfire_policy=MisfirePolicy.SKIP), late)
    assert planned.slots == ()
    assert planned.skipped is not None


# --- missed slots, by policy ----------------------------------------------------------------------


def test_latest_runs_the_newest_missed_slot_and_records_the_rest():
    daily = due("0 12 * * *", misfire_policy=MisfirePolicy.LATEST)
    planned = plan(daily, at("2026-01-15T18:00"))
    assert planned.slots == (at("2026-01-15T12:00"),)
    assert planned.skipped is not None
    assert (planned.skipped.count, planned.skipped.first, planned.skipped.last) == (
        3,
        NOON,
        at("2026-01-14T12:00"),
    )
    assert planned.skipped.reason == (
        "3 slots missed (2026-01-12T12:00:00Z to 2026-01-14T12:00:00Z), "
        "not run by misfire policy latest"
    )
    assert planned.next_run_at == at("2026-01-16T12:00")


def test_latest_with_one_missed_slot_skips_nothing():
    planned = plan(due("0 12 * * *"), at("2026-01-12T18:00"))
    assert (planned.slots, planned.skipped) == ((NOON,), None)


def test_latest_does_not_catch_up_beside_a_slot_that_is_on_time():
    planned = plan(due(), NOON + timedelta(minutes=10, seconds=5))
    assert planned.slots == (NOON + 10 * MINUTE,)
    assert planned.skipped is not None
    assert planned.skipped.count == 10


def test_skip_runs_nothing_that_was_missed():
    planned = plan(due("0 12 * * *", misfire_policy=MisfirePolicy.SKIP), at("2026-01-13T18:00"))
    assert planned.slots == ()
    assert planned.skipped is not None
    assert planned.skipped.count == 2


def test_all_runs_each_missed_slot_oldest_first():
    planned = plan(due("0 12 * * *", misfire_policy=MisfirePolicy.ALL), at("2026-01-14T18:00"))
    assert planned.slots == (NOON, at("2026-01-13T12:00"), at("2026-01-14T12:00"))
    assert planned.skipped is None


def test_all_keeps_the_newest_slots_up_to_max_catchup():
    daily = due("0 12 * * *", misfire_policy=MisfirePolicy.ALL, max_catchup=2)
    planned = plan(daily, at("2026-01-16T18:00"))
    assert planned.slots == (at("2026-01-15T12:00"), at("2026-01-16T12:00"))
    assert planned.skipped is not None
    assert (planned.skipped.count, planned.skipped.last) == (3, at("2026-01-14T12:00"))
    assert planned.skipped.reason.endswith("policy all beyond max_catchup 2")


def test_the_reason_of_one_skipped_slot_is_singular():
    planned = plan(due("0 12 * * *", misfire_policy=MisfirePolicy.SKIP), at("2026-01-12T18:00"))
    assert planned.skipped is not None
    assert planned.skipped.reason.startswith("1 slot missed (2026-01-12T12:00:00Z), not run")


# --- long outages and bursts ----------------------------------------------------------------------


@pytest.mark.parametrize("policy", list(MisfirePolicy))
def test_a_year_of_missed_minutes_is_planned_in_milliseconds(policy: MisfirePolicy):
    job = due(misfire_policy=policy)
    started = time.process_time()
    planned = plan(job, NOON + timedelta(days=365, seconds=5))
    elapsed = time.process_time() - started
    assert planned.skipped is not None
    assert planned.skipped.count is None
    assert planned.skipped.reason.startswith(f"more than {COUNTED_SKIPS} slots missed")
    assert planned.skipped.first == NOON
    assert elapsed < 1  # some 30 ms on an idle host


def test_a_burst_is_planned_in_chunks_and_the_job_stays_due_in_between():
    job = due("* * * * * *", misfire_grace_seconds=1000)
    now = NOON + timedelta(seconds=2 * SLOTS_PER_PLAN + 50)
    seen: list[datetime] = []
    chunks = 0
    while job.next_run_at <= now:
        planned = plan(job, now)
        assert len(planned.slots) <= SLOTS_PER_PLAN
        seen += planned.slots
        assert planned.next_run_at is not None
        job = due("* * * * * *", planned.next_run_at, misfire_grace_seconds=1000)
        chunks += 1
    assert chunks == 3
    assert seen == [NOON + timedelta(seconds=i) for i in range(2 * SLOTS_PER_PLAN + 51)]


def test_a_catch_up_longer_than_a_chunk_is_skipped_once_and_run_whole():
    catchup, now = SLOTS_PER_PLAN + 70, NOON + timedelta(minutes=1000, seconds=90)
    job = due(misfire_policy=MisfirePolicy.ALL, max_catchup=catchup)
    first = plan(job, now)
    assert first.next_run_at is not None
    second = plan(
        due(since=first.next_run_at, misfire_policy=MisfirePolicy.ALL, max_catchup=catchup), now
    )
    assert first.skipped is not None
    assert second.skipped is None
    caught_up = [*first.slots, *second.slots]
    assert len(caught_up) == catchup + 1  # and the one that is on time
    assert caught_up[0] == first.skipped.last + MINUTE
    assert second.next_run_at == NOON + 1002 * MINUTE


# --- start, end, zones ----------------------------------------------------------------------------


def test_the_last_slot_may_lie_on_the_end_itself_and_none_follows():
    planned = plan(due(end_at=NOON), NOON + timedelta(seconds=10))
    assert (planned.slots, planned.next_run_at) == ((NOON,), None)


def test_slots_after_the_end_do_not_run_when_beat_is_late():
    planned = plan(
        due(end_at=NOON + MINUTE, misfire_policy=MisfirePolicy.ALL), NOON + timedelta(hours=1)
    )
    assert planned.slots == (NOON, NOON + MINUTE)
    assert planned.next_run_at is None


def test_a_watermark_after_the_end_plans_nothing():
    assert plan(due(end_at=NOON - MINUTE), NOON) == Plan(next_run_at=None)


def test_the_first_slot_may_lie_on_the_start_itself():
    schedule = parse("* * * * *", "UTC")
    assert first_slot(schedule, NOON - timedelta(days=3), start_at=NOON) == NOON
    assert first_slot(schedule, NOON, start_at=NOON - timedelta(days=3)) == NOON + MINUTE
    assert first_slot(schedule, NOON, end_at=NOON + timedelta(seconds=59)) is None


def test_a_daily_job_in_the_spring_gap_runs_right_after_it():
    before = at("2026-03-29T00:30")
    berlin = due("30 2 * * *", at("2026-03-29T01:00"), "Europe/Berlin")
    assert first_slot(berlin.schedule, before) == at("2026-03-29T01:00")
    planned = plan(berlin, at("2026-03-29T01:00:10"))
    assert planned.slots == (at("2026-03-29T01:00"),)
    assert planned.next_run_at == at("2026-03-30T00:30")


def test_a_daily_job_in_the_repeated_hour_of_autumn_runs_once():
    berlin = due("30 2 * * *", at("2026-10-25T00:30"), "Europe/Berlin")
    planned = plan(berlin, at("2026-10-25T00:30:10"))
    assert planned.slots == (at("2026-10-25T00:30"),)
    assert planned.next_run_at == at("2026-10-26T01:30")


def test_an_hourly_wildcard_job_runs_in_both_passes_of_the_repeated_hour():
    berlin = due(
        "0 * * * *", at("2026-10-24T23:00"), "Europe/Berlin", misfire_policy=MisfirePolicy.ALL
    )
    planned = plan(berlin, at("2026-10-25T03:10"))
    assert planned.slots == tuple(at(f"2026-10-{d}:00") for d in (
        "24T23", "25T00", "25T01", "25T02", "25T03",
    ))  # fmt: skip


# --- jitter and back-off --------------------------------------------------------------------------


def test_jitter_of_a_slot_is_constant_and_spreads_jobs():
    assert jitter_seconds(7, NOON, 0) == 0
    spread = [jitter_seconds(job, NOON, 60) for job in range(500)]
    assert spread == [jitter_seconds(job, NOON, 60) for job in range(500)]
    assert min(spread) == 0
    assert max(spread) == 60
    assert len(set(spread)) > 55


@given(st.integers(-5, 10**9), st.integers(0, 86_400), st.integers(0, 604_800), st.floats(0, 0.999))
def test_back_off_is_never_negative_and_never_beyond_its_bound(
    failures: int, base: int, longest: int, luck: float
):
    delay = backoff_seconds(failures, base, longest, lambda: luck)
    assert 0 <= delay <= 1.2 * longest


def test_back_off_doubles_from_the_first_failure():
    waits = [backoff_seconds(n, 30, 3600, lambda: 0.5) for n in range(1, 10)]
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


# --- properties -----------------------------------------------------------------------------------

EXPRESSIONS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "0 */3 * * *", "30 2 * * *", "0 12 * * 1-5", "*/10 * * * * *",
     "15 1,2,3 * * *", "0 0 1 * *"]
)  # fmt: skip
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
INSTANTS = st.datetimes(
    min_value=NOON.replace(tzinfo=None),
    max_value=NOON.replace(year=2027, tzinfo=None),
    timezones=st.just(UTC),
)


@given(
    expression=EXPRESSIONS,
    zone=ZONES,
    start=INSTANTS,
    late=st.one_of(st.integers(0, 120), st.integers(0, 40_000)),
    policy=st.sampled_from(list(MisfirePolicy)),
    grace=st.sampled_from([0, 1, 60, 3600, 100_000]),
    max_catchup=st.sampled_from([0, 1, 5, 100, 10_000]),
    end_after=st.one_of(st.none(), st.integers(0, 50_000)),
)
def test_every_slot_is_recorded_or_skipped_exactly_once(
    expression: str,
    zone: str,
    start: datetime,
    late: int,
    policy: MisfirePolicy,
    grace: int,
    max_catchup: int,
    end_after: int | None,
):
    schedule = parse(expression, zone)
    watermark = schedule.next_after(start)
    assert watermark is not None
    now = watermark + timedelta(seconds=late, microseconds=late)
    end_at = None if end_after is None else watermark + timedelta(seconds=end_after)

    recorded: list[datetime] = []
    skipped: list[datetime] = []
    next_run_at: datetime | None = watermark
    for _ in range(100):
        if next_run_at is None or next_run_at > now:
            break
        planned = plan(
            DueSchedule(
                schedule=schedule,
                next_run_at=next_run_at,
                misfire_policy=policy,
                misfire_grace_seconds=grace,
                max_catchup=max_catchup,
                end_at=end_at,
            ),
            now,
        )
        recorded += planned.slots
        if planned.skipped is not None:
            gap = slots_between(
                schedule, planned.skipped.first - INSTANT, planned.skipped.last, 100_000
            )
            assert planned.skipped.count in (None, len(gap))
            skipped += gap
        assert planned.next_run_at is None or planned.next_run_at > next_run_at
        next_run_at = planned.next_run_at
    assert next_run_at is None or next_run_at > now

    until = min(now, end_at) if end_at else now
    expected = slots_between(schedule, watermark - INSTANT, until, 100_000)
    assert sorted(recorded + skipped) == expected
    if policy == MisfirePolicy.SKIP:
        assert all(slot >= now - timedelta(seconds=grace) for slot in recorded)
    if end_at is None:
        assert next_run_at == schedule.next_after(now)
