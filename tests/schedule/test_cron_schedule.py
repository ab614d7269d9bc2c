"""A schedule: its zone, its errors, its shortest interval, and what callers may ask of it."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from scheduler.schedule import (
    CronIntervalTooShortError,
    CronParseError,
    ScheduleError,
    UnknownTimezoneError,
    check_interval,
    parse,
    slots_between,
)

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

# -------------------------------------------------------------------------------- zones and errors


@pytest.mark.parametrize("value", [None, 5, 5.0, b"* * * * *", ["* * * * *"], {}])
def test_value_that_is_not_text_is_refused(value):
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
        ("Asia/Seoul ", "Asia/Seoul"),
        ("Japn", "Japan"),
        ("UTC+0", "UTC"),
        ("CEST", "Europe/Paris"),
        ("KST", "Asia/Seoul"),
        ("Asia/Beijing", "Asia/Shanghai"),
        ("America/Boston", "America/New_York"),
        ("Portland", "America/Los_Angeles"),
        ("Melborne", "Australia/Melbourne"),
    ],
)
def test_unknown_zone_is_refused_with_the_nearest_name(typed, meant):
    with pytest.raises(UnknownTimezoneError, match=f"did you mean {meant}"):
        parse("* * * * *", typed)


@pytest.mark.parametrize(
    ("typed", "zone"),
    [
        ("GMT+9", "UTC+9 is named Etc/GMT-9 (there the sign is the other way round)"),
        ("UTC+8", "UTC+8 is named Etc/GMT-8"),
        ("utc -09:00", "UTC-9 is named Etc/GMT+9"),
        ("+5", "UTC+5 is named Etc/GMT-5"),
        ("UTC+5:30", "name a place"),
        ("GMT+15", "name a place"),
    ],
)
def test_a_distance_from_utc_is_refused_with_the_zone_at_that_distance(typed, zone):
    with pytest.raises(UnknownTimezoneError) as refusal:
        parse("* * * * *", typed)

    assert zone in refusal.value.reason


@pytest.mark.parametrize(
    "typed",
    [
        "CST",
        "IST",
        "BST",
        "EST6",
        "PST9PDT",
        "UTC9",
        "Etc/GMT+15",
        "Etc/GMT9",
        "W-SO",
        "West",
        "Oakland",
    ],
)
def test_a_name_that_tells_no_place_gets_no_hint(typed):
    """The nearest letters are hours away: a wrong zone would be saved."""
    with pytest.raises(UnknownTimezoneError) as refusal:
        parse("* * * * *", typed)

    assert refusal.value.reason.endswith("is not a known IANA time zone")


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
    """A schedule that does not know its shortest interval."""

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


def test_parse_returns_the_same_schedule_for_the_same_text():
    assert parse("0 9 * * *", "Asia/Seoul") is parse("0 9 * * *", "Asia/Seoul")
    assert parse(" 0 9 * * *", "Asia/Seoul") == parse("0 9 * * *", "Asia/Seoul")
    assert len({parse("0 9 * * *", "Asia/Seoul"), parse("0 9 * * *", "UTC")}) == 2


def test_schedule_shows_its_expression_and_zone():
    schedule = parse(" 0 9 * * MON", "Asia/Seoul")

    assert (schedule.expression, schedule.zone.key) == ("0 9 * * MON", "Asia/Seoul")
    assert schedule.zone == SEOUL


def test_slots_between_excludes_the_start_and_includes_the_end():
    schedule = parse("0 * * * *", "UTC")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    assert slots_between(schedule, noon, noon + timedelta(hours=1), 9) == [
        noon + timedelta(hours=1)
    ]
    assert slots_between(schedule, noon, noon, 9) == []


def test_slots_between_returns_the_oldest_when_there_are_too_many():
    schedule = parse("0 * * * *", "UTC")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    slots = slots_between(schedule, noon, noon + timedelta(days=9), 2)

    assert slots == [noon + timedelta(hours=1), noon + timedelta(hours=2)]
    assert slots_between(schedule, noon, noon + timedelta(days=9), 0) == []


def test_instants_of_any_zone_are_accepted():
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


@pytest.fixture
def frequent_thread_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("frequent_thread_switches")
def test_threads_share_one_schedule():
    schedule = parse("7 3 L,13 * mon#2", "Europe/Berlin")
    starts = [NEW_YEAR + timedelta(days=11 * n) for n in range(100)]
    expected = [(schedule.next_after(start), schedule.last_until(start)) for start in starts]

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda at: (schedule.next_after(at), schedule.last_until(at)), starts * 4
        )

    assert list(answers) == expected * 4
