"""The dialect: what is accepted and what it means, what is refused and with which words."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from scheduler.schedule import (
    CronIntervalTooShortError,
    CronNeverFiresError,
    CronParseError,
    ScheduleError,
    UnknownTimezoneError,
    check_interval,
    parse,
    slots_between,
)

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def local_slots(expression: str, count: int, zone: str = "UTC", start: str = "2026-01-01") -> str:
    """The first slots as "MM-DD HH:MM" (seconds only where there are some), for reading."""
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
        # One of them begins with a star: both must match.
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
        ("R * * * *", "minute: 'r' would be a random or hashed value"),
        ("H * * * *", "minute: 'h' would be a random or hashed value"),
        ("H(0-29)/10 * * * *", "minute: 'h(0-29)/10' would be a random or hashed value"),
        ("0 0 15W * *", "day of month: '15w': nearest weekday is not supported"),
        ("0 0 LW * *", "day of month: 'lw': nearest weekday is not supported"),
        ("0 0 L-3 * *", "day of month: 'l-3': 'L' is a day of month by itself"),
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


@pytest.mark.parametrize("value", [None, 5, 5.0, b"* * * * *", ["* * * * *"], {}])
def test_value_that_is_no_text_is_refused_and_not_an_accident(value):
    with pytest.raises(CronParseError, match="must be text"):
        parse(value, "UTC")
    with pytest.raises(UnknownTimezoneError, match="must be text"):
        parse("* * * * *", value)


@pytest.mark.parametrize(
    "zone",
    [
        "", " ", "Mars/X", "KST", "utc", "Europe", "../UTC", "/etc/localtime", "Asia/Seoul\n", "\0",
        "right/UTC", "posix/UTC", "localtime", "posixrules", "zone.tab", "tzdata.zi", "UTC+9",
        "\ud800", "A" * 5000, "Asia//Seoul/", "서울",
    ],
)  # fmt: skip
def test_unknown_zone_is_refused(zone):
    with pytest.raises(UnknownTimezoneError) as refusal:
        parse("* * * * *", zone)

    assert refusal.value.field == "timezone"
    assert refusal.value.reason.isprintable()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Asia/seoul", "Asia/Seoul"),
        ("Seoul", "Asia/Seoul"),
        ("America/New York", "America/New_York"),
        ("Europe/Berln", "Europe/Berlin"),
    ],
)
def test_unknown_zone_is_refused_with_the_nearest_name(typed, meant):
    with pytest.raises(UnknownTimezoneError, match=f"did you mean {meant}"):
        parse("* * * * *", typed)


def test_errors_survive_pickling_and_copying_with_their_facts():
    error = CronIntervalTooShortError(5, 60)

    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  (our own bytes)
        assert (twin.found_seconds, twin.minimum_seconds, str(twin)) == (5, 60, str(error))
    zone = pickle.loads(pickle.dumps(ScheduleError("no", field="calendar")))  # noqa: S301
    assert (zone.field, zone.reason, str(zone)) == ("calendar", "no", "calendar: no")


# --------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("expression", "minimum_seconds"),
    [
        ("* * * * *", 60),
        ("* * * * * *", 1),
        ("*/15 * * * *", 900),
        ("0 0 * * *", 86400),
        ("0 0,23 * * mon,wed", 23 * 3600),
        ("59 23 * * *", 86400),
        ("0 0 * * mon", 7 * 86400),
        ("0 0 1 * *", 28 * 86400),
        ("0 0 29 2 *", 4 * 365 * 86400),
        ("45 2,3 * * *", 3600),  # shorter once a year, at the end of a gap: that does not count
    ],
)
def test_interval_that_keeps_the_limit_is_accepted(expression, minimum_seconds):
    check_interval(parse(expression, "Europe/Berlin"), minimum_seconds, NEW_YEAR)


@pytest.mark.parametrize(
    ("expression", "minimum_seconds", "found_seconds"),
    [
        ("* * * * *", 61, 60),
        ("* * * * * *", 60, 1),
        ("0,30 0 0 1 1 *", 60, 30),
        ("0,1 0 * * *", 3600, 60),  # the next two slots may lie a day apart
        ("59,0 * * * *", 3600, 60),
        ("0 0,23 * * *", 7200, 3600),
        ("0 0,23 * * mon,tue", 7200, 3600),
        ("*/7 * * * *", 420, 240),  # 56 to 00
        ("*/50 * * * *", 3000, 600),
        ("0 0 1 * *", 29 * 86400, 28 * 86400),  # February
        ("0 0 1,31 12,1 *", 7 * 86400, 86400),  # over New Year
    ],
)
def test_interval_below_the_limit_is_refused(expression, minimum_seconds, found_seconds):
    with pytest.raises(CronIntervalTooShortError) as refusal:
        check_interval(parse(expression, "UTC"), minimum_seconds, NEW_YEAR)

    assert refusal.value.found_seconds == found_seconds
    assert refusal.value.minimum_seconds == minimum_seconds


class Every:
    """A schedule of somebody else's making."""

    def __init__(self, seconds: int) -> None:
        self.step = timedelta(seconds=seconds)

    def next_after(self, instant: datetime) -> datetime:
        return instant + self.step

    def last_until(self, instant: datetime) -> datetime:
        return instant


def test_interval_of_any_other_schedule_is_judged_by_its_next_slots():
    check_interval(Every(60), 60, NEW_YEAR)
    with pytest.raises(CronIntervalTooShortError):
        check_interval(Every(59), 60, NEW_YEAR)


# ------------------------------------------------------------------------------------ the schedule


def test_same_text_gives_the_same_schedule():
    assert parse("0 9 * * *", "Asia/Seoul") is parse("0 9 * * *", "Asia/Seoul")
    assert parse(" 0 9 * * *", "Asia/Seoul") == parse("0 9 * * *", "Asia/Seoul")
    assert len({parse("0 9 * * *", "Asia/Seoul"), parse("0 9 * * *", "UTC")}) == 2


def test_schedule_shows_what_it_was_made_of():
    schedule = parse(" 0 9 * * MON", "Asia/Seoul")

    assert (schedule.expression, schedule.zone.key) == ("0 9 * * MON", "Asia/Seoul")
    assert schedule.zone == SEOUL


def test_slots_between_leaves_out_the_start_and_takes_in_the_end():
    schedule = parse("0 * * * *", "UTC")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    assert slots_between(schedule, noon, noon + timedelta(hours=1), 9) == [
        noon + timedelta(hours=1)
    ]
    assert slots_between(schedule, noon, noon, 9) == []


def test_slots_between_gives_the_oldest_when_there_are_too_many():
    schedule = parse("0 * * * *", "UTC")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    slots = slots_between(schedule, noon, noon + timedelta(days=9), 2)

    assert slots == [noon + timedelta(hours=1), noon + timedelta(hours=2)]
    assert slots_between(schedule, noon, noon + timedelta(days=9), 0) == []


def test_instant_of_any_zone_is_understood():
    schedule = parse("0 9 * * *", "Asia/Seoul")

    assert schedule.next_after(datetime(2026, 1, 1, 8, 59, tzinfo=SEOUL)) == NEW_YEAR
    assert schedule.last_until(datetime(2026, 1, 1, 9, 0, tzinfo=SEOUL)) == NEW_YEAR


def test_naive_instant_is_refused():
    with pytest.raises(ValueError, match="aware"):
        parse("0 9 * * *", "UTC").next_after(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York"])
def test_instants_at_the_ends_of_time_have_an_answer(zone):
    schedule = parse("0 0 1 1 *", zone)
    beginning, end = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

    assert schedule.next_after(end) is None
    assert schedule.last_until(beginning) is None
    first, last = schedule.next_after(beginning), schedule.last_until(end)
    assert first is not None
    assert first >= datetime(1970, 1, 1, tzinfo=UTC)
    assert last is not None
    assert last <= datetime(9900, 1, 1, tzinfo=UTC)


def test_local_day_that_the_zone_dropped_has_no_slots():
    # Samoa went from 29 to 31 December 2011. A clock set by a day is no DST: nothing is caught up.
    assert local_slots("0 9 * * *", 3, "Pacific/Apia", "2011-12-29") == (
        "12-29 09:00, 12-31 09:00, 01-01 09:00"
    )


def test_threads_share_one_schedule():
    schedule = parse("7 3 L,13 * mon#2", "Europe/Berlin")
    starts = [NEW_YEAR + timedelta(days=11 * n) for n in range(400)]
    expected = [(schedule.next_after(start), schedule.last_until(start)) for start in starts]

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda at: (schedule.next_after(at), schedule.last_until(at)), starts * 4
        )

    assert list(answers) == expected * 4
