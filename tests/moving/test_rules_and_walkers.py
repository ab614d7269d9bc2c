"""Sets of times become expressions with the same times, and the old systems' clocks are right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from scheduler.moving.cron_fields import Dialect, read_rule
from scheduler.moving.expressions import expression_of
from scheduler.moving.rules import EVERY_DOM, EVERY_DOW, EVERY_HOUR, EVERY_MINUTE, Rule
from scheduler.moving.walking import Walker
from scheduler.schedule import parse, slots_between
from tests.moving.conftest import NOW
from tests.schedule.generated import examples

YEAR = timedelta(days=366)


def sets(low: int, high: int) -> st.SearchStrategy[frozenset[int]]:
    some = st.frozensets(st.integers(low, high), min_size=1, max_size=5)
    steps = st.builds(
        lambda start, step: frozenset(range(start, high + 1, step)),
        st.integers(low, low + 2),
        st.integers(1, 7),
    )
    return some | steps | st.just(frozenset(range(low, high + 1)))


RULES = st.builds(
    Rule,
    zone=st.just("UTC"),
    minutes=st.sampled_from([frozenset({0}), frozenset({5, 35}), EVERY_MINUTE]),
    hours=sets(0, 23) | st.just(EVERY_HOUR),
    doms=sets(1, 28) | st.just(EVERY_DOM),
    months=sets(1, 12),
    dows=sets(0, 6) | st.just(EVERY_DOW),
    both=st.booleans(),
)


@given(rule=RULES)
@examples(60)
def test_an_expression_has_exactly_the_days_and_times_of_the_rule(rule: Rule):
    text = expression_of(rule)
    if text is None:
        assert rule.both
        assert rule.doms != EVERY_DOM
        assert rule.dows != EVERY_DOW
        return
    if len(text) > 100:
        return

    pattern = parse(text, "UTC").pattern

    assert set(pattern.minutes) == rule.minutes
    assert set(pattern.hours) == rule.hours
    for day in range(0, 366):
        noon = NOW + timedelta(days=day)
        assert pattern.days.match(noon.date()) == rule.matches_day(noon), (text, noon)


@pytest.mark.parametrize(
    ("doms", "dows", "text"),
    [
        ({1, 15}, {1}, "*/31,15 * 1"),
        ({13}, {0, 5}, "13 * */7,5"),
        (set(range(1, 8)), {1}, "* * 1#1"),
        (set(range(15, 22)), {1, 5}, "* * 1#3,5#3"),
        ({13}, {5}, None),
    ],
)
def test_day_and_weekday_have_an_expression_where_one_text_can_begin_with_a_star(
    doms: set[int], dows: set[int], text: str | None
):
    rule = Rule(
        zone="UTC",
        minutes=frozenset({0}),
        hours=frozenset({0}),
        doms=frozenset(doms),
        dows=frozenset(dows),
    )
    assert expression_of(rule) == (None if text is None else f"0 0 {text}")


ZONES = st.sampled_from(["America/New_York", "Australia/Lord_Howe", "Asia/Seoul", "Europe/Berlin"])
MINUTES = st.sampled_from(["0", "30", "*/15", "5,35", "*"])
HOURS = st.sampled_from(["1", "2", "0,1,2,3", "*", "*/2", "3"])
DAYS = st.sampled_from(["* * *", "1 * *", "* * 0", "13 * 5", "*/2 * 1", "* * 7", "1-7 11,3 mon"])


@given(minute=MINUTES, hour=HOURS, days=DAYS, zone=ZONES)
@examples(20)
def test_crons_clock_agrees_with_jobu_all_year(minute: str, hour: str, days: str, zone: str):
    text = f"{minute} {hour} {days}"
    rule = read_rule(text, zone, Dialect.CRON)
    walker = Walker(
        rule=rule, dialect=Dialect.CRON, interval_like=minute[0] == "*" or hour[0] == "*"
    )
    until = NOW + timedelta(days=200)

    slots = walker.slots(NOW, until, 100_000)

    assert slots == slots_between(parse(text, zone), NOW, until, 100_000)


@pytest.mark.parametrize("text", ["30 2 * * *", "*/20 1 * * *", "0 0 */2 * 1", "0 9 13 * 5"])
def test_crons_clock_agrees_with_cronsim(text: str):
    zone = "America/New_York"
    rule = read_rule(text, zone, Dialect.CRON)
    walker = Walker(rule=rule, dialect=Dialect.CRON, interval_like=text[0] == "*")
    start = NOW.astimezone(ZoneInfo(zone))

    slots = walker.slots(NOW, NOW + YEAR, 200)

    theirs = CronSim(text, start)
    assert slots == [next(theirs).astimezone(UTC) for _ in slots]


def test_kubernetes_skips_the_gap_and_repeats_the_hour():
    """robfig/cron v3: "jobs scheduled during daylight-savings leap-ahead transitions will not be
    run"; it compares the wall clock at each instant, so a repeated time comes twice.
    """
    rule = read_rule("30 1,2 * * *", "America/New_York", Dialect.KUBERNETES)
    walker = Walker(rule=rule, dialect=Dialect.KUBERNETES)

    def on(day: datetime) -> list[str]:
        return [f"{s:%H:%M}" for s in walker.slots(day, day + timedelta(hours=20), 10)]

    assert on(datetime(2026, 11, 1, 4, tzinfo=UTC)) == ["05:30", "06:30", "07:30"]
    assert on(datetime(2027, 3, 14, 4, tzinfo=UTC)) == ["06:30"]


@pytest.mark.parametrize(
    ("dialect", "text", "both"),
    [
        (Dialect.CRON, "0 0 */2 * 1", True),
        (Dialect.KUBERNETES, "0 0 */2 * 1", False),
        (Dialect.KUBERNETES, "0 0 ? * 1", True),
        (Dialect.AIRFLOW, "0 0 */2 * 1", False),
        (Dialect.AIRFLOW, "0 0 1-31 * 1", True),
        (Dialect.CRON, "0 0 1-31 * 1", False),
    ],
)
def test_each_dialect_decides_by_itself_whether_both_day_fields_count(
    dialect: Dialect, text: str, both: bool
):
    assert read_rule(text, "UTC", dialect).both is both


@given(minute=MINUTES, hour=HOURS, days=DAYS)
@examples(30)
def test_airflows_days_are_croniters(minute: str, hour: str, days: str):
    text = f"{minute} {hour} {days}"
    rule = read_rule(text, "UTC", Dialect.AIRFLOW)

    slots = Walker(rule=rule, dialect=Dialect.AIRFLOW).slots(NOW, NOW + YEAR, 50)

    theirs = croniter(text, NOW)
    assert slots == [theirs.get_next(datetime) for _ in slots]
