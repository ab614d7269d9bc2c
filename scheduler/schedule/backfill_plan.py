"""Which slots a backfill runs next, and with which params."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from scheduler.schedule.slots import Schedule, slots_between
from scheduler.states import BackfillOrder

#: A range with more slots than this is most likely a typing error.
BACKFILL_LIMIT: Final = 10_000

_INSTANT: Final = timedelta(microseconds=1)
# Not str.format, which reads attributes of the value that it formats.
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
    """Returns the next slots of [since, until] in `order`, at most `count`.

    They follow `cursor`, the last slot that has a run. None: they begin at the first one.
    """
    if order == BackfillOrder.OLDEST_FIRST:
        after = since - _INSTANT if cursor is None else cursor
        return slots_between(schedule, after, until, count)
    found: list[datetime] = []
    slot = schedule.last_until(until if cursor is None else cursor - _INSTANT)
    while slot is not None and slot >= since and len(found) < count:
        found.append(slot)
        slot = schedule.last_until(slot - _INSTANT)
    return found


def params_for(params: Mapping[str, Any], slot: datetime, zone: tzinfo) -> dict[str, Any]:
    """Returns `params` with the slot in place of the placeholders in its texts.

    `{slot}` becomes `2026-01-31T18:00:00Z`; `{slot:%Y-%m-%d}` becomes the slot in `zone`, formatted
    by strftime. Keys and other braces stay as they are.
    """
    local = slot.astimezone(zone)

    def slot_text(match: re.Match[str]) -> str:
        if match[1] is None:
            return slot.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return local.strftime(match[1])

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return _SLOT.sub(slot_text, value)
        if isinstance(value, Mapping):
            return {key: fill(member) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [fill(member) for member in value]
        return value

    return {key: fill(member) for key, member in params.items()}
