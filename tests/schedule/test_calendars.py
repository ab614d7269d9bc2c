"""Business days: which days a calendar excludes, and what its rules do to the slots of a job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from time import process_time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.schedule import (
    LAST_INSTANT,
    CronIntervalTooShortError,
    CronNeverFiresError,
    ScheduleError,
    check_interval,
    parse,
    slots_between,
)
from scheduler.schedule.business_days import Rule
from scheduler.schedule.calendars import (
    Calendar,
    CalendarSchedule,
    CalendarSpec,
    build_schedule,
)
from scheduler.schedule.expression import MAX_EXPRESSION_LENGTH
from scheduler.schedule.warnings import unknown_holidays_warnings
from tests.harness.oracles import debian_slots, moved_days
from tests.schedule.generated import examples, expressions, walk_back

SECOND = timedelta(seconds=1)
SEOUL = ZoneInfo("Asia/Seoul")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

KR = CalendarSpec(name="kr", country="KR", weekends=True)
WEEKDAYS = CalendarSpec(name="weekdays", weekends=True)
NEVER_OPEN = CalendarSpec(
    name="never", dates=frozenset(date(2016, 1, 1) + timedelta(days=n) for n in range(9000))
)
CALENDARS = {spec.name: spec for spec in (KR, WEEKDAYS, NEVER_OPEN)}


def days_of(calendar: str, expression: str = "0 18 L * *", count: int = 4) -> str:
    """Returns the first slots of 2026 in Seoul, as month-day."""
    schedule = build_schedule(expression, "Asia/Seoul", calendar, CALENDARS)
    slots = slots_between(schedule, NEW_YEAR, datetime(2100, 1, 1, tzinfo=UTC), count)
    return ", ".join(slot.astimezone(SEOUL).strftime("%m-%d") for slot in slots)


# ------------------------------------------------------------------------------- business days


@pytest.mark.parametrize(
    ("day", "is_open"),
    [
        (date(2026, 2, 16), False),  # the day before Seollal
        (date(2026, 2, 17), False),  # Seollal, by the moon
        (date(2026, 2, 19), True),
        (date(2026, 3, 1), False),  # a holiday on a Sunday ...
        (date(2026, 3, 2), False),  # ... and its substitute on Monday
        (date(2026, 3, 3), True),
        (date(2026, 3, 7), False),  # a Saturday
        (date(2026, 10, 9), False),  # Hangul Day
    ],
)
def test_korean_business_days(day, is_open):
    assert Calendar(KR).is_business_day(day) is is_open


def test_dates_exclude_and_working_dates_overrule_everything():
    calendar = Calendar(
        CalendarSpec(
            name="own",
            country="KR",
            weekends=True,
            dates=frozenset({date(2026, 3, 4), date(2026, 3, 5)}),
            working_dates=frozenset({date(2026, 3, 1), date(2026, 3, 5), date(2026, 3, 7)}),
        )
    )

    opened = [day for day in range(1, 9) if calendar.is_business_day(date(2026, 3, day))]

    assert opened == [1, 3, 5, 6, 7]  # Sunday and holiday, Tuesday, ..., Saturday


def test_subdivision_has_holidays_of_its_own():
    epiphany = date(2026, 1, 6)

    assert Calendar(CalendarSpec(name="de", country="DE")).is_business_day(epiphany)
    assert not Calendar(CalendarSpec(name="by", country="DE", subdivision="BY")).is_business_day(
        epiphany
    )


def test_year_that_the_library_does_not_know_has_weekends_only():
    assert Calendar(KR).is_business_day(date(9000, 1, 1)) is True
    assert Calendar(KR).is_business_day(date(9000, 1, 4)) is False


def test_spec_takes_lists_of_dates_and_stays_hashable():
    listed: Any = [date(2026, 1, 1)]
    spec = CalendarSpec(name="own", dates=listed)

    assert hash(spec) == hash(CalendarSpec(name="own", dates=frozenset({date(2026, 1, 1)})))


def test_nearest_business_days_are_found_on_both_sides():
    calendar = Calendar(KR)

    assert calendar.on_or_after(date(2026, 2, 14)) == date(2026, 2, 19)
    assert calendar.on_or_before(date(2026, 2, 18)) == date(2026, 2, 13)
    assert calendar.on_or_after(date(2026, 2, 19)) == date(2026, 2, 19)
    assert Calendar(NEVER_OPEN).on_or_after(date(2026, 1, 1)) is None
    assert calendar.on_or_after(date.max) in (date.max, None)
    assert calendar.on_or_before(date.min) in (date.min, None)


# -------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("calendar", "days"),
    [
        ("", "01-31, 02-28, 03-31, 04-30"),
        ("kr", "03-31, 04-30, 06-30, 07-31"),
        ("kr:skip", "03-31, 04-30, 06-30, 07-31"),
        ("kr:previous", "01-30, 02-27, 03-31, 04-30"),
        ("kr:next", "02-02, 03-03, 03-31, 04-30"),  # 1 and 2 March are holidays
        (" kr : next ", "02-02, 03-03, 03-31, 04-30"),
    ],
)
def test_rule_decides_about_slots_on_excluded_days(calendar, days):
    assert days_of(calendar) == days


def test_last_business_day_of_the_month_is_one_job():
    schedule = build_schedule("0 18 L * *", "Asia/Seoul", "kr:previous", CALENDARS)

    slots = slots_between(schedule, NEW_YEAR, datetime(2027, 1, 1, tzinfo=UTC), 99)

    assert len(slots) == 12
    assert all(slot.astimezone(SEOUL).hour == 18 for slot in slots)
    for slot in slots:
        day = slot.astimezone(SEOUL).date()
        rest = {day + timedelta(days=n) for n in range(1, 32)}
        assert not any(
            Calendar(KR).is_business_day(later) for later in rest if later.month == day.month
        )


def test_slots_that_meet_on_one_day_become_one():
    # 3 and 4 January are a weekend; Saturday, Sunday and Monday all end up on Monday.
    assert days_of("weekdays:next", "0 9 * * *", 3) == "01-02, 01-05, 01-06"


def test_a_moved_slot_knows_the_day_it_stands_for():
    on = build_schedule("0 9 * * MON,SAT", "UTC", "weekdays:next", CALENDARS)
    back = build_schedule("0 9 * * SUN", "UTC", "weekdays:previous", CALENDARS)
    friday, monday = datetime(2026, 1, 9, 9, tzinfo=UTC), datetime(2026, 1, 12, 9, tzinfo=UTC)

    assert back.moved_from(friday) == date(2026, 1, 11)
    assert on.moved_from(monday) is None, "Monday has a slot of its own"
    assert build_schedule("0 9 * * SAT", "UTC", "weekdays:next", CALENDARS).moved_from(
        monday
    ) == date(2026, 1, 10)
    assert build_schedule("0 9 * * *", "UTC", "weekdays", CALENDARS).moved_from(friday) is None


def test_moved_slot_keeps_its_local_time_across_a_clock_change():
    # Sunday 29 March moves on to Monday, when Berlin is at +02:00; back to Friday, it is +01:00.
    on = build_schedule("0 9 29 3 *", "Europe/Berlin", "weekdays:next", CALENDARS)
    back = build_schedule("0 9 29 3 *", "Europe/Berlin", "weekdays:previous", CALENDARS)

    assert on.next_after(NEW_YEAR) == datetime(2026, 3, 30, 7, tzinfo=UTC)
    assert back.next_after(NEW_YEAR) == datetime(2026, 3, 27, 8, tzinfo=UTC)


def test_slot_moved_into_a_gap_runs_right_after_it():
    # Only the Sunday of the clock change is open, so Saturday's slot moves into its gap.
    calendars = {
        "odd": CalendarSpec(name="odd", weekends=True, working_dates=frozenset({date(2026, 3, 29)}))
    }
    schedule = build_schedule("30 2 28 3 *", "Europe/Berlin", "odd:next", calendars)

    assert schedule.next_after(NEW_YEAR) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_day_is_the_local_one_of_the_job():
    # Monday 08:00 in Seoul is still Sunday in UTC.
    schedule = build_schedule("0 8 * * *", "Asia/Seoul", "weekdays", CALENDARS)

    assert schedule.next_after(datetime(2026, 1, 3, tzinfo=UTC)) == datetime(
        2026, 1, 4, 23, tzinfo=UTC
    )


# ------------------------------------------------------------------------------- no slot at all


@pytest.mark.parametrize("rule", ["skip", "next", "previous"])
@pytest.mark.parametrize("expression", ["* * * * * *", "0 0 * * *", "0 0 L * *", "0 0 29 2 *"])
def test_calendar_without_a_business_day_ends_quickly_with_no_slot(expression, rule):
    schedule = build_schedule(expression, "Asia/Seoul", f"never:{rule}", CALENDARS)
    started = process_time()

    assert schedule.next_after(NEW_YEAR) is None
    assert schedule.last_until(NEW_YEAR + timedelta(days=2000)) is None
    assert process_time() - started < 1


def test_days_that_are_all_excluded_end_with_no_slot():
    schedule = build_schedule("0 9 * * sat", "Asia/Seoul", "kr", CALENDARS)

    assert schedule.next_after(NEW_YEAR) is None
    assert schedule.last_until(NEW_YEAR) is None


def test_rare_day_is_found_after_years_of_excluded_ones():
    schedule = build_schedule("0 9 29 2 *", "UTC", "weekdays", CALENDARS)

    # 29 February 2048 is a Saturday.
    assert schedule.next_after(datetime(2045, 1, 1, tzinfo=UTC)) == datetime(
        2052, 2, 29, 9, tzinfo=UTC
    )


def test_slots_in_years_whose_holidays_are_not_known_have_a_warning():
    schedule = build_schedule("0 9 1 1 *", "Asia/Seoul", "kr:next", CALENDARS)
    near = slots_between(schedule, datetime(2098, 1, 1, tzinfo=UTC), LAST_INSTANT, 2)
    far = slots_between(schedule, datetime(2098, 1, 1, tzinfo=UTC), LAST_INSTANT, 5)

    assert unknown_holidays_warnings(schedule, near) == []
    (warning,) = unknown_holidays_warnings(schedule, far)
    assert "of KR are known for 1948 to 2100 only" in warning
    weekdays = build_schedule("0 9 1 1 *", "Asia/Seoul", "weekdays", CALENDARS)
    assert unknown_holidays_warnings(weekdays, far) == []


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("calendar", "reason"),
    [
        ("kx", "calendar 'kx' is not configured; there are kr, never, weekdays"),
        ("KR", "calendar 'KR' is not configured; did you mean kr?"),
        ("weekday", "did you mean weekdays?"),
        ("kr:nxt", "rule 'nxt' is unknown; did you mean next?"),
        ("kr:", "rule '' is unknown; there are next, previous, skip"),
        ("kr:next:next", "rule 'next:next' is unknown"),
        (":next", "calendar '' is not configured"),
        ("\n\0", "is not configured"),
    ],
)
def test_unknown_calendar_or_rule_is_refused_with_the_nearest_name(calendar, reason):
    with pytest.raises(ScheduleError) as refusal:
        build_schedule("0 9 * * *", "UTC", calendar, CALENDARS)

    assert reason in refusal.value.reason
    assert refusal.value.field == "calendar"
    assert refusal.value.reason.isprintable()


@pytest.mark.parametrize(
    "spec",
    [
        CalendarSpec(name="odd", country="XX"),
        CalendarSpec(name="odd", country="kr"),
        CalendarSpec(name="odd", country="DE", subdivision="Narnia"),
    ],
)
def test_unknown_country_is_refused(spec):
    with pytest.raises(ScheduleError, match="not") as refusal:
        build_schedule("0 9 * * *", "UTC", "odd", {"odd": spec})

    assert refusal.value.field == "calendar"


def test_mistake_in_the_expression_names_the_expression():
    with pytest.raises(ScheduleError) as refusal:
        build_schedule("nonsense", "UTC", "kx", CALENDARS)

    assert refusal.value.field == "cron_expression"


# --------------------------------------------------------------------------------------- the rest


def test_no_calendar_is_the_plain_schedule():
    assert build_schedule("0 9 * * *", "UTC", "", CALENDARS) is parse("0 9 * * *", "UTC")


def test_equal_arguments_share_a_schedule_and_an_edited_calendar_does_not():
    first = build_schedule("0 9 * * *", "UTC", "kr:next", CALENDARS)
    edited = {"kr": CalendarSpec(name="kr", country="KR")}

    assert build_schedule("0 9 * * *", "UTC", "kr:next", dict(CALENDARS)) is first
    assert build_schedule("0 9 * * *", "UTC", "kr:next", edited) != first


def test_interval_check_expects_that_moved_days_become_neighbours():
    text = "0 0,23 * * mon,wed"
    check_interval(build_schedule(text, "UTC", "weekdays", CALENDARS), 7200, NEW_YEAR)
    with pytest.raises(CronIntervalTooShortError):
        check_interval(build_schedule(text, "UTC", "weekdays:next", CALENDARS), 7200, NEW_YEAR)


@st.composite
def closures(draw: st.DrawFn) -> CalendarSpec:
    start = date(2026, 3, 20)
    dates = st.frozensets(st.integers(0, 200).map(lambda n: start + timedelta(days=n)), max_size=60)
    return CalendarSpec(
        name="drawn",
        country=draw(st.sampled_from([None, "KR"])),
        weekends=draw(st.booleans()),
        dates=draw(dates),
        working_dates=draw(dates),
    )


@examples(50)
@given(
    expressions(),
    closures(),
    st.sampled_from(list(Rule)),
    st.sampled_from(["0 0", "30 0", "30 23", "*/30 0,23", "15 */6", "0,59 12"]),
    st.sampled_from(["2026-03-25", "2026-08-28"]),
)
def test_slots_are_those_of_the_moved_days_tried_one_by_one(text, spec, rule, clock, first_day):
    text = " ".join([clock, *text.split()[2:]])
    assume(len(text) <= MAX_EXPRESSION_LENGTH)
    zone = "America/Santiago"  # 4 April has 25 hours; 6 September has no midnight
    start = datetime.fromisoformat(f"{first_day}T03:00Z")
    end = start + timedelta(days=18)
    try:
        schedule = CalendarSchedule(base=parse(text, zone), spec=spec, rule=rule)
    except CronNeverFiresError:
        assume(False)
        raise

    forwards = slots_between(schedule, start - SECOND, end - SECOND, 5000)
    backwards = walk_back(schedule, start - SECOND, end - SECOND)

    is_open: Callable[[date], bool] = Calendar(spec).is_business_day
    expected = debian_slots(text, zone, start, end, matches_day=moved_days(text, is_open, rule))
    assert forwards == expected
    assert backwards == expected
