"""The search in the logs of a job's runs: run by run, by indexes, and no more than a bound."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.models import JobExecution, JobLog

#: A search looks at so many runs, and ends earlier when it has found enough lines.
RUNS: Final = 300
LINES: Final = 200
_AT_ONCE: Final = 25


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines of logs, those of the newest run first, each run's in order.

    `older_than`: where a search goes on, by the time of the runs; None: there are no older runs.
    """

    lines: list[JobLog]
    runs: int
    older_than: datetime | None


def search(
    job_id: int,
    *,
    since: datetime | None,
    until: datetime | None,
    levels: Collection[str],
    text: str,
) -> Lines:
    """Lines of runs in [since, until) with one of these levels (none: all) that hold `text`."""
    runs = JobExecution.objects.filter(job_id=job_id)
    if since is not None:
        runs = runs.filter(scheduled_time__gte=since)
    if until is not None:
        runs = runs.filter(scheduled_time__lt=until)
    ordered = runs.order_by("-scheduled_time").values_list("id", "scheduled_time")
    found = list(ordered[: RUNS + 1])
    lines: list[JobLog] = []
    looked_at = 0
    for first in range(0, min(len(found), RUNS), _AT_ONCE):
        part = found[first : min(first + _AT_ONCE, RUNS)]
        lines += _lines([id_ for id_, _at in part], levels, text, LINES + 1 - len(lines))
        looked_at = first + len(part)
        if len(lines) > LINES:
            break
    is_done = looked_at == len(found)
    return Lines(
        lines=lines[:LINES],
        runs=looked_at,
        older_than=None if is_done else found[looked_at - 1][1],
    )


def _lines(ids: list[int], levels: Collection[str], text: str, limit: int) -> list[JobLog]:
    lines = JobLog.objects.filter(execution_id__in=ids)
    if levels:
        lines = lines.filter(level__in=levels)
    if text:
        lines = lines.filter(message__icontains=text)
    order = {id_: place for place, id_ in enumerate(ids)}
    rows = list(lines.order_by("-execution_id", "attempt", "seq")[:limit])
    rows.sort(key=lambda line: (order[line.execution_id], line.attempt, line.seq))
    return rows
