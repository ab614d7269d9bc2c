"""What waits at the front: per queue and priority the first run, and the next one after now.

One statement of index probes, whatever waits: ten priorities are asked for by equality, because no
index is read in order of priority and age at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from django.db import connection

from scheduler.models import LIMITS
from scheduler.states import RunStatus
from scheduler.store.connection import fetch_all, instant, numbers
from scheduler.store.prepared import fetch_often

LOWEST, HIGHEST = LIMITS["priority"]
Level = tuple[str, int]
"""A queue and a priority."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The front of one queue and priority."""

    queue: str
    priority: int
    first_at: datetime
    """`available_at` of the first run, which may be in the future."""
    next_at: datetime | None = None
    """`available_at` of the first run after now. None: there is none."""


class Floors:
    """Where a process has claimed last in each queue and priority. Its next claim looks from there.

    The index keeps the entries of rows that have left it, as long as an old snapshot is open
    anywhere: without floors each claim reads all of them. A run that comes back below the floor is
    not seen until `forget`, so call that once a second and when a claim was not full. Not
    thread-safe.
    """

    def __init__(self) -> None:
        self._last: dict[Level, tuple[datetime, int]] = {}

    def forget(self) -> None:
        self._last.clear()

    def last(self, level: Level) -> tuple[datetime, int] | None:
        """`available_at` and id of the last run that was claimed there."""
        return self._last.get(level)

    def of(self, queue: str) -> list[tuple[Level, tuple[datetime, int]]]:
        return [(level, last) for level, last in self._last.items() if level[0] == queue]

    def advance(self, claimed: Iterable[tuple[Level, datetime, int]]) -> None:
        for level, available_at, id_ in claimed:
            last = self._last.get(level)
            if last is None or last < (available_at, id_):
                self._last[level] = (available_at, id_)


def heads(
    now: datetime, queues: Sequence[str] | None = None, floors: Floors | None = None
) -> list[Head]:
    """The heads of `queues` (None: of all) in which something waits. One statement, not locked.

    With `floors`, which need `queues`, `next_at` is not read.
    """
    if floors is not None:
        assert queues is not None
        return _above(floors, queues)
    found = _HEADS[connection.vendor](now)
    return [head for head in found if queues is None or head.queue in queues]


def runnable_queues(now: datetime) -> list[str]:
    """The queues with runs that may start now, by name."""
    return sorted({head.queue for head in heads(now) if head.first_at <= now})


def waiting_since(now: datetime) -> dict[str, datetime]:
    """Since when the first runnable run of each queue waits."""
    found: dict[str, datetime] = {}
    for head in heads(now):
        if head.first_at <= now:
            found[head.queue] = min(head.first_at, found.get(head.queue, head.first_at))
    return found


def next_available_at(now: datetime) -> datetime | None:
    """When the next run may start, of those that may not start yet. None: there is none."""
    return min((head.next_at for head in heads(now) if head.next_at is not None), default=None)


def count_runnable(now: datetime, queues: Sequence[str], *, limit: int) -> int:
    """How many runs of these queues may start now; `limit` where there are more."""
    count = 0
    statement = _COUNT.format(index=BY_LEVEL[connection.vendor], is_pending=IS_PENDING)
    for head in heads(now, queues, Floors()):
        if head.first_at <= now and count < limit:
            values = [head.queue, head.priority, now, limit - count]
            count += fetch_all(statement, values)[0][0]
    return count


#: SQLite uses a partial index only where it sees its condition.
IS_PENDING: Final = f"status = '{RunStatus.PENDING}'"
#: Else MySQL may choose another index, and sort.
BY_LEVEL: Final = {"mysql": "FORCE INDEX (executions_to_claim)", "postgresql": "", "sqlite": ""}
#: After a floor (`floor_values`), in order of available_at and id.
_AFTER: Final = "AND (available_at, id) > (%s, %s)"
AFTER: Final = {
    "postgresql": _AFTER,
    # It reads no range of an index for pairs.
    "mysql": "AND (available_at > %s OR (available_at = %s AND id > %s))",
    "sqlite": _AFTER,
}


def floor_values(floor: tuple[datetime, int]) -> list[Any]:
    """The parameters of `AFTER`."""
    available_at, id_ = floor
    if connection.vendor == "mysql":
        return [available_at, available_at, id_]
    return [available_at, id_]


_COUNT: Final = """
SELECT COUNT(*) FROM (
SELECT 1 AS one FROM job_executions {index}
 WHERE {is_pending} AND queue = %s AND priority = %s AND available_at <= %s LIMIT %s
) AS waiting
"""
_PRIORITIES: Final = " UNION ALL ".join(
    f"SELECT {priority} AS priority" for priority in range(LOWEST, HIGHEST + 1)
)
_FIRST: Final = """
SELECT available_at FROM job_executions {index}
 WHERE {is_pending} AND queue = {queue} AND priority = {priority} {more}
 ORDER BY available_at, id LIMIT 1
"""


def _first(queue: str, priority: str, more: str = "") -> str:
    return _FIRST.format(
        index=BY_LEVEL[connection.vendor],
        is_pending=IS_PENDING,
        queue=queue,
        priority=priority,
        more=more,
    )


def _above(floors: Floors, queues: Sequence[str]) -> list[Head]:
    values: list[Any] = []
    for queue in queues:
        values += [queue, queue]
        for level, floor in floors.of(queue):
            values += [*level, *level, *floor_values(floor)]
    levels = tuple(tuple(priority for (_, priority), _ in floors.of(queue)) for queue in queues)
    statement = _statement_above(connection.vendor, levels)
    return [
        Head(queue=queue, priority=priority, first_at=first_at)
        for queue, priority, at in fetch_often(statement, values)
        if (first_at := instant(at)) is not None
    ]


_LEVELS: Final = """
SELECT %s, p.priority, ({first}) FROM ({priorities}) p WHERE p.priority {others}
"""


@lru_cache(maxsize=1_000)
def _statement_above(vendor: str, floors: tuple[tuple[int, ...], ...]) -> str:
    """`floors`: the priorities with a floor, of each queue."""
    # MySQL reads a range of an index only between constants, so each floor has its own SELECT. And
    # it compares texts that are no columns by another collation, so each queue has, too.
    first = _first("%s", "p.priority")
    above = _first("%s", "%s", AFTER[vendor])
    parts: list[str] = []
    for priorities in floors:
        others = f"NOT IN ({numbers(priorities)})" if priorities else "IS NOT NULL"
        parts.append(_LEVELS.format(first=first, priorities=_PRIORITIES, others=others))
        parts += [f"SELECT %s, %s, ({above})"] * len(priorities)
    return " UNION ALL ".join(parts)


# Each queue is the first one after the one before it.
_BY_PROBES: Final = """
WITH RECURSIVE queues (queue) AS (
SELECT (SELECT queue FROM job_executions WHERE {is_pending} ORDER BY queue LIMIT 1)
 UNION ALL
SELECT (SELECT e.queue FROM job_executions e
         WHERE {is_pending} AND e.queue > queues.queue ORDER BY e.queue LIMIT 1)
  FROM queues WHERE queues.queue IS NOT NULL
)
SELECT q.queue, p.priority, ({first}), ({next})
  FROM queues q CROSS JOIN ({priorities}) p
 WHERE q.queue IS NOT NULL
"""
# The server reads the first entry of each group and skips the others: "Using index for group-by".
# It does so for a range, even if it holds one value. Of a range that another table bounds it reads
# all entries, so _BY_PROBES is not for MySQL.
_BY_GROUPS: Final = """
SELECT queue, priority, MIN(available_at)
  FROM job_executions FORCE INDEX (executions_to_claim)
 WHERE status >= '{pending}' AND status <= '{pending}' {more}
 GROUP BY status, queue, priority
"""


def _by_probes(now: datetime) -> list[Head]:
    statement = _BY_PROBES.format(
        is_pending=IS_PENDING,
        first=_first("q.queue", "p.priority"),
        next=_first("q.queue", "p.priority", "AND available_at > %s"),
        priorities=_PRIORITIES,
    )
    return [
        Head(queue=queue, priority=priority, first_at=first_at, next_at=instant(next_at))
        for queue, priority, at, next_at in fetch_all(statement, [now])
        if (first_at := instant(at)) is not None
    ]


def _by_groups(now: datetime) -> list[Head]:
    first = _BY_GROUPS.format(pending=RunStatus.PENDING, more="")
    after = _BY_GROUPS.format(pending=RunStatus.PENDING, more="AND available_at > %s")
    firsts: dict[Level, datetime] = {}
    nexts: dict[Level, datetime] = {}
    for queue, priority, at in fetch_all(f"{first} UNION ALL {after}", [now]):
        found = instant(at)
        assert found is not None
        # The future ones come second, if there are any.
        (nexts if (queue, priority) in firsts else firsts)[queue, priority] = found
    return [
        Head(queue=queue, priority=priority, first_at=at, next_at=nexts.get((queue, priority)))
        for (queue, priority), at in firsts.items()
    ]


_HEADS: Final[dict[str, Callable[[datetime], list[Head]]]] = {
    "postgresql": _by_probes,
    "mysql": _by_groups,
    "sqlite": _by_probes,
}
