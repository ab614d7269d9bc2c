"""The dialect: what is accepted and what it means, what is refused and with which words."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from scheduler.schedule import CronNeverFiresError, CronParseError, parse, slots_between

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def local_slots(expression: str, count: int, zone: str = "UTC", start: str = "2026-01-01") -> str:
    """Returns the first slots as "MM-DD HH:MM", with seconds only where there are some."""
    tz = ZoneInfo(zone)
    after = datetime.fromisoformat(start).replace(tzinfo=tz) - SECOND
    slots = slots_between(parse(expression, zone), after, datetime(2100, 1, 1, tzinfo=UTC), count)
    written = [slot.astimezone(tz).strftime("%m-%d %H:%M:%S").removesuffix(":00") for slot in slots]
    return ", ".join(written)


# ------------------------------------------------------------------------------------ the dialect


@pytest.mark.parametrize(
    ("expression", "slots"),
    [
        ("*/20 * * * *", "01-01 00:00, 01-01 00:20, 01-01 00:40"),
        ("5/25 9 * * *", "01-01 09:05, 01-01 09:30, 01-01 09:55"),
        ("59/15 * * * *", "01-01 00:59, 01-01 01:59, 01-01 02:59"),
        ("9-9 * * * *", "01-01 00:09, 01-01 01:09, 01-01 02:09"),
        ("9-9/2 * * * *", "01-01 00:09, 01-01 01:09, 01-01 02:09"),
        ("10-30/10,45 8 * * *", "01-01 08:10, 01-01 08:20, 01-01 08:30"),
        ("0 9 * * mon-fri", "01-01 09:00, 01-02 09:00, 01-05 09:00"),
        ("0 9 * * MON,Wed", "01-05 09:00, 01-07 09:00, 01-12 09:00"),
        ("0 9 * FEB-mar 1", "02-02 09:00, 02-09 09:00, 02-16 09:00"),
        ("0 0 1 */5 *", "01-01 00:00, 06-01 00:00, 11-01 00:00"),
        ("0 0 31 * *", "01-31 00:00, 03-31 00:00, 05-31 00:00"),
        ("0 0 * * 0", "01-04 00:00, 01-11 00:00, 01-18 00:00"),
        ("0 0 * * 7", "01-04 00:00, 01-11 00:00, 01-18 00:00"),
        ("0 0 * * 5-7", "01-02 00:00, 01-03 00:00, 01-04 00:00"),
        ("0 0 * * 1/2", "01-02 00:00, 01-05 00:00, 01-07 00:00"),
        ("0 0 L * *", "01-31 00:00, 02-28 00:00, 03-31 00:00"),
        ("0 0 15,L * *", "01-15 00:00, 01-31 00:00, 02-15 00:00"),
        ("0 0 15W * *", "01-15 00:00, 02-16 00:00, 03-16 00:00"),
        ("0 0 1W * *", "01-01 00:00, 02-02 00:00, 03-02 00:00"),
        ("0 0 1W 8 *", "08-03 00:00, 08-02 00:00, 08-01 00:00"),  # the 1st is a Saturday in 2026
        ("0 0 31W * *", "01-30 00:00, 03-31 00:00, 05-29 00:00"),
        ("0 0 lw * ?", "01-30 00:00, 02-27 00:00, 03-31 00:00"),
        ("0 0 15W,LW * *", "01-15 00:00, 01-30 00:00, 02-16 00:00"),
        ("0 0 L-3 * *", "01-28 00:00, 02-25 00:00, 03-28 00:00"),
        ("0 0 L-3W * *", "01-28 00:00, 02-25 00:00, 03-27 00:00"),
        ("0 0 L-30 * *", "01-01 00:00, 03-01 00:00, 05-01 00:00"),
        ("0 0 * * 5L", "01-30 00:00, 02-27 00:00, 03-27 00:00"),
        ("0 0 * * L5", "01-30 00:00, 02-27 00:00, 03-27 00:00"),
        ("0 0 * * friL", "01-30 00:00, 02-27 00:00, 03-27 00:00"),
        ("0 0 * * mon#2", "01-12 00:00, 02-09 00:00, 03-09 00:00"),
        ("0 0 * * 1#1,1#3", "01-05 00:00, 01-19 00:00, 02-02 00:00"),
        ("0 0 * * 7#5", "03-29 00:00, 05-31 00:00, 08-30 00:00"),
        ("0 0 * * sat,mon#2", "01-03 00:00, 01-10 00:00, 01-12 00:00"),
        ("30 0 12 * * *", "01-01 12:00:30, 01-02 12:00:30, 01-03 12:00:30"),
        ("*/25 59 23 * * *", "01-01 23:59, 01-01 23:59:25, 01-01 23:59:50"),
        ("0 0 12 * * ?", "01-01 12:00, 01-02 12:00, 01-03 12:00"),
        ("0 0 12 ? * MON-FRI", "01-01 12:00, 01-02 12:00, 01-05 12:00"),
        ("  0   9 *  * *  ", "01-01 09:00, 01-02 09:00, 01-03 09:00"),
        ("@hourly", "01-01 00:00, 01-01 01:00, 01-01 02:00"),
        ("@daily", "01-01 00:00, 01-02 00:00, 01-03 00:00"),
        ("@midnight", "01-01 00:00, 01-02 00:00, 01-03 00:00"),
        ("@weekly", "01-04 00:00, 01-11 00:00, 01-18 00:00"),
        ("@Monthly", "01-01 00:00, 02-01 00:00, 03-01 00:00"),
        ("@yearly", "01-01 00:00, 01-01 00:00, 01-01 00:00"),
        ("@annually", "01-01 00:00, 01-01 00:00, 01-01 00:00"),
    ],
)
def test_expression_means_these_slots(expression, slots):
    assert local_slots(expression, 3) == slots


@pytest.mark.parametrize(
    ("expression", "slots"),
    [
        # Both restricted: either is enough.
        ("0 0 13 * fri", "01-02 00:00, 01-09 00:00, 01-13 00:00, 01-16 00:00"),
        ("0 0 1 * 1#2", "01-01 00:00, 01-12 00:00, 02-01 00:00, 02-09 00:00"),
        ("0 0 31 2 mon", "02-02 00:00, 02-09 00:00, 02-16 00:00, 02-23 00:00"),
        ("0 0 L * mon", "01-05 00:00, 01-12 00:00, 01-19 00:00, 01-26 00:00"),
        ("0 0 15W * mon#1", "01-05 00:00, 01-15 00:00, 02-02 00:00, 02-16 00:00"),
        # One of them begins with a star: both must match.
        ("0 0 15W * */5", "05-15 00:00, 08-14 00:00, 01-15 00:00, 05-14 00:00"),
        ("0 0 */2 * fri", "01-09 00:00, 01-23 00:00, 02-13 00:00, 02-27 00:00"),
        ("0 0 13 * */5", "02-13 00:00, 03-13 00:00, 09-13 00:00, 11-13 00:00"),
        ("0 0 *,1 * fri", "01-02 00:00, 01-09 00:00, 01-16 00:00, 01-23 00:00"),
        # A star that is not in front does not count (and still means every day).
        ("0 0 1,* * fri", "01-01 00:00, 01-02 00:00, 01-03 00:00, 01-04 00:00"),
    ],
)
def test_day_fields_combine_as_in_debian_cron(expression, slots):
    assert local_slots(expression, 4) == slots


def test_leap_day_is_found_across_a_century_without_one():
    schedule = parse("0 0 29 2 *", "UTC")

    slots = slots_between(
        schedule, datetime(2095, 1, 1, tzinfo=UTC), NEW_YEAR.replace(year=2110), 9
    )

    assert [slot.year for slot in slots] == [2096, 2104, 2108]


def test_leap_day_on_a_monday_is_found_forty_years_later():
    schedule = parse("0 0 */28 2 mon#5", "UTC")

    assert schedule.next_after(datetime(2073, 1, 1, tzinfo=UTC)) == datetime(
        2112, 2, 29, tzinfo=UTC
    )
    assert schedule.last_until(datetime(2112, 2, 28, tzinfo=UTC)) == datetime(
        2072, 2, 29, tzinfo=UTC
    )


def test_days_follow_the_zone_of_the_job_and_not_utc():
    assert local_slots("0 8 1 * *", 2, "Asia/Seoul") == "01-01 08:00, 02-01 08:00"
    assert parse("0 8 1 * *", "Asia/Seoul").next_after(NEW_YEAR) == datetime(
        2026, 1, 31, 23, tzinfo=UTC
    )


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "has 0 fields"),
        ("   ", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("0 0 0 1 1 * 2026", "has 7 fields"),
        ("a b c d e", "minute: 'a' cannot be read"),
        ("60 * * * *", "minute: '60' is outside 0-59"),
        ("* 24 * * *", "hour: '24' is outside 0-23"),
        ("* * 0 * *", "day of month: '0' is outside 1-31"),
        ("* * 32 * *", "day of month: '32' is outside 1-31"),
        ("* * * 0 *", "month: '0' is outside 1-12"),
        ("* * * 13 *", "month: '13' is outside 1-12"),
        ("* * * * 8", "day of week: '8' is outside 0-7"),
        ("61 * * * * *", "second: '61' is outside 0-59"),
        ("*/61 * * * *", "minute: the step of '*/61' is outside 1-60"),
        ("* */25 * * *", "hour: the step of '*/25' is outside 1-24"),
        ("*/0 * * * *", "minute: the step of '*/0' is outside 1-60"),
        ("5-1 * * * *", "minute: range '5-1' runs backwards"),
        ("* * * * sat-sun", "day of week: range 'sat-sun' runs backwards"),
        ("* * * nov-feb *", "month: range 'nov-feb' runs backwards"),
        ("1,,2 * * * *", "minute: a value is missing"),
        (",1 * * * *", "minute: a value is missing"),
        ("-5 * * * *", "minute: '-5' cannot be read"),
        ("+5 * * * *", "minute: '+5' cannot be read"),
        ("1.5 * * * *", "minute: '1.5' cannot be read"),
        ("1-2-3 * * * *", "minute: '1-2-3' cannot be read"),
        ("*-5 * * * *", "minute: '*-5' cannot be read"),
        ("*5 * * * *", "minute: '*5' cannot be read"),
        ("5/ * * * *", "minute: '5/' cannot be read"),
        ("5/a * * * *", "minute: '5/a' cannot be read"),
        ("jan * * * *", "minute: 'jan' cannot be read"),
        ("* * * january *", "month: 'january' cannot be read"),
        ("? * * * *", "minute: '?' stands alone"),
        ("0 0 ?/2 * *", "day of month: '?' stands alone"),
        ("0 0 1,? * *", "day of month: '?' stands alone"),
        ("R * * * *", "minute: 'r' would be a random value; write 'H'"),
        ("H * * * *", "minute: 'H' becomes a number by the job's name"),
        ("0 0 32W * *", "day of month: '32w': the day is outside 1-31; write '31W' or 'LW'"),
        ("0 0 0W * *", "day of month: '0w': the day is outside 1-31; write '1W' or 'LW'"),
        ("0 0 W * *", "day of month: 'w': 'W' stands after one day; write '15W', 'LW' or"),
        ("0 0 WL * *", "day of month: 'wl': 'W' stands after one day"),
        ("0 0 15W-20 * *", "day of month: '15w-20': 'W' stands after one day"),
        ("0 0 1-15W * *", "day of month: '1-15w': 'W' stands after one day"),
        ("0 0 L-31 * *", "day of month: 'l-31': a day before the last one is L-1 to L-30; write"),
        ("0 0 L-0W * *", "L-1 to L-30; write 'LW'"),
        ("0 0 3L * *", "day of month: '3l': 'L' and 'L-3' are days of the month"),
        ("15W 0 * * *", "minute: '15w': 'W' belongs into the day of month"),
        ("0 0 * * LW", "day of week: 'lw': 'W' belongs into the day of month"),
        ("0 0 * * L", "day of week: 'l' cannot be read"),
        ("0 0 * * 9L", "day of week: '9l' is outside 0-7"),
        ("0 0 * * mon#6", "day of week: 'mon#6': a month has weekdays #1 to #5"),
        ("0 0 * * mon#0", "day of week: 'mon#0': a month has weekdays #1 to #5"),
        ("0 0 * * mon-fri#1", "day of week: 'mon-fri#1': write one weekday"),
        ("0 0 1#2 * *", "day of month: '1#2' cannot be read"),
        ("@reboot", "@reboot names no time"),
        ("@every 5m", "'@every 5m' is unknown"),
        ("@", "'@' is unknown"),
        ("\uff11 * * * *", "character 1 is U+FF11"),
        ("\u0663 * * * *", "character 1 is U+0663"),
        ("*\u00a0* * * *", "character 2 is U+00A0"),
        ("* * * * *\n", "character 10 is U+000A"),
        ("*\t* * * *", "character 2 is U+0009"),
        ("* * * * *\0", "character 10 is U+0000"),
        ("\x1b[31m * * * *", "character 1 is U+001B"),
        ("\ud800 * * * *", "character 1 is U+D800"),
        ("9" * 5000 + " * * * *", "is 5008 characters long"),
        ("9" * 90 + " * * * *", "is outside 0-59"),
        ("0/" + "9" * 80 + " * * * *", "is outside 1-60"),
    ],
)
def test_expression_is_refused_with_the_reason(expression, reason):
    with pytest.raises(CronParseError) as refusal:
        parse(expression, "UTC")

    assert reason in refusal.value.reason
    assert refusal.value.field == "cron_expression"


@pytest.mark.parametrize(
    "expression", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 30-31 2 ?", "0 0 30 2 */2"]
)
def test_expression_that_never_fires_is_refused(expression):
    with pytest.raises(CronNeverFiresError, match="never fires"):
        parse(expression, "UTC")


def test_impossible_day_is_accepted_if_the_weekday_alone_is_enough():
    assert local_slots("0 0 30 2 mon", 1) == "02-02 00:00"


def test_exactly_the_days_that_a_leap_year_has_are_accepted():
    for month in range(1, 13):
        last = monthrange(2024, month)[1]
        for day in range(1, 32):
            expression = f"0 0 {day} {month} *"
            if day <= last:
                assert parse(expression, "UTC").next_after(NEW_YEAR), expression
            else:
                with pytest.raises(CronNeverFiresError):
                    parse(expression, "UTC")


def test_local_day_that_the_zone_dropped_has_no_slots():
    # Samoa went from 29 to 31 December 2011. A clock set by a day is no DST: nothing is caught up.
    assert local_slots("0 9 * * *", 3, "Pacific/Apia", "2011-12-29") == (
        "12-29 09:00, 12-31 09:00, 01-01 09:00"
    )
