"""Ended runs by the hour, for charts. Hours that are over are counted once and cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.core.cache import cache
from django.db import connection

from scheduler.store.connection import TOOK, fetch_all
from scheduler.store.deliveries import COUNTED_SQL

HOUR: Final = timedelta(hours=1)
HOUR_LIMIT: Final = 50_000

# Hours that are over change only when somebody retries or deletes one of their runs.
_FRESH_HOUR_SECONDS: Final = 60
_OLD_HOUR_SECONDS: Final = 600


@dataclass(frozen=True, kw_only=True)
class Hour:
    """The runs that ended in the hour from `start` on."""

    start: datetime
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Successful runs by duration, shortest first: (how many, the seconds they took together).
    durations: tuple[tuple[int, float], ...] = ()
    #: Only the first HOUR_LIMIT of its runs were counted.
    is_capped: bool = False

    def percentile(self, percent: int) -> float | None:
        """The seconds within which `percent` of the successful runs ended (nearest rank).

        Each run counts as long as the mean of its bucket, whose runs differ by at most a tenth.
        """
        total = sum(count for count, _ in self.durations)
        rank = -(-total * percent // 100)  # rounded up
        for count, seconds in self.durations:
            rank -= count
            if rank <= 0:
                return seconds / count
        return None


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Hours, oldest first. None: the deadline came before this hour was counted."""

    hours: tuple[Hour | None, ...]
    counted: int
    """How many hours that are over were counted, and not read from the cache."""

    @property
    def missing(self) -> int:
        return self.hours.count(None)


# Two parts, as in statistics.py: without deliveries, and by the index for the runs of jobs. Each
# bucket is a tenth wide: one statement returns counts and percentiles without a sort.
_HOUR: Final = """
SELECT status, bucket, COUNT(*), SUM(took)
  FROM (SELECT status, took,
               CASE WHEN status <> 'SUCCESS' OR took IS NULL THEN NULL
                    WHEN took <= 0.001 THEN -70
                    ELSE FLOOR(LN(took) * 10) END AS bucket
          FROM (SELECT * FROM (SELECT status, {took} AS took
                  FROM job_executions
                 WHERE finished_at >= %s AND finished_at < %s AND job_id IS NOT NULL
                 ORDER BY finished_at
                 LIMIT %s) of_jobs
                 UNION ALL
                SELECT * FROM (SELECT status, {took} AS took
                  FROM job_executions
                 WHERE finished_at >= %s AND finished_at < %s AND job_id IS NULL AND {others}
                 ORDER BY finished_at
                 LIMIT %s) of_others) ended) measured
 GROUP BY status, bucket
"""


def hour(start: datetime) -> Hour:
    """The hour from `start` on. Reads one range of the index on finished_at."""
    statement = _HOUR.format(took=TOOK[connection.vendor], others=COUNTED_SQL)
    counts: dict[str, int] = {}
    durations: list[tuple[float, int, float]] = []
    for status, bucket, count, seconds in fetch_all(
        statement, [start, start + HOUR, HOUR_LIMIT + 1] * 2
    ):
        counts[status] = counts.get(status, 0) + int(count)
        if bucket is not None:
            durations.append((float(bucket), int(count), max(0.0, float(seconds))))
    return Hour(
        start=start,
        counts=counts,
        durations=tuple((count, seconds) for _, count, seconds in sorted(durations)),
        is_capped=sum(counts.values()) > HOUR_LIMIT,
    )


def hours_until(newest: datetime, count: int, *, is_late: Callable[[], bool]) -> Hours:
    """The `count` hours up to the current one, which begins at `newest`.

    Hours that are over come from the cache if they are there. The others are counted, newest first,
    until `is_late`; always the current hour and one more, so that later calls find the rest.
    """
    starts = [newest - HOUR * back for back in range(count)]
    keys = {start: f"jobu.hour.{start.timestamp():.0f}" for start in starts}
    known: dict[str, Hour] = cache.get_many(list(keys.values())[1:])
    found: list[Hour | None] = []
    counted = 0
    for back, start in enumerate(starts):
        one = known.get(keys[start])
        if one is None and (back == 0 or counted == 0 or not is_late()):
            one = hour(start)
            if back > 0:
                counted += 1
                # Different ages, so that they are not all counted again in the same moment.
                age = _FRESH_HOUR_SECONDS if back == 1 else _OLD_HOUR_SECONDS + 7 * back
                cache.set(keys[start], one, age)
        found.append(one)
    return Hours(hours=tuple(reversed(found)), counted=counted)
