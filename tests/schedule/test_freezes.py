"""What a freeze blocks: spans, hours of a week over clock changes, and which slot is the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scheduler.schedule import ScheduleError, parse
from scheduler.schedule.freezes import Block, Freeze, blocked, end_of, holding
from scheduler.schedule.plan import DueSchedule, plan
from scheduler.schedule.weekly_hours import read_hours
from scheduler.states import BlockedSlots, MisfirePolicy

SEOUL, BERLIN = ZoneInfo("Asia/Seoul"), ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def freeze(number: int = 1, blocked: str = "skip", **values: Any) -> Freeze:
    known = {"since": None, "until": None, "hours": None, "tags": frozenset(), **values}
    return Freeze(
        id=number, name=f"f{number}", reason="r", blocked_slots=BlockedSlots(blocked), **known
    )


def span(number: int, since: str, until: str, blocked: str = "skip") -> Freeze:
    return freeze(number, blocked, since=at(since), until=at(until))


def held(slot: str, *freezes: Freeze, **options: Any) -> str | None:
    """The hour until which an hourly slot is held; "" if it is skipped; None if it is free."""
    found = blocked(at(slot), freezes, parse("0 * * * *", "UTC"), **options)
    if found is None:
        return None
    return found.held_until.strftime("%H:%M") if found.held_until else ""


def test_a_span_holds_from_its_beginning_until_before_its_end():
    one = span(1, "2026-11-27T03:00", "2026-11-27T06:00", "latest")

    assert held("2026-11-27T02:00", one) is None
    assert held("2026-11-27T03:00", one) == ""
    assert held("2026-11-27T05:00", one) == "06:00"  # the last one that it blocks
    assert held("2026-11-27T06:00", one) is None


def test_freezes_that_overlap_or_touch_are_one_and_the_last_slot_decides():
    first = span(1, "2026-11-27T03:00", "2026-11-27T06:00", "latest")
    second = span(2, "2026-11-27T05:00", "2026-11-27T08:00")
    third = span(3, "2026-11-27T08:00", "2026-11-27T09:30", "latest")

    assert held("2026-11-27T05:00", first, second) == ""
    assert held("2026-11-27T07:00", first, second) == ""  # the last one: `second` says skip
    assert held("2026-11-27T07:00", first, second, third) == ""
    assert held("2026-11-27T09:00", first, second, third) == "09:30"
    end = at("2026-11-27T03:30")
    assert held("2026-11-27T03:00", first, second, end_at=end) == "08:00"  # its only slot
    assert end_of((first, second, third), at("2026-11-27T04:00")) == at("2026-11-27T09:30")


def test_a_missed_slot_is_blocked_by_what_holds_when_it_would_start():
    late = span(1, "2026-11-27T04:30", "2026-11-27T05:30", "latest")

    assert held("2026-11-27T04:00", late) is None  # on time: it is recorded before
    now = at("2026-11-27T04:45")
    assert held("2026-11-27T04:00", late, caught_up_at=now) == ""  # 05:00 is later, and blocked
    over = at("2026-11-27T07:00")
    assert held("2026-11-27T05:00", late, caught_up_at=over) == "05:30"


@pytest.mark.parametrize(
    ("text", "zone", "inside", "outside"),
    [
        # KST is UTC + 9: Friday 18:00 is 09:00 UTC, Monday 06:00 is Sunday 21:00 UTC.
        ("Fri 18:00 - Mon 06:00", SEOUL, "2026-11-27T09:00", "2026-11-27T08:59"),
        ("Fri 18:00 - Mon 06:00", SEOUL, "2026-11-29T20:59", "2026-11-29T21:00"),
        ("mon-fri 22:00-06:00", SEOUL, "2026-11-27T20:59", "2026-11-28T13:00"),  # into Saturday
        ("Sat,Sunday 00:00 - 24:00", SEOUL, "2026-11-29T14:59", "2026-11-29T15:00"),
        ("daily 03:00 - 04:00; Wed 12:00 - 13:00", SEOUL, "2026-11-25T03:00", "2026-11-26T03:00"),
        ("Fri-Mon 12:00 - 13:00", SEOUL, "2026-11-30T03:00", "2026-11-24T03:00"),
        # Berlin, 29 March: 02:00 to 03:00 does not exist; a fixed time there is 03:00 (01:00 UTC).
        ("Sun 02:30 - 05:00", BERLIN, "2026-03-29T01:00", "2026-03-29T00:59"),
        ("Sat 23:00 - Sun 02:30", BERLIN, "2026-03-29T00:59", "2026-03-29T01:00"),
        # Berlin, 25 October: 02:00 to 03:00 comes twice; a fixed time is the first one.
        ("Sun 02:30 - 05:00", BERLIN, "2026-10-25T00:30", "2026-10-25T00:29"),
        ("Sat 23:00 - Sun 02:30", BERLIN, "2026-10-25T00:29", "2026-10-25T00:30"),
    ],
)
def test_hours_of_a_week(text: str, zone: ZoneInfo, inside: str, outside: str):
    one = freeze(hours=read_hours(text, zone))

    assert holding((one,), at(inside)) is one
    assert holding((one,), at(outside)) is None


def test_hours_hold_only_between_since_and_until():
    hours = read_hours("Fri 18:00 - Mon 06:00", SEOUL)
    one = freeze(hours=hours, since=at("2026-11-28T00:00"), until=at("2026-11-29T00:00"))

    assert one.span_at(at("2026-11-28T12:00")) == (at("2026-11-28T00:00"), at("2026-11-29T00:00"))
    assert one.span_at(at("2026-11-27T12:00")) is None
    assert one.span_at(at("2026-11-29T00:00")) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Fry 18:00 - Mon 06:00", "Fri"),
        ("Fri 18:00", "neither"),
        ("Fri 25:00 - Mon 06:00", "24:00"),
        ("Fri 18:61 - Mon 06:00", "24:00"),
        (";;", "empty"),
    ],
)
def test_hours_that_cannot_be_read_are_refused_with_the_reason(text: str, says: str):
    with pytest.raises(ScheduleError) as refused:
        read_hours(text, SEOUL)
    assert says in str(refused.value)
    assert refused.value.field == "hours"


@pytest.mark.parametrize(
    ("text", "is_all"),
    [
        ("Mon 00:00 - Mon 00:00", True),
        ("Fri 18:00 - Mon 06:00\nMon 06:00 - Fri 18:00", True),
        ("daily 00:00 - 24:00", True),
        ("daily 00:00 - 23:59", False),
        ("Fri 18:00 - Mon 06:00\nMon 06:01 - Fri 18:00", False),
    ],
)
def test_all_hours_of_the_week_are_known(text: str, is_all: bool):
    assert read_hours(text, SEOUL).covers_the_week() is is_all


def test_freezes_without_an_end_in_sight_hold_nothing_for_later():
    one = freeze(1, "latest", hours=read_hours("Fri 18:00 - Mon 06:00", SEOUL))
    other = freeze(2, "latest", hours=read_hours("Mon 06:00 - Fri 18:00", SEOUL))

    assert end_of((one, other), at("2026-11-27T12:00")) is None
    assert held("2026-11-27T12:00", one, other) == ""


def test_the_plan_blocks_after_the_misfire_policy_has_chosen():
    one = span(1, "2026-11-27T03:30", "2026-11-27T05:30", "latest")
    job = DueSchedule(
        schedule=parse("0 * * * *", "UTC"),
        next_run_at=at("2026-11-27T02:00"),
        misfire_policy=MisfirePolicy.ALL,
        freezes=(one,),
    )

    def held_by(now: datetime) -> dict[int, Block]:
        found = plan(job, now)
        assert [slot.hour for slot in found.slots] == [2, 3, 4, 5]
        return {slot.hour: block for slot, block in found.blocked}

    during = held_by(at("2026-11-27T05:00"))
    assert sorted(during) == [2, 3, 4, 5]  # 02:00 and 03:00 would start in the freeze
    assert [hour for hour, block in during.items() if block.held_until] == [5]
    after = held_by(at("2026-11-27T05:00") + timedelta(minutes=59))
    assert sorted(after) == [4, 5]
