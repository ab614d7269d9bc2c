"""Which slots a backfill runs next, and with which params."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from scheduler.schedule import parse
from scheduler.schedule.backfill_plan import next_slots, params_for
from scheduler.states import BackfillOrder


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("step", [1, 3, 100])
def test_step_by_step_both_orders_give_the_same_slots(zone: str, step: int):
    schedule = parse("*/30 * * * *", zone)
    # Over the night on which Berlin repeats an hour.
    since, until = datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 4, tzinfo=UTC)

    def walk(order: BackfillOrder) -> list[datetime]:
        found: list[datetime] = []
        while True:
            more = next_slots(
                schedule,
                since=since,
                until=until,
                order=order,
                cursor=found[-1] if found else None,
                count=step,
            )
            if not more:
                return found
            found += more

    oldest_first = walk(BackfillOrder.OLDEST_FIRST)
    assert oldest_first == [since + i * timedelta(minutes=30) for i in range(13)]
    assert walk(BackfillOrder.NEWEST_FIRST) == oldest_first[::-1]


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{slot}", "2026-01-10T18:00:00Z"),
        ("day={slot:%Y-%m-%d}&at={slot:%H}", "day=2026-01-11&at=03"),
        ("{slot.__class__}", "{slot.__class__}"),
        ("{slot!r} {0} {} {other} {{slot", "{slot!r} {0} {} {other} {{slot"),
        ("{slot:}", ""),
        ("{slot:{slot}}", "{slot:2026-01-10T18:00:00Z}"),
    ],
)
def test_the_slot_is_filled_into_texts_and_nothing_else_is(text: str, filled: str):
    slot = datetime(2026, 1, 10, 18, tzinfo=UTC)
    found = params_for(
        {"{slot}": [text, {"deep": text}], "n": 7, "none": None}, slot, ZoneInfo("Asia/Seoul")
    )
    assert found == {"{slot}": [filled, {"deep": filled}], "n": 7, "none": None}
