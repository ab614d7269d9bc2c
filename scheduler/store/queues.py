"""What queues hold now and how fast they move. Each statement stops at a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from scheduler.models import CronJob
from scheduler.states import RunStatus
from scheduler.store.connection import fetch_all, instant

#: Rates are those of the last five minutes.
RATE_SPAN: Final = timedelta(minutes=5)
#: So many runs that were made, or ended, are looked at for a rate: the newest ones.
RATE_ROWS: Final = 20_000
RUNNING_ROWS: Final = 20_000

_BY_END: Final = {"mysql": "FORCE INDEX (executions_ended)"}
_ENDED: Final = """
SELECT queue, COUNT(*), MIN(moment)
  FROM (SELECT queue, finished_at AS moment FROM job_executions {index}
         WHERE finished_at > %s
         ORDER BY finished_at DESC LIMIT %s) newest
 GROUP BY queue
"""
# Runs are made in the order of their ids, near enough for a rate.
_MADE: Final = """
SELECT queue, COUNT(*), MIN(moment)
  FROM (SELECT queue, created_at AS moment FROM job_executions ORDER BY id DESC LIMIT %s) newest
 WHERE moment > %s
 GROUP BY queue
"""
_MADE_STEPS: Final = (500, 5_000, RATE_ROWS)
_RUNNING: Final = """
SELECT queue, COUNT(*)
  FROM (SELECT queue FROM job_executions WHERE status = %s LIMIT %s) running
 GROUP BY queue
"""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Runs per second, by queue, over `seconds`, which are fewer where very many runs came."""

    per_second: Mapping[str, float] = field(default_factory=dict)
    seconds: float = RATE_SPAN.total_seconds()

    def of(self, queue: str) -> float:
        return self.per_second.get(queue, 0.0)


def made(now: datetime) -> Rates:
    """How fast runs come into each queue."""
    rows: list[tuple[Any, ...]] = []
    for limit in _MADE_STEPS:
        rows = fetch_all(_MADE, [limit, now - RATE_SPAN])
        if sum(count for _, count, _ in rows) < limit:
            break
    return _rates(rows, now)


def ended(now: datetime) -> Rates:
    """How fast runs of each queue end, whatever their outcome."""
    statement = _ENDED.format(index=_BY_END.get(connection.vendor, ""))
    return _rates(fetch_all(statement, [now - RATE_SPAN, RATE_ROWS]), now)


def running() -> dict[str, int]:
    """How many runs of each queue go on."""
    return dict(fetch_all(_RUNNING, [RunStatus.RUNNING, RUNNING_ROWS]))


def of_jobs() -> set[str]:
    """The queues that jobs name."""
    names: Any = CronJob.objects.order_by().values_list("queue", flat=True).distinct()
    return set(names)


def _rates(rows: Sequence[tuple[Any, ...]], now: datetime) -> Rates:
    """`rows`: queue, how many, and the oldest of them."""
    seconds = RATE_SPAN.total_seconds()
    if sum(count for _, count, _ in rows) >= RATE_ROWS:
        oldest = min(at for _, _, moment in rows if (at := instant(moment)) is not None)
        seconds = max(1.0, (now - oldest).total_seconds())
    return Rates(per_second={queue: count / seconds for queue, count, _ in rows}, seconds=seconds)
