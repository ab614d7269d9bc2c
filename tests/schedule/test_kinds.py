"""Every kind of schedule against slow and simple oracles: steps counted one by one, python-dateutil
from its DTSTART on, and the main loop of Debian's cron over the clock changes of many zones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr

from scheduler.schedule import CronNeverFiresError, ScheduleError, slots_between
from scheduler.schedule.kinds import read_schedule
from tests.harness.oracles import debian_slots, random_expression, wakeups

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",  # its summer time begins at midnight
    "America/Havana",  # its midnight is shown twice
    "Australia/Lord_Howe",  # half an hour
    "Asia/Seoul",
    "UTC",
]
# Spans that hold a clock change of one of the zones.
STARTS = ["2026-03-05", "2026-03-26", "2026-04-02", "2026-09-03", "2026-10-01", "2026-10-29"]


@dataclass(frozen=True)
class Span:
    zone: str
    start: datetime
    end: datetime


def wall_slots(span: Span, is_due: Callable[[datetime], bool], *, fixed: bool) -> list[datetime]:
    """Returns the instants at which Debian's cron would run a job due at these local minutes."""
    calls = wakeups(span.zone, span.start, span.end)
    return sorted(
        {
            call.instant
            for call in calls
            if (call.fixed if fixed else call.wild) and is_due(call.wall)
        }
    )


def random_every(random: Random, span: Span) -> tuple[str, list[datetime]]:
    tz = ZoneInfo(span.zone)
    begin = span.start.replace(tzinfo=None) - random.randrange(1, 400) * DAY
    begin += timedelta(minutes=random.randrange(1440))
    unit = random.choice(["minutes", "hours", "days", "weeks"])
    if unit in ("minutes", "hours"):
        count = random.randrange(1, 3000 if unit == "minutes" else 100)
        distance = timedelta(**{unit: count})
        first = at = begin.replace(tzinfo=UTC)
        found = []
        while at < span.end:
            found += [at] * (at >= span.start)
            at += distance
        return f"every {count} {unit} from {first:%Y-%m-%dT%H:%MZ}", found
    count = random.randrange(1, 15 if unit == "days" else 4)
    hour, minute = random.choice([(2, 30), (0, 15), (3, 0), (1, 45), random_time(random)])
    text = f"every {count} {unit} at {hour:02}:{minute:02} from {begin:%Y-%m-%d}"
    step = count * (7 if unit == "weeks" else 1)
    days: set[date] = set()
    day = begin.date()
    while day <= span.end.astimezone(tz).date() + DAY:
        days.add(day)
        day += step * DAY
    due = {datetime(day.year, day.month, day.day, hour, minute) for day in days}  # noqa: DTZ001
    return text, wall_slots(span, due.__contains__, fixed=True)


def random_time(random: Random) -> tuple[int, int]:
    return random.randrange(24), random.randrange(60)


def random_at(random: Random, span: Span) -> tuple[str, list[datetime]]:
    minutes = (span.end - span.start) // timedelta(minutes=1)
    found = {span.start + timedelta(minutes=random.randrange(minutes)) for _ in range(3)}
    tz = ZoneInfo(span.zone)
    texts = []
    for at in found:
        local = at.astimezone(tz)
        # The second pass of a repeated time can only be written with an offset.
        texts.append(f"{local:%Y-%m-%dT%H:%M}" + (f"{local:%z}" if local.fold else ""))
    return "at " + ", ".join(texts), sorted(found)


def random_rule(random: Random, span: Span) -> tuple[str, list[datetime]]:
    start = datetime(2025, 1, 1) + random.randrange(500) * DAY  # noqa: DTZ001
    start += timedelta(minutes=random.randrange(1440))
    frequency = random.choice(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"])
    parts = [f"FREQ={frequency}"]
    if random.random() < 0.6:
        parts.append(f"INTERVAL={random.randrange(1, 5 if frequency != 'MINUTELY' else 400)}")
    parts += random.sample(
        [
            f"BYDAY={','.join(random.sample(['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU'], 3))}",
            f"BYMONTHDAY={random.choice(['1,15,29,31', '-1', '5,6,7,8,28,29'])}",
            f"BYMONTH={random.choice(['3,4,9', '3,10', '1,2,3,4,9,10,11'])}",
            f"BYHOUR={random.choice(['2', '0,2,12', '1,3'])}",
            f"BYMINUTE={random.choice(['30', '0,15,45'])}",
            f"WKST={random.choice(['MO', 'SU', 'TH'])}",
        ],
        random.randrange(4),
    )
    if frequency in ("MONTHLY", "YEARLY") and random.random() < 0.5:
        parts = [part for part in parts if not part.startswith("BYDAY")]
        parts.append(f"BYDAY={random.choice(['1MO', '-1FR', '2SU,-1SU', 'MO,TU,WE,TH,FR'])}")
        if frequency == "MONTHLY":
            parts.append(f"BYSETPOS={random.choice(['1', '-1', '1,-1'])}")
    end = random.random()
    if end < 0.15:
        parts.append(f"COUNT={random.randrange(1, 900)}")
    elif end < 0.3:
        until = span.start.replace(tzinfo=None) + random.randrange(-40, 20) * DAY
        parts.append(f"UNTIL={until:%Y%m%dT%H%M%S}")
    rule = f"RRULE:{';'.join(parts)}"
    try:
        plain = rrulestr(rule, dtstart=start)  # from DTSTART on, one by one
    except ValueError:
        return random_rule(random, span)  # such hours never come
    stop = span.end.replace(tzinfo=None) + 2 * DAY
    due = set()
    for at in plain:
        if at > stop:
            break
        due.add(at)
    fixed = frequency not in ("HOURLY", "MINUTELY")
    text = f"DTSTART:{start:%Y%m%dT%H%M%S}\n{rule}"
    return text, wall_slots(span, due.__contains__, fixed=fixed)


def random_cron(random: Random, span: Span) -> tuple[str, list[datetime]]:
    text = random_expression(random.choice)
    return text, debian_slots(text, span.zone, span.start, span.end)


KINDS = [random_every, random_at, random_rule, random_every, random_rule, random_cron]


def random_schedule(random: Random, span: Span) -> tuple[str, list[datetime]]:
    """Returns one to three lines, and the slots of any of them, each once."""
    lines, slots = [], set()
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        text, found = random.choice(KINDS)(random, span)
        lines.append(text)
        slots.update(found)
    return "\n".join(lines), sorted(slots)


def check(seed: int, count: int) -> int:
    """Compares so many random schedules. Returns how many could be compared."""
    random, compared = Random(seed), 0
    while compared < count:
        start = datetime.fromisoformat(f"{random.choice(STARTS)}T00:00Z")
        span = Span(random.choice(ZONES), start, start + 12 * DAY)
        text, expected = random_schedule(random, span)
        try:
            schedule = read_schedule(text, span.zone)
        except CronNeverFiresError:
            # One line that never fires is refused, whatever the others do.
            assert not expected or "\n" in text.removeprefix("DTSTART:").partition("\n")[2], text
            continue
        except ScheduleError as error:
            # A random beginning may be a time that the zone skips.
            if "does not exist" not in error.reason:
                raise
            continue
        found = slots_between(schedule, start - SECOND, span.end - SECOND, 100_000)
        assert found == expected, (seed, span.zone, text)
        backwards: list[datetime] = []
        slot = schedule.last_until(span.end - SECOND)
        while slot is not None and slot >= start and len(backwards) < 40:
            backwards.append(slot)
            slot = schedule.last_until(slot - SECOND)
        assert backwards == expected[::-1][: len(backwards)], (seed, span.zone, text)
        assert len(backwards) == min(len(expected), 40), (seed, span.zone, text)
        compared += 1
    return compared


@pytest.mark.thorough
def test_random_schedules_of_all_kinds_are_those_of_slow_oracles():
    assert check(15, 200) == 200


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(14))
def test_three_thousand_random_schedules_are_those_of_slow_oracles(seed: int):
    assert check(100 + seed, 200) == 200
