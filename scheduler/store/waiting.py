"""What PENDING runs wait for: the one rule, and how many wait for what. Writes nothing.

A run whose `available_at` has come waits for a worker, whatever its reason says: a claim looks at
it. The others say in `reason_code` what holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Q

from scheduler.states import ReasonCode, RunStatus, WaitsFor
from scheduler.store import heads
from scheduler.store.connection import fetch_all
from scheduler.store.deliveries import COUNTED_SQL

_CODES: Final[Mapping[WaitsFor, frozenset[ReasonCode]]] = {
    WaitsFor.LIMIT: frozenset({ReasonCode.LIMIT_REACHED, ReasonCode.RATE_REACHED}),
    WaitsFor.OVERLAP: frozenset({ReasonCode.OVERLAP_HELD}),
    WaitsFor.APPROVAL: frozenset({ReasonCode.AWAITS_APPROVAL}),
    WaitsFor.UPSTREAM: frozenset({ReasonCode.UPSTREAM_AWAITED}),
    WaitsFor.FREEZE: frozenset({ReasonCode.FROZEN_HELD}),
}
_HELD: Final = frozenset().union(*_CODES.values())


def of_code(code: str | None) -> WaitsFor:
    """What a run with this reason waits for whose `available_at` has not come."""
    return next((each for each, codes in _CODES.items() if code in codes), WaitsFor.TIME)


def waits_for(what: WaitsFor, now: datetime) -> Q:
    """The runs that wait for it, as a condition on executions."""
    pending = Q(status=RunStatus.PENDING.value)
    if what == WaitsFor.WORKER:
        return pending & Q(available_at__lte=now)
    later = pending & Q(available_at__gt=now)
    if what == WaitsFor.TIME:
        return later & (Q(reason_code__isnull=True) | ~Q(reason_code__in=sorted(_HELD)))
    return later & Q(reason_code__in=sorted(_CODES[what]))


# Of one queue and priority: what is due lies before it in the index, and is not read.
_LATER: Final = f"""
SELECT reason_code FROM (
SELECT reason_code FROM job_executions {{index}}
 WHERE {heads.IS_PENDING} AND queue = %s AND priority = %s AND available_at > %s AND {COUNTED_SQL}
 LIMIT %s) AS of_level
"""  # noqa: S608 - of constants
#: So many queues and priorities are in one statement. SQLite allows 500 parts.
_LEVELS_AT_ONCE: Final = 100


def count_later(now: datetime, limit: int) -> dict[WaitsFor, int]:
    """How many runs wait for what, but for a worker. Ends where it has counted `limit`."""
    levels = [head for head in heads.heads(now) if head.first_at > now or head.next_at is not None]
    part = _LATER.format(index=heads.BY_LEVEL[connection.vendor])
    counts: dict[WaitsFor, int] = {}
    for first in range(0, len(levels), _LEVELS_AT_ONCE):
        values: list[Any] = []
        some = levels[first : first + _LEVELS_AT_ONCE]
        for head in some:
            values += [head.queue, head.priority, now, limit]
        parts = " UNION ALL ".join([part] * len(some))
        statement = f"SELECT reason_code, COUNT(*) FROM ({parts}) AS later GROUP BY reason_code"  # noqa: S608
        for code, count in fetch_all(statement, values):
            counts[of_code(code)] = counts.get(of_code(code), 0) + count
        if sum(counts.values()) >= limit:
            break
    return counts
