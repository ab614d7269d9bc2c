"""The last runs of some jobs, read by statements whose cost does not grow with the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from scheduler.models import has_slot, slot_of_run
from scheduler.states import ParamSource
from scheduler.store.connection import fetch_all, instant

# SQLite takes 500 parts of a UNION.
_MOST_JOBS: Final = 200

# The newest rows of one job, by the index on (job, scheduled_time). One such query per job, because
# SQLite and MariaDB have no LATERAL, and a window function would read the whole history.
_NEWEST: Final = """
SELECT * FROM (
SELECT job_id, id, status, scheduled_time, started_at, finished_at, logical_time,
       param_source, attempt
  FROM job_executions
 WHERE job_id = %s
 ORDER BY scheduled_time DESC
 LIMIT %s) newest{number}
"""


@dataclass(frozen=True, kw_only=True)
class RecentRun:
    """One execution, as a sparkline shows it."""

    execution_id: int
    status: str
    scheduled_time: datetime
    started_at: datetime | None
    finished_at: datetime | None
    logical_time: datetime | None = None
    param_source: str = ParamSource.CRON.value
    attempt: int = 1

    @property
    def slot(self) -> datetime:
        """The slot that it stands for, or when it was asked for."""
        return slot_of_run(logical_time=self.logical_time, scheduled_time=self.scheduled_time)

    @property
    def has_slot(self) -> bool:
        return has_slot(logical_time=self.logical_time, param_source=self.param_source)

    @property
    def late_seconds(self) -> float | None:
        """How long after its slot it began. None: it was asked for, or needed several attempts."""
        is_planned = self.param_source == ParamSource.CRON
        if not is_planned or self.started_at is None or self.attempt != 1:
            return None
        return max(0.0, (self.started_at - self.scheduled_time).total_seconds())

    @property
    def took_seconds(self) -> float | None:
        """How long its last attempt ran. None: it has not ended, or it never ran."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


def recent_runs(job_ids: Sequence[int], limit: int) -> dict[int, list[RecentRun]]:
    """The newest `limit` executions of each job, oldest first. A job without any is left out."""
    found: dict[int, list[RecentRun]] = {}
    for row in _rows(job_ids, limit):
        scheduled_time = instant(row[3])
        assert scheduled_time is not None
        run = RecentRun(
            execution_id=row[1],
            status=row[2],
            scheduled_time=scheduled_time,
            logical_time=instant(row[6]),
            param_source=row[7],
            attempt=row[8],
            started_at=instant(row[4]),
            finished_at=instant(row[5]),
        )
        found.setdefault(row[0], []).append(run)
    for runs in found.values():
        runs.sort(key=lambda run: run.scheduled_time)
    return found


def _rows(job_ids: Sequence[int], limit: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(job_ids), _MOST_JOBS):
        part = job_ids[first : first + _MOST_JOBS]
        statement = "UNION ALL".join(_NEWEST.format(number=at) for at in range(len(part)))
        yield from fetch_all(statement, [value for job_id in part for value in (job_id, limit)])
