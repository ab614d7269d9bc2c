"""Which slots a backfill runs next, and with which params. Pure: reads no clock, knows no table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from scheduler.schedule.slots import Schedule, slots_between
from scheduler.states import BackfillOrder

#: More slots than this in one range are most likely a slip of the person who typed it.
BACKFILL_LIMIT: Final = 10_000

_TICK: Final = timedelta(microseconds=1)
# No str.format: it would reach attributes of what it formats.
_SLOT: Final = re.compile(r"\{slot(?::([^{}]*))?\}")


def next_slots(
    schedule: Schedule,
    *,
    since: datetime,
    until: datetime,
    order: BackfillOrder,
    cursor: datetime | None,
    count: int,
) -> list[datetime]:
    """Up to `count` slots of [since, until] after `cursor` (None: from the start), in `order`."""
    if order == BackfillOrder.OLDEST_FIRST:
        after = since - _TICK if cursor is None else cursor
        return slots_between(schedule, after, until, count)
    found: list[datetime] = []
    slot = schedule.last_until(until if cursor is None else cursor - _TICK)
    while slot is not None and slot >= since and len(found) < count:
        found.append(slot)
        slot = schedule.last_until(slot - _TICK)
    return found


def params_for(params: Mapping[str, Any], slot: datetime, zone: tzinfo) -> dict[str, Any]:
    """`params` with each `{slot}` in its texts replaced by the slot as `2026-01-31T18:00:00Z`, and
    each `{slot:%Y-%m-%d}` by what strftime makes of it in `zone`. Keys and other braces stay.
    """
    local = slot.astimezone(zone)

    def word(match: re.Match[str]) -> str:
        if match[1] is None:
            return slot.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return local.strftime(match[1])

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return _SLOT.sub(word, value)
        if isinstance(value, Mapping):
            return {key: filled(member) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [filled(member) for member in value]
        return value

    return {key: filled(member) for key, member in params.items()}
