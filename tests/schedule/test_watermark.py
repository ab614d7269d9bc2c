"""Watermarks while schedules change under a job, against a brute-force reading of the rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from io import BytesIO
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.beat.fingerprints import change_of
from scheduler.beat.planning import Planner
from scheduler.conf import CalendarSettings, SchedulerSettings
from scheduler.schedule import calendars as calendars_module
from scheduler.schedule import fingerprint, parse, slots_between
from scheduler.schedule.calendars import CalendarSpec
from scheduler.schedule.fingerprint import fingerprint_of, has_same_columns, zone_rules
from scheduler.store.slots import DueJob
from scheduler.store.watermarks import Moved
from tests.harness.oracles import Expression
from tests.schedule.generated import examples

DAY = timedelta(days=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = 70
UTC_SETTINGS = SchedulerSettings(default_timezone="UTC")
ZONES = ("UTC", "Asia/Seoul", "America/New_York", "Pacific/Chatham", "America/Sao_Paulo")


def due_job(**values: Any) -> DueJob:
    columns: dict[str, Any] = {
        "id": 1, "name": "j", "handler_name": "ok", "queue": "", "cron_expression": "0 9 * * *",
        "timezone": "", "calendar": "", "misfire_policy": "all", "misfire_grace_seconds": 60,
        "max_catchup": 10_000, "jitter_seconds": 0, "start_at": None, "end_at": None,
        "is_enabled": True, "next_run_at": None, "missed_from": None,
        "schedule_fingerprint": None, "last_slot_at": None, "last_nominal_at": None,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC), "is_shadow": False,
        "approval_seconds": 0, "upstream_seconds": 60, "has_upstreams": False,
    }  # fmt: skip
    return DueJob(**{**columns, **values})


@dataclass
class Beat:
    """Beats that follow each other. Each one begins with the comparison, and then ticks on time."""

    job: DueJob
    ran: list[datetime] = field(default_factory=list)

    def work(self, settings: SchedulerSettings, since: datetime, until: datetime) -> None:
        change = change_of(self.job, settings, since)
        if isinstance(change, Moved):
            self.job = replace(
                self.job,
                next_run_at=change.next_run_at,
                schedule_fingerprint=change.schedule_fingerprint,
            )
        now = since
        while self.job.next_run_at is None or self.job.next_run_at <= until:
            now = max(now, self.job.next_run_at or now)
            planned = Planner(settings, now, decides=lambda _: True).plan(self.job)
            self.ran += planned.plan.slots
            assert planned.plan.skipped is None
            self.job = replace(self.job, **planned.watermark.columns())


def split(random: Random, number: int) -> list[datetime]:
    """Returns the begin, `number` instants in their order, and the end."""
    seconds = sorted(random.sample(range(1, DAYS * 86_400), number))
    inner = [BEGIN + timedelta(seconds=each) for each in seconds]
    return [BEGIN, *inner, BEGIN + timedelta(days=DAYS)]


def random_calendar(random: Random) -> CalendarSettings:
    def days() -> frozenset[date]:
        found = set()
        for _closure in range(random.randint(0, 6)):
            first = BEGIN.date() + timedelta(days=random.randint(-5, DAYS + 5))
            found |= {first + timedelta(days=n) for n in range(random.choice([1, 1, 2, 5]))}
        return frozenset(found)

    return CalendarSettings(weekends=random.random() < 0.7, dates=days(), working_dates=days())


def moved(day: date, calendar: CalendarSettings, rule: str) -> date:
    def is_open(day: date) -> bool:
        if day in calendar.working_dates:
            return True
        return day not in calendar.dates and not (calendar.weekends and day.isoweekday() > 5)

    while not is_open(day):
        day += DAY if rule == "next" else -DAY
    return day


@examples(200)
@given(st.randoms(use_true_random=True))
def test_each_nominal_slot_of_a_moving_calendar_runs_once_however_the_calendar_changes(
    random: Random,
):
    days = random.choice(["* *", "* 1-5", "* 6,0", "* 1,5", "L *", "15,L *", "*/3 *", "* 6"])
    day_of_month, weekday = days.split()
    expression = f"30 14 {day_of_month} * {weekday}"
    rule = random.choice(["next", "previous"])
    cuts = split(random, random.randint(1, 4))
    calendars = [random_calendar(random) for _ in cuts[1:]]

    beat = Beat(due_job(cron_expression=expression, calendar=f"c:{rule}"))
    for since, until, calendar in zip(cuts, cuts[1:], calendars, strict=False):
        beat.work(UTC_SETTINGS.model_copy(update={"calendars": {"c": calendar}}), since, until)

    # The same, day by day: a slot runs if it stands for a day that no earlier slot has stood for.
    matches = Expression(expression).matches_day
    all_days = [BEGIN.date() + timedelta(days=n) for n in range(-60, DAYS + 60)]
    nominal = [day for day in all_days if matches(day)]
    ran: list[datetime] = []
    last, settled = BEGIN, set[date]()
    for number, (until, calendar) in enumerate(zip(cuts[1:], calendars, strict=True)):
        slot_of = {
            day: datetime.combine(moved(day, calendar, rule), time(14, 30), UTC) for day in nominal
        }
        if number == 0:
            at_noon = {day: datetime.combine(day, time(14, 30), UTC) for day in nominal}
            settled = {day for day in nominal if max(slot_of[day], at_noon[day]) <= BEGIN}
        while slots := [s for d, s in slot_of.items() if d not in settled and last < s <= until]:
            last = min(slots)
            ran.append(last)
            settled |= {day for day in nominal if slot_of[day] <= last}
    assert beat.ran == ran


@examples(60)
@given(st.randoms(use_true_random=True))
def test_of_a_job_whose_slots_do_not_move_every_instant_after_the_last_slot_counts(random: Random):
    cuts = split(random, random.randint(1, 4))
    expression = random.choice(["0 9 * * *", "15 */9 * * *", "30 23 * * 1-5", "0 2,14 L * *"])
    zones = [random.choice(ZONES) for _ in cuts[1:]]

    beat, ran, last = Beat(due_job(cron_expression=expression)), [], BEGIN
    for since, until, zone in zip(cuts, cuts[1:], zones, strict=False):
        beat.work(UTC_SETTINGS.model_copy(update={"default_timezone": zone}), since, until)
        ran += slots_between(parse(expression, zone), last, until, 10_000)
        last = ran[-1] if ran else BEGIN

    assert beat.ran == ran


@pytest.mark.parametrize(
    ("columns", "configured", "same_columns"),
    [
        ({"cron_expression": "0 9 * * 1"}, {}, False),
        ({"timezone": "UTC"}, {}, False),
        ({"calendar": "c:next"}, {}, False),
        ({}, {"default_timezone": "Asia/Tokyo"}, True),
        ({}, {"calendars": {"c": CalendarSettings(dates=frozenset([date(2026, 12, 31)]))}}, True),
        ({}, {"calendars": {"c": CalendarSettings(weekends=True)}}, True),
        ({}, {"calendars": {"c": CalendarSettings(country="KR")}}, True),
        ({}, {"calendars": {"c": CalendarSettings(country="DE", subdivision="BY")}}, True),
    ],
)
def test_each_thing_that_moves_slots_changes_the_fingerprint(
    columns: dict[str, Any], configured: dict[str, Any], same_columns: bool
):
    job = due_job(calendar="c")
    settings = SchedulerSettings(calendars={"c": CalendarSettings()})
    before = fingerprint_of(job, settings)

    after = fingerprint_of(replace(job, **columns), settings.model_copy(update=configured))

    assert before == fingerprint_of(replace(job, name="other", max_catchup=1), settings)
    assert (len(after), before != after) == (32, True)
    assert has_same_columns(before, after) is same_columns


def test_new_rules_of_a_zone_change_its_fingerprint_and_another_file_of_the_same_rules_does_not():
    with open("/usr/share/zoneinfo/Europe/Berlin", "rb") as file:
        content = file.read()
    same = ZoneInfo.from_file(BytesIO(content), key="Europe/Berlin")
    # The rule for the years to come stands at the end: from now on summer begins in April.
    changed = ZoneInfo.from_file(BytesIO(content.replace(b",M3.5.0,", b",M4.1.0,")))

    assert zone_rules(same) == zone_rules(ZoneInfo("Europe/Berlin"))
    assert zone_rules(changed) != zone_rules(same)


def test_a_new_release_of_the_holidays_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch):
    spec = CalendarSpec(name="kr", country="KR")
    before = fingerprint._content.__wrapped__(spec)

    monkeypatch.setattr(calendars_module, "version", lambda _: "999.0")

    assert fingerprint._content.__wrapped__(spec) != before
