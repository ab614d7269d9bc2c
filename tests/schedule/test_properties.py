"""Laws of slots over zones, years and expressions, held against the oracle that walks every minute.

JOBU_HYPOTHESIS_EXAMPLES=2000 looks for longer, and elsewhere each time; without it runs repeat.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from scheduler.schedule import (
    CronNeverFiresError,
    CronSchedule,
    ScheduleError,
    check_interval,
    parse,
    slots_between,
)
from scheduler.schedule.expression import MAX_EXPRESSION_LENGTH
from tests.oracles import Expression, debian_slots, random_expression, slots_in_utc

SECOND = timedelta(seconds=1)
EXAMPLES = os.environ.get("JOBU_HYPOTHESIS_EXAMPLES")

moderate = settings(
    max_examples=int(EXAMPLES or 60),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# Instants at which a zone's clock changes, each odd in its own way.
EDGES = [
    ("Europe/Berlin", "2024-03-31T01:00"),
    ("Europe/Berlin", "2027-10-31T01:00"),
    ("Europe/Dublin", "2026-10-25T01:00"),  # its DST is negative, in winter
    ("America/New_York", "2025-03-09T07:00"),
    ("America/New_York", "2028-11-05T06:00"),
    ("America/St_Johns", "2026-03-08T05:30"),  # offset of half an hour
    ("America/Havana", "2026-03-08T05:00"),  # midnight is missing
    ("America/Havana", "2026-11-01T05:00"),
    ("America/Santiago", "2026-09-06T04:00"),  # midnight is missing
    ("America/Santiago", "2026-04-05T03:00"),  # the last hour of Saturday comes twice
    ("America/Caracas", "2016-05-01T07:00"),  # half an hour once and for all
    ("Australia/Lord_Howe", "2026-10-03T15:30"),  # half an hour of DST
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Pacific/Chatham", "2026-04-04T14:00"),  # changes at a quarter to
    ("Pacific/Chatham", "2026-09-26T14:00"),
    ("Africa/Casablanca", "2026-02-15T02:00"),  # out of and into Ramadan
    ("Africa/Casablanca", "2026-03-22T02:00"),
    ("Africa/Cairo", "2026-10-29T21:00"),
    ("Antarctica/Troll", "2026-03-29T01:00"),  # two hours of DST
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Antarctica/Casey", "2018-03-10T18:00"),  # three hours back: caught up with
    ("Antarctica/Casey", "2018-10-06T21:00"),  # three hours on: a changed clock
    ("Antarctica/Vostok", "1994-01-31T17:00"),  # seven hours back: a changed clock
    ("Pacific/Apia", "2011-12-30T10:00"),  # a whole day is missing
    ("Asia/Pyongyang", "2018-05-04T15:00"),
    ("Asia/Seoul", "1988-05-07T17:00"),  # DST for the Olympic Games
    ("Asia/Seoul", "2028-02-28T15:00"),
    ("UTC", "2028-02-29T00:00"),
]


def _edge(edge: tuple[str, str]) -> tuple[str, datetime]:
    return edge[0], datetime.fromisoformat(edge[1]).replace(tzinfo=UTC)


@st.composite
def expressions(draw: st.DrawFn, *, seconds: bool = False) -> str:
    text = random_expression(lambda sequence: draw(st.sampled_from(sequence)), seconds=seconds)
    assume(len(text) <= MAX_EXPRESSION_LENGTH)
    return text


def schedule_or_reject(text: str, zone: str) -> CronSchedule:
    try:
        return parse(text, zone)
    except CronNeverFiresError:
        assume(False)
        raise


def edges() -> st.SearchStrategy[tuple[str, datetime]]:
    return st.sampled_from(EDGES).map(_edge)


def instants() -> st.SearchStrategy[datetime]:
    return st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@moderate
@given(expressions(), edges())
def test_slots_around_a_clock_change_are_those_of_debian_cron(text, edge):
    zone, change = edge
    start, end = change - timedelta(hours=30), change + timedelta(hours=30)
    schedule = schedule_or_reject(text, zone)

    forwards = slots_between(schedule, start - SECOND, end - SECOND, 5000)
    backwards = _walk_back(schedule, start - SECOND, end - SECOND)

    assert forwards == debian_slots(text, zone, start, end)
    assert backwards == forwards


@moderate
@given(expressions(seconds=True), edges())
def test_slots_with_seconds_around_a_clock_change_are_those_of_debian_cron(text, edge):
    zone, change = edge
    start, end = change - timedelta(minutes=70), change + timedelta(minutes=70)
    schedule = schedule_or_reject(text, zone)
    expected = debian_slots(text, zone, start, end)
    assume(len(expected) <= 2000)

    forwards = slots_between(schedule, start - SECOND, end - SECOND, 5000)
    backwards = _walk_back(schedule, start - SECOND, end - SECOND)

    assert forwards == expected
    assert backwards == forwards


@pytest.mark.parametrize("seed", range(4))
def test_random_expressions_agree_with_debian_cron(seed):
    random = Random(seed)
    rounds = int(EXAMPLES or 50)
    for _ in range(rounds):
        text = random_expression(random.choice)
        zone, change = _edge(random.choice(EDGES))
        start, end = change - timedelta(hours=26), change + timedelta(hours=26)
        try:
            schedule = parse(text, zone)
        except CronNeverFiresError:
            assert not slots_in_utc(text, date(2001, 1, 1), date(2028, 12, 31)), text
            continue

        slots = slots_between(schedule, start - SECOND, end - SECOND, 5000)

        assert slots == debian_slots(text, zone, start, end), (text, zone)


@settings(moderate, max_examples=int(EXAMPLES or 25))
@given(expressions(), st.integers(1990, 2090))
def test_days_over_four_years_are_those_that_match_one_by_one(text, year):
    day_fields = " ".join(text.split()[2:])
    text = f"0 0 {day_fields}"
    schedule = schedule_or_reject(text, "UTC")
    first, last = date(year, 1, 1), date(year + 3, 12, 31)
    after, until = datetime(year - 1, 12, 31, 23, tzinfo=UTC), datetime(year + 4, 1, 1, tzinfo=UTC)

    forwards = slots_between(schedule, after, until - SECOND, 5000)
    backwards = _walk_back(schedule, after, until - SECOND)

    assert forwards == slots_in_utc(text, first, last)
    assert backwards == forwards


@moderate
@given(expressions(), st.sampled_from([zone for zone, _ in EDGES]), instants())
def test_slots_rise_strictly_and_backwards_mirrors_forwards(text, zone, instant):
    schedule = schedule_or_reject(text, zone)

    slots = slots_between(schedule, instant, datetime(2200, 1, 1, tzinfo=UTC), 5)

    assert all(a < b for a, b in pairwise([instant, *slots]))
    for earlier, later in pairwise(slots):
        assert schedule.last_until(later) == later
        assert schedule.last_until(later - SECOND) == earlier
        assert schedule.last_until(later - timedelta(microseconds=1)) == earlier
        assert schedule.next_after(earlier) == later
        assert schedule.next_after(earlier + timedelta(microseconds=1)) == later


@moderate
@given(expressions(), instants())
def test_last_until_is_the_newest_slot_at_or_before(text, instant):
    schedule = schedule_or_reject(text, "America/Santiago")

    newest = schedule.last_until(instant)

    if newest is not None:
        following = schedule.next_after(newest)
        assert newest <= instant
        assert following is None or following > instant


@moderate
@given(expressions(), instants())
def test_slots_are_whole_seconds_in_utc(text, instant):
    slot = schedule_or_reject(text, "Pacific/Chatham").next_after(instant)

    assert slot is not None
    assert slot.tzinfo is UTC
    assert slot.microsecond == 0
    assert slot.fold == 0


@moderate
@given(expressions(seconds=True), st.integers(1, 7200), instants())
def test_interval_that_passes_the_check_is_never_undercut(text, minimum_seconds, instant):
    schedule = schedule_or_reject(text, "UTC")
    slots = slots_between(schedule, instant, datetime(2200, 1, 1, tzinfo=UTC), 100)
    shortest = min((b - a for a, b in pairwise(slots)), default=None)

    try:
        check_interval(schedule, minimum_seconds, instant)
    except ScheduleError:
        return

    assert shortest is None or shortest >= timedelta(seconds=minimum_seconds)


@settings(moderate, max_examples=int(EXAMPLES or 15))
@given(expressions(), st.integers(2020, 2040))
def test_shortest_interval_is_one_that_occurs(text, year):
    schedule = schedule_or_reject(text, "UTC")
    found = schedule.shortest_interval_seconds(10**9)
    assume(found <= 7 * 86400)

    days = Expression(text)
    first = date(year, 1, 1)
    matching = [n for n in range(28 * 365 + 7) if days.matches_day(first + timedelta(days=n))]
    near = min((b - a for a, b in pairwise(matching)), default=10**6)
    minutes = [hour * 60 + minute for hour in days.hours for minute in days.minutes]
    minutes.append(minutes[0] + near * 24 * 60)

    assert found == 60 * min(b - a for a, b in pairwise(minutes))


@moderate
@given(
    st.text(max_size=120) | st.text(alphabet="*/-,#?LlWRHh0123456789 @\n\t\0monjan", max_size=60)
)
def test_any_text_is_a_schedule_or_a_schedule_error(text):
    error = _error_of(text, "Asia/Seoul")

    if error is None:
        schedule = parse(text, "Asia/Seoul")
        assert schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None
    else:
        assert error.field == "cron_expression"
        assert error.reason.isprintable()


@moderate
@given(st.text(max_size=80))
def test_any_text_is_a_zone_or_a_schedule_error(name):
    error = _error_of("* * * * *", name)

    assert error is None or (error.field == "timezone" and error.reason.isprintable())


@moderate
@given(expressions(), instants())
@pytest.mark.timeout(300)
def test_cronsim_agrees_in_utc(text, instant):
    minute, hour, dom, month, dow = text.split()
    # cronsim 2.8 knows no `L5`, reads `9-9/2` as `9/2`, and goes on to 7 for `1/2` in weekdays.
    assume("L" not in dow and "/" not in dow)
    for item in (item for part in (minute, hour, dom, month) for item in part.split(",")):
        span, _, step = item.partition("/")
        low, _, high = span.partition("-")
        assume(not (step and low == high))
    try:
        simulated = CronSim(text, instant)
    except CronSimError:
        assume(False)
        raise
    schedule = schedule_or_reject(text, "UTC")

    assert slots_between(schedule, instant, datetime(2300, 1, 1, tzinfo=UTC), 3) == [
        next(simulated) for _ in range(3)
    ]


def _error_of(text: str, zone: str) -> ScheduleError | None:
    try:
        parse(text, zone)
    except ScheduleError as error:
        return error
    return None


def _walk_back(schedule: CronSchedule, after: datetime, until: datetime) -> list[datetime]:
    slots = []
    slot = schedule.last_until(until)
    while slot is not None and slot > after:
        slots.append(slot)
        slot = schedule.last_until(slot - SECOND)
    return slots[::-1]
