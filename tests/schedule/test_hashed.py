"""`H`: numbers that the job's name decides, and the same ones for ever."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from django.utils import translation

from scheduler.conf import SchedulerSettings
from scheduler.schedule import CronNeverFiresError, CronParseError, ScheduleError, slots_between
from scheduler.schedule.calendars import build_schedule
from scheduler.schedule.fingerprint import fingerprint_of
from scheduler.schedule.full_text import full_text
from scheduler.schedule.kinds import read_schedule
from scheduler.schedule.words_of_kinds import words_of
from tests.harness.oracles import debian_slots, numbered, random_expression

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
START = datetime(2026, 3, 26, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Job:
    """The columns of from_job.ScheduledJob."""

    cron_expression: str
    name: str = "nightly report"
    timezone: str = "UTC"
    calendar: str = ""
    start_at: datetime | None = None
    created_at: datetime = START


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("H H * * *", "13 5 * * *"),
        ("h H(0-7) H H H", "13 5 22 2 6"),
        ("H/15 * * * *", "13-59/15 * * * *"),
        ("H(0-29)/10,45 9 * * *", "3-29/10,45 9 * * *"),
        ("H H * * H(mon-fri)", "13 5 * * 3"),
        ("H H,H * * *", "13 5 * * *"),
        ("0 9 * * THU\n\nH H H * *", "0 9 * * THU\n13 5 22 * *"),
        ("H 0 H * * *", "15 0 5 * * *"),
    ],
)
def test_numbers_of_a_name_are_the_same_on_each_host_and_in_each_release(
    expression: str, numbers: str
):
    assert full_text(Job(cron_expression=expression)) == numbers


def test_jobs_are_spread_over_the_hour_and_the_day():
    texts = [full_text(Job(cron_expression="H H * * *", name=f"job {n}")) for n in range(2400)]
    minutes, hours = (Counter(text.split()[place] for text in texts) for place in (0, 1))

    assert (len(minutes), len(hours)) == (60, 24)
    assert max(minutes.values()) < 80  # 40 on average
    assert max(hours.values()) < 150  # 100 on average


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("H(5-3) * * * *", "minute: 'h(5-3)' runs backwards; write 'H(3-5)'"),
        ("H/0 * * * *", "minute: the step of 'h/0' is outside 2-60; write 'H' for one number"),
        ("H/1 * * * *", "is outside 2-60"),
        ("H(0-29)/31 * * * *", "is outside 2-30"),
        ("0 0 H/29 * *", "is outside 2-28"),
        ("H(0-60) * * * *", "minute: 'h(0-60)' is outside 0-59"),
        ("* H(20-24) * * *", "is outside 0-23"),
        ("H5 * * * *", "minute: 'h5' cannot be read; write 'H', 'H/15', 'H(0-29)' or"),
        ("H(0-29 * * * *", "write 'H', 'H/15', 'H(0-29)' or"),
        ("H-5 * * * *", "write 'H', 'H/15', 'H(0-29)' or"),
        ("R * * * *", "minute: 'r' would be a random value; write 'H'"),
        ("RRULE:FREQ=DAILY;BYHOUR=H;BYMINUTE=0", "'H' stands in cron expressions only; write"),
    ],
)
def test_a_wrong_h_is_refused_with_what_would_be_right(text: str, reason: str):
    with pytest.raises(ScheduleError) as refused:
        read_schedule(full_text(Job(cron_expression=text)), "UTC")

    assert refused.value.field == "cron_expression"
    assert reason in refused.value.reason


def test_an_h_without_a_name_says_what_is_missing():
    job = Job(cron_expression="H 3 * * *", name="")

    with pytest.raises(CronParseError, match="'H' becomes a number by the job's name"):
        read_schedule(full_text(job), "UTC")
    assert words_of(job) == ""


def test_the_name_is_in_the_fingerprint_and_in_the_words_only_where_it_decides():
    settings = SchedulerSettings()
    plain, spread = Job(cron_expression="0 9 * * THU"), Job(cron_expression="H H * * *")
    renamed = replace(spread, name="other")

    assert fingerprint_of(plain, settings) == fingerprint_of(replace(plain, name="x"), settings)
    assert fingerprint_of(spread, settings) != fingerprint_of(renamed, settings)
    assert words_of(spread) == "Every day at 05:13, spread by the job's name"
    with translation.override("ko"):
        assert words_of(spread) == "매일 05:13 (작업 이름에 따라 분산)"
    assert words_of(Job(cron_expression="every 36h from 2026-01-01T00:00Z")) == (
        "Every 36 hours, counted from 2026-01-01 00:00 UTC"
    )


def _with_h(random: Random, text: str) -> str:
    """Puts an H into some of the fields of an expression."""
    tops = (("0-29", 7), ("8-17", 5), ("2-20", 6), ("3-9", 4), ("1-5", 3))
    fields = text.split()
    for place in random.sample(range(5), random.choice([1, 2, 2, 3])):
        span, step = tops[place]
        fields[place] = random.choice(["H", f"H/{step}", f"H({span})", f"H({span})/{step}", "H,1"])
    return " ".join(fields)


def test_random_expressions_with_h_have_the_slots_of_the_slow_oracle():
    random = Random(15)
    for number in range(60):
        name, zone = f"job {number}", random.choice(["Europe/Berlin", "UTC", "Asia/Seoul"])
        text = _with_h(random, random_expression(random.choice))
        try:
            schedule = read_schedule(full_text(Job(cron_expression=text, name=name)), zone)
        except CronNeverFiresError:
            continue
        end = START + 12 * DAY

        found = slots_between(schedule, START - SECOND, end - SECOND, 100_000)

        assert found == debian_slots(numbered(text, name), zone, START, end), (name, zone, text)


def test_a_calendar_moves_slots_of_w_and_h():
    text = full_text(Job(cron_expression="H 9 15W * *"))
    schedule = build_schedule(text, "UTC", "", {})

    slot = schedule.next_after(datetime(2026, 8, 1, tzinfo=UTC))

    assert slot == datetime(2026, 8, 14, 9, 13, tzinfo=UTC)  # the 15th is a Saturday
