"""What is refused where a schedule is typed, words and calendars of each kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import perf_counter

import pytest
from django.utils import translation

from scheduler.schedule import (
    CronIntervalTooShortError,
    CronNeverFiresError,
    ScheduleError,
    check_interval,
    slots_between,
)
from scheduler.schedule.business_days import Rule
from scheduler.schedule.calendars import CalendarSpec, build_schedule
from scheduler.schedule.kinds import MAX_LENGTH, read_schedule
from scheduler.schedule.warnings import warnings_of
from scheduler.schedule.words_of_kinds import text_in_words

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
NOW = datetime(2026, 11, 28, 9, tzinfo=UTC)
EACH_FRIDAY = "DTSTART:20261127T090000\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=FR"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("every month", "write “0 9 1 * *”"),
        ("every 1.5h from 2026-11-28", "such as “every 90 minutes”"),
        ("every 0 days from 2026-11-28", "outside 1-3660"),
        ("every 99999 hours", "outside 1-87840"),
        ("every 5 hours at 09:00", "write “every 5 hours from 2026-11-28T09:00”"),
        ("every 5 parsecs", "there are seconds, minutes, hours, days, weeks"),
        ("every 2 days at 25:00", "is no time of day"),
        ("every 2 days from 2026-03-29T02:30", "write 2026-03-29T03:00"),
        ("at 2026-03-29T02:30", "the clock leaps over it; write 2026-03-29T03:00"),
        ("at 2026-12-24", "write 2026-12-24T00:00"),
        ("at noon", "write it like 2026-12-24T18:00"),
        ("RRULE:FREQ=SECONDLY", "write “every 10 seconds”"),
        ("RRULE:FREK=DAILY", "there are FREQ"),
        ("RRULE:FREQ=DAILY;COUNT=3;UNTIL=20270101", "exclude each other"),
        ("RRULE:FREQ=DAILY;COUNT=100000", "outside 1-1000"),
        ("RRULE:FREQ=DAILY;BYHOUR=25", "is no rule"),
        ("DTSTART;TZID=Asia/Seoul:20260101T090000\nRRULE:FREQ=DAILY", "set the job's time zone"),
        ("DTSTART:20260101T090000", "belongs before a line"),
        ("FREQ=DAILY", "write RRULE:FREQ=DAILY"),
        ("sunrise", "times of the sun are not supported"),
        ("solar:sunset", "times of the sun are not supported"),
        ("0 9 * * *\nnonsense", "line 2: has 1 fields"),
        ("\n".join(["0 9 * * *"] * 31), "at most 30"),
        ("x" * (MAX_LENGTH + 1), "at most 1000 allowed"),
    ],
)
def test_a_wrong_schedule_is_refused_with_what_would_be_right(text: str, reason: str):
    with pytest.raises(ScheduleError) as refused:
        read_schedule(text, "Europe/Berlin")

    assert refused.value.field == "cron_expression"
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;INTERVAL=2;BYMONTH=2;BYMONTHDAY=29",  # in odd years only
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",  # the first one is a Friday
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=30",
        "FREQ=DAILY;UNTIL=20200101",
    ],
)
def test_a_rule_that_never_fires_is_refused_in_bounded_time(rule: str):
    begun = perf_counter()

    with pytest.raises(CronNeverFiresError):
        read_schedule(f"DTSTART:20250103T090000\nRRULE:{rule}", "UTC")

    assert perf_counter() - begun < 30  # python-dateutil alone takes minutes, or does not end


def test_a_rule_that_began_long_ago_costs_no_more_than_a_new_one():
    schedule = read_schedule("DTSTART:19800101T000000\nRRULE:FREQ=MINUTELY;INTERVAL=7", "UTC")
    begun = perf_counter()

    slots = slots_between(schedule, NOW, NOW + DAY, 100)

    assert perf_counter() - begun < 2  # from 1980 on there are three million
    assert (slots[0] - datetime(1980, 1, 1, tzinfo=UTC)) % timedelta(minutes=7) == timedelta(0)
    assert schedule.last_until(slots[50] - SECOND) == slots[49]


@pytest.mark.parametrize("interval", [1, 7])
def test_the_last_slot_before_a_long_gap_is_found_without_a_walk_over_all_slots(interval: int):
    rule = f"FREQ=MINUTELY;INTERVAL={interval};BYMONTH=1"
    schedule = read_schedule(f"DTSTART:20200101T000000\nRRULE:{rule}", "UTC")
    last = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    minutes = (last - datetime(2020, 1, 1, tzinfo=UTC)) // timedelta(minutes=1)
    wanted = last - timedelta(minutes=minutes % interval)
    begun = perf_counter()

    found = [schedule.last_until(datetime(2026, 12, day, tzinfo=UTC)) for day in range(1, 31)]

    assert found == [wanted] * 30
    assert perf_counter() - begun < 4  # a walk takes up to 3 s for each one of the thirty


def test_a_rule_with_count_ends():
    schedule = read_schedule("DTSTART:20261128T090000\nRRULE:FREQ=DAILY;COUNT=3", "UTC")

    assert slots_between(schedule, NOW - SECOND, NOW + 99 * DAY, 9) == [
        NOW, NOW + DAY, NOW + 2 * DAY,
    ]  # fmt: skip
    assert schedule.last_until(NOW + 99 * DAY) == NOW + 2 * DAY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("every 30 seconds from 2026-11-28", 30),
        ("0 9 * * *\n30 0 9 * * MON", 30),
        ("0 0 * * TUE\n45 59 23 * * MON", 15),
        ("at 2026-12-24T18:00, 2026-12-24T18:00:20", 20),
        ("DTSTART:20261128T090000\nRRULE:FREQ=DAILY;BYSECOND=0,10", 10),
    ],
)
def test_each_kind_must_keep_the_shortest_interval(text: str, seconds: int):
    schedule = read_schedule(text, "UTC")

    with pytest.raises(CronIntervalTooShortError) as refused:
        check_interval(schedule, 60, NOW)

    assert refused.value.found_seconds == seconds


def test_lines_that_meet_are_not_too_close():
    schedule = read_schedule("0 9 * * *\n0 9 * * MON\n30 9 * * SAT\n0 10 * * SUN", "UTC")

    check_interval(schedule, 1800, NOW)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("every 36h from 2026-11-28T09:00", "Every 36 hours, counted from 2026-11-28 09:00"),
        ("every day at 9:05", "Every day at 09:05"),
        ("at 2026-12-24T18:00", "Once, at 2026-12-24 18:00"),
        (EACH_FRIDAY, "Every 2 weeks on Friday, counted from 2026-11-27 09:00"),
        (
            "RRULE:FREQ=MONTHLY;BYDAY=MO,FR;BYSETPOS=-1;BYHOUR=9;BYMINUTE=5;COUNT=3",
            "Every month on Monday and Friday, BYSETPOS=-1, at 09:05, 3 times in all",
        ),
        ("0 9 * * *\n*/5 * * * *", "Every day at 09:00; Every 5 minutes"),
        ("nonsense", ""),
    ],
)
def test_each_kind_has_words(text: str, words: str):
    with translation.override("en"):
        assert text_in_words(text) == words


def test_warnings_are_those_of_the_expressions_among_the_lines():
    assert warnings_of("every 36h\n0 9 31 * *") == warnings_of("0 9 31 * *") != []


@pytest.mark.parametrize("text", ["at 2026-12-26T18:00", "every 2 weeks at 18:00 from 2026-12-12",
                                  "DTSTART:20261226T180000\nRRULE:FREQ=YEARLY",
                                  "every 24 weeks from 2026-12-26T18:00\n0 18 26 12 *",
                                  "every 840 hours from 2026-12-26T18:00Z"])  # fmt: skip
@pytest.mark.parametrize(("rule", "day"), [(Rule.NEXT, 28), (Rule.PREVIOUS, 25), (Rule.SKIP, 0)])
def test_a_calendar_moves_or_drops_the_slots_of_each_kind(text: str, rule: Rule, day: int):
    calendars = {"w": CalendarSpec(name="w", weekends=True)}
    schedule = build_schedule(text, "UTC", f"w:{rule}", calendars)

    since, until = datetime(2026, 12, 20, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)
    slots = slots_between(schedule, since, until, 9)

    assert slots == ([datetime(2026, 12, day, 18, tzinfo=UTC)] if day else [])
    for slot in slots:
        assert str(schedule.moved_from(slot)) == "2026-12-26"
        assert schedule.last_until(until) == slot
