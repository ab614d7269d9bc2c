"""Expressions in words: examples, and the property that different times read differently."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import translation
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.schedule import parse
from scheduler.schedule.clock_changes import changes_between
from scheduler.schedule.warnings import clock_change_warnings, warnings_of
from scheduler.schedule.words import in_words
from tests.schedule.generated import examples, expressions

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "Every minute"),
        ("*/10 * * * *", "Every 10 minutes"),
        ("0,15,30,45 * * * *", "Every 15 minutes"),
        ("*/7 * * * *", "When the minute is 0 to 56 in steps of 7"),
        ("0 * * * *", "Every hour"),
        ("5 * * * *", "Every hour at minute 5"),
        ("0 */3 * * *", "Every 3 hours"),
        ("5 */3 * * *", "Every 3 hours at minute 5"),
        ("0 9 * * *", "Every day at 09:00"),
        ("0 0 9 * * *", "Every day at 09:00"),
        ("@daily", "Every day at 00:00"),
        ("@yearly", "At 00:00, on day 1 of the month, in January"),
        ("30 9,12 * * mon-fri", "At 09:30 and 12:30, on Monday to Friday"),
        ("*/10 9-17 * * 1-5", "Every 10 minutes from 09:00 to 17:50, on Monday to Friday"),
        ("15 9-17 * * *", "Every hour from 09:15 to 17:15"),
        ("* 9-17 * * 6,0", "Every minute from 09:00 to 17:59, on Saturday and Sunday"),
        ("5-40 9 * * *", "Every minute from 09:05 to 09:40"),
        ("0 18 L * *", "At 18:00, on the last day of the month"),
        (
            "0 18 15W * *",
            "At 18:00, on the weekday (Monday to Friday) nearest to day 15 of the month",
        ),
        ("0 18 LW * *", "At 18:00, on the last weekday (Monday to Friday) of the month"),
        ("0 18 L-1 * *", "At 18:00, on 1 day before the last day of the month"),
        (
            "0 18 1,L-3W 2 *",
            "At 18:00, on day 1 of the month and the weekday (Monday to Friday) nearest to "
            "3 days before the last day of the month, in February",
        ),
        (
            "0 9 * * mon#2,5L",
            "At 09:00, on the second Monday of the month and the last Friday of the month",
        ),
        ("0 0 13 * fri", "At 00:00, on day 13 of the month or on Friday"),
        ("0 0 1-7 * 1", "At 00:00, on days 1 to 7 of the month or on Monday"),
        ("0 0 L * 1-5", "At 00:00, on the last day of the month or on Monday to Friday"),
        (
            "0 0 1-7 * */2",
            "At 00:00, on Tuesday, Thursday, Saturday and Sunday, "
            "but only on days 1 to 7 of the month",
        ),
        ("0 0 *,13 * fri", "At 00:00, on Friday"),
        (
            "0 0 */2 * fri",
            "At 00:00, on Friday, but only on days 1 to 31 in steps of 2 of the month",
        ),
        ("0 0 1-31 * fri", "Every day at 00:00"),
        ("*/15 * * 6-8,12 *", "Every 15 minutes, every day in June to August and December"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("30 0 9 * * *", "Every day at 09:00:30"),
        ("30 */5 * * * *", "Every 5 minutes at second 30"),
        ("* * 9-17 * * *", "Every second from 09:00:00 to 17:59:59"),
        ("* 0-22 * * * *", "Every second when the minute is 0 to 22"),
        ("nonsense", ""),
        ("0 0 30 2 *", ""),
        ("", ""),
    ],
)
def test_an_expression_in_words(expression: str, words: str):
    assert in_words(expression) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0 1-7 * 1", "매월 1일~7일 또는 월요일 00:00"),
        ("0 0 L 2 5", "2월 말일 또는 금요일 00:00"),
        ("0 0 15W * *", "매월 15일에 가장 가까운 평일(월~금) 00:00"),
        ("0 0 LW 2 *", "2월 마지막 평일(월~금) 00:00"),
        ("0 0 L-3 * *", "매월 말일 3일 전 00:00"),
        ("0 0 L-3W 2 *", "2월 말일 3일 전에 가장 가까운 평일(월~금) 00:00"),
        ("0 0 */2 * 5", "매월 1일~31일(2 간격) 중 금요일 00:00"),
    ],
)
def test_korean_words_say_or_where_one_day_field_is_enough(expression: str, words: str):
    with translation.override("ko"):
        assert in_words(expression) == words


FOUR_YEARS = [date(2024, 1, 1) + timedelta(days=number) for number in range(1461)]


def meaning(expression: str) -> object:
    """Returns when an expression runs: the times of a day, and the days."""
    pattern = parse(expression, "UTC").pattern
    days = [day for day in FOUR_YEARS if pattern.days.match(day)]
    return pattern.seconds, pattern.minutes, pattern.hours, days


def test_two_ways_to_write_the_same_times_read_the_same():
    assert in_words("* * * * * *") == in_words("* * * L * 0/1") == "Every second"


@examples(200)
@given(
    expression=st.booleans().flatmap(lambda seconds: expressions(seconds=seconds)),
    other=expressions(),
    place=st.integers(0, 4),
)
def test_different_times_read_differently(expression: str, other: str, place: int):
    """One field is changed: two expressions cannot be closer."""
    fields = expression.split()
    at = len(fields) - 5 + place
    changed = " ".join([*fields[:at], other.split()[place], *fields[at + 1 :]])
    assume(in_words(expression) and in_words(changed))

    if in_words(expression) == in_words(changed):
        assert meaning(expression) == meaning(changed)


@pytest.mark.parametrize(
    ("expression", "warnings"),
    [
        ("0 9 * * mon-fri", []),
        ("0 9 1 * *", []),
        ("0 9 1-31 * fri", []),
        ("nonsense", []),
        ("@weekly", []),
        ("0 0 29 2 *", ["29 February only"]),
        ("0 0 31 * *", ["No such day in February, April, June, September and November"]),
        ("0 0 29 * *", ["In February it runs in leap years only"]),
        ("0 0 31 1,3 *", []),
        ("0 0 31,L * *", []),
        ("0 0 LW * *", []),
        ("0 0 15W,31W * *", []),
        ("0 0 31W * *", ["No such day in February, April, June, September and November"]),
        ("0 0 L-29 1,2 *", ["No such day in February"]),
        ("0 0 13 * fri", ["one match is enough"]),
        ("0 0 31 * fri", ["one match is enough"]),
        ("0 0 */2 * fri", ["both must match"]),
        ("0 0 * * mon#5", ["Months with only four"]),
        ("0 0 * * mon#5,mon#1", []),
        ("*/7 * * * *", ["*/7 begins anew after 56: the last distance is 4, not 7"]),
        ("*/40 */5 * * *", ["*/40 begins anew", "*/5 begins anew after 20"]),
        ("*/25 0 * * * *", ["*/25 begins anew after 50: the last distance is 10"]),
        ("*/15 */6 * * *", []),
    ],
)
def test_surprising_expressions_have_warnings(expression: str, warnings: list[str]):
    found = warnings_of(expression)

    assert len(found) == len(warnings), found
    for text, part in zip(found, warnings, strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("expression", "zone", "parts"),
    [
        ("30 2 * * *", "Europe/Berlin", ["runs at 03:00, once", "runs once, in the first"]),
        ("*/30 2 * * *", "Europe/Berlin", ["does not run", "runs twice"]),
        ("0 9 * * *", "Europe/Berlin", []),
        ("30 2 * * mon", "Europe/Berlin", []),
        ("30 2 * * *", "Asia/Seoul", []),
        ("15 2 * * *", "Australia/Lord_Howe", ["from 02:00 to 02:30: what falls between runs"]),
    ],
)
def test_warnings_name_the_nights_on_which_clocks_change(expression, zone: str, parts: list[str]):
    found = clock_change_warnings(parse(expression, zone), NEW_YEAR)

    assert len(found) == len(parts), found
    for text, part in zip(found, parts, strict=True):
        assert part in text
        assert "2026-" in text


def test_clock_changes_of_a_zone_are_found():
    zone = parse("0 0 * * *", "Europe/Berlin").zone

    changes = changes_between(zone, NEW_YEAR, datetime(2027, 1, 1, tzinfo=UTC))

    assert [change.at for change in changes] == [
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 1, tzinfo=UTC),
    ]
