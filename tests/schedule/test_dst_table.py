"""Nights on which clocks change, written out slot by slot: those of 2026, and two at the limit.

Asia/Seoul has no clock changes, so nobody there notices a mistake: the table stays in the gate. A
slot is written as "day of month, local time, offset", as a local clock shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from scheduler.schedule import parse, slots_between
from tests.harness.oracles import debian_slots
from tests.schedule.generated import walk_back

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Night:
    """All slots in [start, end) by expression: fixed-time jobs first, then interval-like ones."""

    zone: str
    start: str
    end: str
    slots: dict[str, str]


NIGHTS = {
    "BERLIN_SPRING": Night(
        zone="Europe/Berlin",
        start="2026-03-29T00:00+01:00",
        end="2026-03-29T06:00+02:00",
        slots={
            "30 2 * * *": "29T03:00+02",
            "0,20,40 2 * * *": "29T03:00+02",
            "0 2,3 * * *": "29T03:00+02",
            "30 1 * * *": "29T01:30+01",
            "45 1-3 * * *": "29T01:45+01 29T03:00+02 29T03:45+02",
            "0 * * * *": "29T00:00+01 29T01:00+01 29T03:00+02 29T04:00+02 29T05:00+02",
            "*/20 1-3 * * *": (
                "29T01:00+01 29T01:20+01 29T01:40+01 29T03:00+02 29T03:20+02 29T03:40+02"
            ),
            "0 */2 * * *": "29T00:00+01 29T04:00+02",
            "*/30 2 * * *": "",
        },
    ),
    "BERLIN_AUTUMN": Night(
        zone="Europe/Berlin",
        start="2026-10-25T00:00+02:00",
        end="2026-10-25T06:00+01:00",
        slots={
            "30 2 * * *": "25T02:30+02",
            "0,20,40 2 * * *": "25T02:00+02 25T02:20+02 25T02:40+02",
            "0 2,3 * * *": "25T02:00+02 25T03:00+01",
            "30 1 * * *": "25T01:30+02",
            "45 1-3 * * *": "25T01:45+02 25T02:45+02 25T03:45+01",
            "0 * * * *": (
                "25T00:00+02 25T01:00+02 25T02:00+02 25T02:00+01 25T03:00+01 25T04:00+01 "
                "25T05:00+01"
            ),
            "*/20 2-3 * * *": (
                "25T02:00+02 25T02:20+02 25T02:40+02 25T02:00+01 25T02:20+01 25T02:40+01 "
                "25T03:00+01 25T03:20+01 25T03:40+01"
            ),
            "0 */2 * * *": "25T00:00+02 25T02:00+02 25T02:00+01 25T04:00+01",
            "*/30 2 * * *": "25T02:00+02 25T02:30+02 25T02:00+01 25T02:30+01",
        },
    ),
    "NEW_YORK_SPRING": Night(
        zone="America/New_York",
        start="2026-03-08T00:00-05:00",
        end="2026-03-08T06:00-04:00",
        slots={
            "30 2 * * *": "08T03:00-04",
            "0,30 2 * * *": "08T03:00-04",
            "0 2,3 * * *": "08T03:00-04",
            "30 1 * * *": "08T01:30-05",
            "0 0-5 * * *": "08T00:00-05 08T01:00-05 08T03:00-04 08T04:00-04 08T05:00-04",
            "0 * * * *": "08T00:00-05 08T01:00-05 08T03:00-04 08T04:00-04 08T05:00-04",
            "*/20 1-3 * * *": (
                "08T01:00-05 08T01:20-05 08T01:40-05 08T03:00-04 08T03:20-04 08T03:40-04"
            ),
            "30 */2 * * *": "08T00:30-05 08T04:30-04",
            "*/30 2 * * *": "",
        },
    ),
    "NEW_YORK_AUTUMN": Night(
        zone="America/New_York",
        start="2026-11-01T00:00-04:00",
        end="2026-11-01T06:00-05:00",
        slots={
            "30 1 * * *": "01T01:30-04",
            "0,30 1 * * *": "01T01:00-04 01T01:30-04",
            "0 1,2 * * *": "01T01:00-04 01T02:00-05",
            "30 2 * * *": "01T02:30-05",
            "0 0-5 * * *": (
                "01T00:00-04 01T01:00-04 01T02:00-05 01T03:00-05 01T04:00-05 01T05:00-05"
            ),
            "0 * * * *": (
                "01T00:00-04 01T01:00-04 01T01:00-05 01T02:00-05 01T03:00-05 01T04:00-05 "
                "01T05:00-05"
            ),
            "*/20 1-2 * * *": (
                "01T01:00-04 01T01:20-04 01T01:40-04 01T01:00-05 01T01:20-05 01T01:40-05 "
                "01T02:00-05 01T02:20-05 01T02:40-05"
            ),
            "0 */1 * * *": (
                "01T00:00-04 01T01:00-04 01T01:00-05 01T02:00-05 01T03:00-05 01T04:00-05 "
                "01T05:00-05"
            ),
            "*/30 1 * * *": "01T01:00-04 01T01:30-04 01T01:00-05 01T01:30-05",
        },
    ),
    "SEOUL": Night(
        zone="Asia/Seoul",
        start="2026-03-29T00:00+09:00",
        end="2026-03-29T06:00+09:00",
        slots={
            "30 2 * * *": "29T02:30+09",
            "0,20,40 2 * * *": "29T02:00+09 29T02:20+09 29T02:40+09",
            "0 2,3 * * *": "29T02:00+09 29T03:00+09",
            "45 1-3 * * *": "29T01:45+09 29T02:45+09 29T03:45+09",
            "0 * * * *": "29T00:00+09 29T01:00+09 29T02:00+09 29T03:00+09 29T04:00+09 29T05:00+09",
            "0 */2 * * *": "29T00:00+09 29T02:00+09 29T04:00+09",
            "*/30 2 * * *": "29T02:00+09 29T02:30+09",
        },
    ),
    "LORD_HOWE_AUTUMN": Night(
        zone="Australia/Lord_Howe",
        start="2026-04-05T00:00+11:00",
        end="2026-04-05T05:00+10:30",
        slots={
            "45 1 * * *": "05T01:45+11",
            "15 1 * * *": "05T01:15+11",
            "0,15,30,45 1 * * *": "05T01:00+11 05T01:15+11 05T01:30+11 05T01:45+11",
            "0 2 * * *": "05T02:00+10:30",
            "30 0-3 * * *": "05T00:30+11 05T01:30+11 05T02:30+10:30 05T03:30+10:30",
            "0 * * * *": "05T00:00+11 05T01:00+11 05T02:00+10:30 05T03:00+10:30 05T04:00+10:30",
            "*/15 1 * * *": (
                "05T01:00+11 05T01:15+11 05T01:30+11 05T01:45+11 05T01:30+10:30 05T01:45+10:30"
            ),
            "45 */1 * * *": (
                "05T00:45+11 05T01:45+11 05T01:45+10:30 05T02:45+10:30 05T03:45+10:30 "
                "05T04:45+10:30"
            ),
            "0 */2 * * *": "05T00:00+11 05T02:00+10:30 05T04:00+10:30",
        },
    ),
    "LORD_HOWE_SPRING": Night(
        zone="Australia/Lord_Howe",
        start="2026-10-04T00:00+10:30",
        end="2026-10-04T05:00+11:00",
        slots={
            "15 2 * * *": "04T02:30+11",
            "45 2 * * *": "04T02:45+11",
            "0,15,30,45 2 * * *": "04T02:30+11 04T02:45+11",
            "0 2 * * *": "04T02:30+11",
            "15 0-4 * * *": "04T00:15+10:30 04T01:15+10:30 04T02:30+11 04T03:15+11 04T04:15+11",
            "0 * * * *": "04T00:00+10:30 04T01:00+10:30 04T03:00+11 04T04:00+11",
            "*/15 2 * * *": "04T02:30+11 04T02:45+11",
            "15 * * * *": "04T00:15+10:30 04T01:15+10:30 04T03:15+11 04T04:15+11",
            "0 */2 * * *": "04T00:00+10:30 04T04:00+11",
        },
    ),
    "SANTIAGO_AUTUMN": Night(
        zone="America/Santiago",
        start="2026-04-04T21:00-03:00",
        end="2026-04-05T03:00-04:00",
        slots={
            "30 23 * * *": "04T23:30-03",
            "0 0 * * *": "05T00:00-04",
            "30 23 * * sat": "04T23:30-03",
            "0 0 5 4 *": "05T00:00-04",
            "0,30 22,23 * * *": "04T22:00-03 04T22:30-03 04T23:00-03 04T23:30-03",
            "0 * * * *": (
                "04T21:00-03 04T22:00-03 04T23:00-03 04T23:00-04 05T00:00-04 05T01:00-04 "
                "05T02:00-04"
            ),
            "*/20 23 * * *": (
                "04T23:00-03 04T23:20-03 04T23:40-03 04T23:00-04 04T23:20-04 04T23:40-04"
            ),
            "0 */1 4 * *": "04T21:00-03 04T22:00-03 04T23:00-03 04T23:00-04",
            "0 */12 * * *": "05T00:00-04",
        },
    ),
    "SANTIAGO_SPRING": Night(
        zone="America/Santiago",
        start="2026-09-05T21:00-04:00",
        end="2026-09-06T05:00-03:00",
        slots={
            "0 0 * * *": "06T01:00-03",
            "30 0 * * *": "06T01:00-03",
            "30 0 * * sun": "06T01:00-03",
            "0 1 * * *": "06T01:00-03",
            "0,30 0,1 * * *": "06T01:00-03 06T01:30-03",
            "0 * * * *": (
                "05T21:00-04 05T22:00-04 05T23:00-04 06T01:00-03 06T02:00-03 06T03:00-03 "
                "06T04:00-03"
            ),
            "*/20 0-1 * * *": "06T01:00-03 06T01:20-03 06T01:40-03",
            "30 */2 * * *": "05T22:30-04 06T02:30-03 06T04:30-03",
            "0 */12 6 * *": "",
        },
    ),
    # Three hours back are DST: the second pass is a repetition.
    "CASEY_BACK": Night(
        zone="Antarctica/Casey",
        start="2018-03-11T01:00+11:00",
        end="2018-03-11T06:00+08:00",
        slots={
            "30 3 * * *": "11T03:30+11",
            "0 1-5 * * *": "11T01:00+11 11T02:00+11 11T03:00+11 11T04:00+08 11T05:00+08",
            "*/30 3 * * *": "11T03:00+11 11T03:30+11 11T03:00+08 11T03:30+08",
        },
    ),
    # Three hours forward are a corrected clock: nothing runs late.
    "CASEY_FORWARD": Night(
        zone="Antarctica/Casey",
        start="2018-10-07T03:00+08:00",
        end="2018-10-07T10:00+11:00",
        slots={
            "30 6 * * *": "",
            "30 3-8 * * *": "07T03:30+08 07T07:30+11 07T08:30+11",
            "*/30 6 * * *": "",
        },
    ),
}

# cronsim 2.8 is a second opinion. Where it deviates we follow Debian's cron.c, as the oracle does.
CRONSIM_DEVIATES = {
    # It moves interval-like jobs on by whole elapsed hours, and steps over the repeated half hour.
    ("LORD_HOWE_AUTUMN", "45 */1 * * *"): "05T00:45+11 05T01:45+11 05T02:45+10:30 05T03:45+10:30 "
    "05T04:45+10:30",
    ("LORD_HOWE_AUTUMN", "0 */2 * * *"): "05T00:00+11 05T04:00+10:30",
    # It runs late after a gap of three hours.
    ("CASEY_FORWARD", "30 6 * * *"): "07T07:00+11",
    ("CASEY_FORWARD", "30 3-8 * * *"): "07T03:30+08 07T07:00+11 07T07:30+11 07T08:30+11",
    # It lands on the missing midnight of the wanted day, and takes 01:00 for it.
    ("SANTIAGO_SPRING", "0 */12 6 * *"): "06T01:00-03",
}

ROWS = [
    pytest.param(name, expression, id=f"{name}: {expression}")
    for name, night in NIGHTS.items()
    for expression in night.slots
]


@pytest.mark.timeout(60)  # cronsim 2.8 never returns on `45 */3 * * *` in Pacific/Chatham
@pytest.mark.parametrize(("name", "expression"), ROWS)
def test_slots_of_the_night_are_as_written(name, expression):
    night = NIGHTS[name]
    after, until = _window(night)
    schedule = parse(expression, night.zone)
    with_seconds = parse(f"0 {expression}", night.zone)

    found = {
        "forwards": slots_between(schedule, after, until, 100),
        "backwards": walk_back(schedule, after, until),
        "with 0 in the seconds field": slots_between(with_seconds, after, until, 100),
        "in Debian cron": debian_slots(expression, night.zone, after + SECOND, until + SECOND),
        "in cronsim": _cronsim_slots(expression, night.zone, after, until),
    }

    written = dict.fromkeys(found, night.slots[expression])
    written["in cronsim"] = CRONSIM_DEVIATES.get((name, expression), night.slots[expression])
    assert {way: _as_written(night, slots) for way, slots in found.items()} == written


def _cronsim_slots(expression: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    simulated = CronSim(expression, after.astimezone(ZoneInfo(zone)))
    return list(takewhile(lambda slot: slot <= until, (at.astimezone(UTC) for at in simulated)))


def _window(night: Night) -> tuple[datetime, datetime]:
    start, end = (datetime.fromisoformat(text).astimezone(UTC) for text in (night.start, night.end))
    return start - SECOND, end - SECOND


def _as_written(night: Night, slots: list[datetime]) -> str:
    """Returns the slots in the notation of the table."""
    zone = ZoneInfo(night.zone)
    texts = [slot.astimezone(zone).strftime("%dT%H:%M%z") for slot in slots]
    return " ".join(f"{text[:-2]}:{text[-2:]}".removesuffix(":00") for text in texts)
