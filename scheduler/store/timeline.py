"""What ran and runs of some jobs within a window of time. What will run: planned_slots.py.

Instants are seconds from the window's start, computed by the database: a page shows 20,000 of them.
Each statement reads ranges of an index and stops at a limit, and the answer says where it did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import connection

from scheduler.models import JobCounters
from scheduler.states import GOING_ON
from scheduler.store.connection import fetch_all, instant, numbers
from scheduler.store.histograms import read

#: So many runs are read for one window.
RUNS: Final = 20_000
#: Runs that began before the window are looked for among so many ends after its start.
EARLIER: Final = 20_000
#: A run that begins in the window although it was due so long before is found.
LATENESS: Final = timedelta(hours=1)
#: Runs that go on now and were due before the window.
RUNNING: Final = 2_000
#: No timeout is longer than a day.
_LONGEST_RUN: Final = timedelta(days=2)


class Run(NamedTuple):
    """An execution. Seconds from the window's start; None: it has not begun, or not ended."""

    id: int
    job_id: int
    status: str
    due: float
    started: float | None
    finished: float | None


@dataclass(frozen=True, kw_only=True)
class Runs:
    runs: Sequence[Run]
    cut_jobs: frozenset[int]
    """Of these jobs only the newest runs of the window are there."""


_SECONDS: Final = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM {0} - CAST(%s AS timestamptz)) AS double precision)",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, %s, {0}) / 1000000e0",
    "sqlite": "(julianday({0}) - julianday(%s)) * 86400.0",
}
_BY_SLOT: Final = {"mysql": "FORCE INDEX (one_execution_per_slot)"}
_BY_END: Final = {"mysql": "FORCE INDEX (executions_ended)"}
_DUE: Final = """
SELECT {columns} FROM job_executions {index}
 WHERE {which}
 ORDER BY job_id, scheduled_time LIMIT %s
"""
# The index holds all columns of the condition, so only the rows that are wanted are read.
_EARLIER: Final = """
SELECT {columns} FROM job_executions {index}
 WHERE finished_at >= %s AND finished_at < %s AND started_at < %s AND job_id IN ({ids})
"""
_LAST_END: Final = """
SELECT finished_at FROM job_executions
 WHERE finished_at >= %s ORDER BY finished_at LIMIT 1 OFFSET %s
"""
_RUNNING: Final = """
SELECT {columns} FROM job_executions
 WHERE status IN (%s, %s) AND job_id IN ({ids}) AND scheduled_time < %s
 LIMIT %s
"""
# The slot behind the newest ones that may be shown. NULL: there are fewer.
_FLOORS: Final = """
SELECT j.id, (SELECT e.scheduled_time FROM job_executions e {index}
               WHERE e.job_id = j.id AND e.scheduled_time >= %s AND e.scheduled_time < %s
               ORDER BY e.scheduled_time DESC LIMIT 1 OFFSET %s)
  FROM cron_jobs j
 WHERE j.id IN ({ids})
"""


def runs_of(
    job_ids: Collection[int],
    since: datetime,
    until: datetime,
    now: datetime,
    *,
    limit: int = RUNS,
) -> Runs:
    """The runs of these jobs that were due in [since, until), or went on in it, by job and slot.

    Of jobs with very many only the newest: each may have its part of `limit`.
    """
    if not job_ids or since > now:
        return Runs(runs=(), cut_jobs=frozenset())
    ids = numbers(job_ids)
    floors: dict[int, datetime] = {}
    first = since - LATENESS
    due = _due(f"job_id IN ({ids}) AND {_IN_WINDOW}", [first, until], since, limit + 1)
    if len(due) > limit:
        part = max(1, limit // len(job_ids))
        floors = _floors(ids, since, until, part)
        which, values = _above(floors, set(job_ids) - floors.keys(), first, until)
        due = _due(which, values, since, limit)
    found = {run.id: run for run in (*_earlier(ids, since, until), *_running(ids, since), *due)}
    seconds = (until - since).total_seconds()
    runs = [run for run in found.values() if _lies_in(run, seconds)]
    runs.sort(key=lambda run: (run.job_id, run.due, run.id))
    return Runs(runs=runs, cut_jobs=frozenset(floors))


def _lies_in(run: Run, seconds: float) -> bool:
    if run.due >= 0:
        return True
    if run.finished is not None and run.finished < 0:
        return False
    return run.started is None or run.started < seconds


_IN_WINDOW: Final = "scheduled_time >= %s AND scheduled_time < %s"


def _due(which: str, values: Sequence[Any], since: datetime, limit: int) -> list[Run]:
    vendor = connection.vendor
    columns, origins = _columns(since)
    statement = _DUE.format(columns=columns, index=_BY_SLOT.get(vendor, ""), which=which)
    return _runs(statement, [*origins, *values, limit])


def _floors(ids: str, since: datetime, until: datetime, part: int) -> dict[int, datetime]:
    statement = _FLOORS.format(index=_BY_SLOT.get(connection.vendor, ""), ids=ids)
    rows = fetch_all(statement, [since, until, part])
    return {job_id: at for job_id, floor in rows if (at := instant(floor)) is not None}


def _above(
    floors: Mapping[int, datetime], others: Collection[int], since: datetime, until: datetime
) -> tuple[str, list[Any]]:
    # Each range between constants: of one that another table bounds, MySQL reads all of the job.
    parts = [f"(job_id = {job_id} AND scheduled_time > %s AND scheduled_time < %s)"
             for job_id in floors]  # fmt: skip
    values: list[Any] = [value for floor in floors.values() for value in (floor, until)]
    if others:
        parts.append(f"(job_id IN ({numbers(others)}) AND {_IN_WINDOW})")
        values += [since, until]
    return f"({' OR '.join(parts)})", values


def _earlier(ids: str, since: datetime, until: datetime) -> list[Run]:
    index = _BY_END.get(connection.vendor, "")
    ends = fetch_all(_LAST_END, [since, EARLIER])
    last = instant(ends[0][0]) if ends else max(until, since + _LONGEST_RUN)
    columns, origins = _columns(since)
    statement = _EARLIER.format(columns=columns, index=index, ids=ids)
    return _runs(statement, [*origins, since, last, since])


def _running(ids: str, since: datetime) -> list[Run]:
    columns, origins = _columns(since)
    statement = _RUNNING.format(columns=columns, ids=ids)
    return _runs(statement, [*origins, *sorted(GOING_ON), since, RUNNING])


def _columns(since: datetime) -> tuple[str, list[datetime]]:
    seconds = _SECONDS[connection.vendor]
    instants = ("scheduled_time", "started_at", "finished_at")
    columns = ", ".join(["id", "job_id", "status", *(seconds.format(each) for each in instants)])
    return columns, [since] * len(instants)


def _runs(statement: str, values: Sequence[Any]) -> list[Run]:
    return [Run._make(row) for row in fetch_all(statement, values)]


# --- how long they usually take -------------------------------------------------------------------


def usual_seconds(job_ids: Collection[int]) -> dict[int, float]:
    """Within how many seconds 95 % of the counted successful runs of each job ended.

    An estimate from its histogram. Jobs of which nothing is counted yet are missing.
    """
    rows = JobCounters.objects.filter(job_id__in=job_ids).values_list("job_id", "duration")
    found = ((job_id, read(duration).quantile(0.95)) for job_id, duration in rows)
    return {job_id: seconds for job_id, seconds in found if seconds is not None}
