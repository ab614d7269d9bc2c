"""Properties of slots over zones, years and expressions. The slow oracles have the last word."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.schedule import (
    CronNeverFiresError,
    CronSchedule,
    ScheduleError,
    check_interval,
    parse,
    slots_between,
)
from tests.harness.oracles import Expression, debian_slots, slots_in_utc
from tests.schedule.generated import examples, expressions, walk_back

SECOND = timedelta(seconds=1)

# Clock changes, each with a peculiarity, and two leap days.
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
    ("America/Caracas", "2016-05-01T07:00"),  # half an hour, for ever
    ("Australia/Lord_Howe", "2026-10-03T15:30"),  # half an hour of DST
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Pacific/Chatham", "2026-04-04T14:00"),  # changes at a quarter to
    ("Pacific/Chatham", "2026-09-26T14:00"),
    ("Africa/Casablanca", "2026-02-15T02:00"),  # out of and into Ramadan
    ("Africa/Casablanca", "2026-03-22T02:00"),
    ("Africa/Cairo", "2026-10-29T21:00"),
    ("Antarctica/Troll", "2026-03-29T01:00"),  # two hours of DST
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Antarctica/Casey", "2018-03-10T17:00"),  # three hours back: still DST
    ("Antarctica/Casey", "2018-10-06T20:00"),  # three hours forward: a corrected clock
    ("Antarctica/Vostok", "1994-01-31T17:00"),  # seven hours back: a corrected clock
    ("Pacific/Apia", "2011-12-30T10:00"),  # a whole day is missing
    ("Asia/Pyongyang", "2018-05-04T15:00"),
    ("Asia/Seoul", "1988-05-07T17:00"),  # DST for the Olympic Games
    ("Asia/Seoul", "2028-02-28T15:00"),
    ("UTC", "2028-02-29T00:00"),
]


def _edge(edge: tuple[str, str]) -> tuple[str, datetime]:
    return edge[0], datetime.fromisoformat(edge[1]).replace(tzinfo=UTC)


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


@st.composite
def expressions_at_edges(
    draw: st.DrawFn, *, seconds: bool = False
) -> tuple[str, tuple[str, datetime]]:
    """Draws an expression and a clock change. Most expressions name an hour close to the change."""
    text, (zone, change) = draw(expressions(seconds=seconds)), draw(edges())
    if draw(st.integers(0, 3)):
        *clock, _hour, _day, _month, _weekday = text.split()
        before = (change - SECOND).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        near = before + timedelta(hours=draw(st.integers(-3, 4)))
        text = " ".join([*clock, str(near.hour), "* * *"])
    return text, (zone, change)


def window(text: str, change: datetime, many: timedelta) -> tuple[datetime, datetime]:
    """Returns a window around `change`: days for few slots, `many` for an expression with many."""
    expression = Expression(text)
    per_day = len(expression.hours) * len(expression.minutes) * len(expression.seconds)
    half = timedelta(hours=30) if per_day <= 200 else many
    return change - half, change + half


@examples(100)
@given(expressions_at_edges())
def test_slots_around_a_clock_change_are_those_of_debian_cron(drawn):
    text, (zone, change) = drawn
    start, end = window(text, change, timedelta(hours=4))
    schedule = schedule_or_reject(text, zone)

    forwards = slots_between(schedule, start - SECOND, end - SECOND, 5000)
    backwards = walk_back(schedule, start - SECOND, end - SECOND)

    assert forwards == debian_slots(text, zone, start, end)
    assert backwards == forwards


@examples(60)
@given(expressions_at_edges(seconds=True))
def test_slots_with_seconds_around_a_clock_change_are_those_of_debian_cron(drawn):
    text, (zone, change) = drawn
    start, end = window(text, change, timedelta(minutes=70))
    schedule = schedule_or_reject(text, zone)
    expected = debian_slots(text, zone, start, end)
    assume(len(expected) <= 1000)

    forwards = slots_between(schedule, start - SECOND, end - SECOND, 5000)
    backwards = walk_back(schedule, start - SECOND, end - SECOND)

    assert forwards == expected
    assert backwards == forwards


@examples(40)
@given(expressions(), st.integers(1990, 2090))
def test_days_of_a_year_are_those_that_match_one_by_one(text, year):
    day_fields = " ".join(text.split()[2:])
    text = f"0 0 {day_fields}"
    schedule = schedule_or_reject(text, "UTC")
    first, last = date(year, 1, 1), date(year, 12, 31)
    after, until = datetime(year - 1, 12, 31, 23, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)

    forwards = slots_between(schedule, after, until - SECOND, 5000)
    backwards = walk_back(schedule, after, until - SECOND)

    assert forwards == slots_in_utc(text, first, last)
    assert backwards == forwards


@examples(60)
@given(expressions(), st.sampled_from([zone for zone, _ in EDGES]), instants())
def test_slots_rise_in_whole_seconds_and_backwards_mirrors_forwards(text, zone, instant):
    schedule = schedule_or_reject(text, zone)

    slots = slots_between(schedule, instant, datetime(2200, 1, 1, tzinfo=UTC), 5)
    newest = schedule.last_until(instant)

    assert all(a < b for a, b in pairwise([instant, *slots]))
    assert all((slot.tzinfo, slot.microsecond, slot.fold) == (UTC, 0, 0) for slot in slots)
    if newest is not None:
        assert newest <= instant
        assert slots_between(schedule, newest, datetime(2200, 1, 1, tzinfo=UTC), 1) == slots[:1]
    for earlier, later in pairwise(slots):
        assert schedule.last_until(later) == later
        assert schedule.last_until(later - SECOND) == earlier
        assert schedule.last_until(later - timedelta(microseconds=1)) == earlier
        assert schedule.next_after(earlier) == later
        assert schedule.next_after(earlier + timedelta(microseconds=1)) == later


@examples(60)
@given(expressions(seconds=True), st.integers(1, 7200), instants())
def test_no_two_slots_are_closer_than_the_accepted_limit(text, minimum_seconds, instant):
    schedule = schedule_or_reject(text, "UTC")
    slots = slots_between(schedule, instant, datetime(2200, 1, 1, tzinfo=UTC), 100)
    shortest = min((b - a for a, b in pairwise(slots)), default=None)

    try:
        check_interval(schedule, minimum_seconds, instant)
    except ScheduleError:
        return

    assert shortest is None or shortest >= timedelta(seconds=minimum_seconds)


@examples(15)
@given(expressions(), st.integers(2020, 2040))
def test_shortest_interval_is_that_of_28_years(text, year):
    schedule = schedule_or_reject(text, "UTC")
    found = schedule.shortest_interval_seconds(10**9)
    assert found is not None
    assume(found <= 7 * 86400)

    expression = Expression(text)
    first = date(year, 1, 1)
    days = (first + timedelta(days=n) for n in range(28 * 365 + 7))
    matching = (day.toordinal() for day in days if expression.matches_day(day))
    distances = (b - a for a, b in pairwise(matching))
    near = next(distances, 10**6)
    while near > 1 and (distance := next(distances, None)):
        near = min(near, distance)
    minutes = [hour * 60 + minute for hour in expression.hours for minute in expression.minutes]
    minutes.append(minutes[0] + near * 24 * 60)

    assert found == 60 * min(b - a for a, b in pairwise(minutes))


@examples(60)
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


@examples(60)
@given(st.text(max_size=80))
def test_any_text_is_a_zone_or_a_schedule_error(name):
    error = _error_of("* * * * *", name)

    assert error is None or (error.field == "timezone" and error.reason.isprintable())


@examples(60)
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
