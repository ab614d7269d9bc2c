"""What jobs show of their last run: `last_run_at` and `last_status`, summaries for lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Q

from scheduler.models import CronJob, JobExecution
from scheduler.store.connection import execute, fetch_all, instant, lock_skipping
from scheduler.transient import in_transaction

_CHUNK = 250
# Compared with a plain value and not with a CASE, which MySQL would treat as text.
_SHOWS_NO_LATER = "(id = %s AND (last_run_at IS NULL OR last_run_at <= %s))"


# The newest ended run of each job that does not show it yet. Two ends may have one `started_at`: a
# run fails, and is cancelled while it waits for its next try. Joined and not IN (...), for which
# MySQL would read all executions.
_NEWEST_RESULTS = """
SELECT e.job_id, e.started_at, e.status
  FROM (SELECT MAX(id) AS id
          FROM job_executions
         WHERE finished_at > %s AND finished_at <= %s
           AND job_id IS NOT NULL AND started_at IS NOT NULL
         GROUP BY job_id) newest
  JOIN job_executions e ON e.id = newest.id
  JOIN cron_jobs j ON j.id = e.job_id
 WHERE j.last_run_at IS NULL OR j.last_run_at < e.started_at
    OR (j.last_run_at = e.started_at AND j.last_status <> e.status)
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How many jobs got a result, and how many were left out because they were locked."""

    jobs: int = 0
    left_out: int = 0


def refresh_last_results(since: datetime, now: datetime) -> Shown:
    """Write on each job its newest run that ended since `since`, if the job does not show it yet.

    One query when there is nothing to write. Beat does it in bulk, because workers that wrote it
    would wait for each other on the job's row.
    """
    newest: dict[int, tuple[datetime, str]] = {}
    for job_id, started, status in fetch_all(_NEWEST_RESULTS, [since, now]):
        started_at = instant(started)
        assert started_at is not None
        newest[job_id] = started_at, status
    return _show_results(newest)


def refresh_older_results(since: datetime, until: datetime, limit: int) -> datetime | None:
    """The same for the newest `limit` executions that ended in (since, until]: one step backwards.

    Returns the `until` of the next step, or None when no executions are left. A step that had to
    leave out a locked job returns its own `until`, to be repeated. Steps are small because a beat
    that has just started also has due jobs.
    """
    is_news = Q(job__last_run_at__isnull=True) | Q(job__last_run_at__lt=F("started_at"))
    # The news are picked in Python: with a filter in SQL a step could read the whole index.
    ended = JobExecution.objects.filter(finished_at__gt=since, finished_at__lte=until)
    rows: list[Any] = list(
        ended.order_by("-finished_at")
        .annotate(is_news=ExpressionWrapper(is_news, BooleanField()))
        .values_list("finished_at", "job_id", "status", "started_at", "is_news")[:limit]
    )
    newest: dict[int, tuple[datetime, str]] = {}
    for _finished_at, job_id, status, started_at, news in rows:
        if news and job_id is not None and started_at is not None:
            newest[job_id] = max(newest.get(job_id, (started_at, status)), (started_at, status))
    if _show_results(newest).left_out:
        return until
    if len(rows) < limit:
        return None
    # If all of them ended in the same instant, the next step goes on before that instant.
    oldest: datetime = rows[-1][0]
    return min(oldest, until - timedelta(microseconds=1))


_SHOW_RESULTS = """
UPDATE cron_jobs
   SET last_run_at = CASE id {cases} END, last_status = CASE id {cases} END
 WHERE {conditions}
"""


def _show_results(newest: Mapping[int, tuple[datetime, str]]) -> Shown:
    """Write (started_at, status) of each job's newest run, one statement per chunk of jobs.

    A job that shows a later run meanwhile keeps it.
    """
    ids = sorted(newest)
    written = left_out = 0
    for first in range(0, len(ids), _CHUNK):
        chunk = {id_: newest[id_] for id_ in ids[first : first + _CHUNK]}
        jobs, held = in_transaction(partial(_show_chunk, chunk))
        written, left_out = written + jobs, left_out + held
    return Shown(jobs=written, left_out=left_out)


def _show_chunk(newest: Mapping[int, tuple[datetime, str]]) -> tuple[int, int]:
    """How many jobs were written, and how many were locked and left out.

    It waits for no lock: meanwhile it would keep the other jobs of the chunk from every beat.
    """
    free = list(
        lock_skipping(CronJob.objects.filter(id__in=list(newest)))
        .order_by("id")
        .values_list("id", flat=True)
    )
    if not free:
        return 0, len(newest)
    statement = _SHOW_RESULTS.format(
        cases=" ".join(["WHEN %s THEN %s"] * len(free)),
        conditions=" OR ".join([_SHOWS_NO_LATER] * len(free)),
    )
    parameters = [
        *(value for id_ in free for value in (id_, newest[id_][0])),
        *(value for id_ in free for value in (id_, newest[id_][1])),
        *(value for id_ in free for value in (id_, newest[id_][0])),
    ]
    return execute(statement, parameters), len(newest) - len(free)
