"""What jobs show of their last run: `last_run_at` and `last_status`, summaries for lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Q

from scheduler.db_retry import in_transaction
from scheduler.models import CronJob, JobExecution
from scheduler.store.connection import execute, fetch_all, instant, lock_skipping

_CHUNK = 250
# Compared with a plain value, not with a CASE: that would be text to MySQL.
_SHOWS_NO_LATER = "(id = %s AND (last_run_at IS NULL OR last_run_at <= %s))"


# What a job does not show yet. A run may have ended twice with one `started_at`: cancelled while it
# waited to be tried again. Joined, not IN (...), for which MySQL would walk all executions.
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
    """On how many jobs a result was written, and on how many it was not, because somebody holds
    the job.
    """

    jobs: int = 0
    left_out: int = 0


def refresh_last_results(since: datetime, now: datetime) -> Shown:
    """Show on each job its newest run that ended since `since`, where it does not yet; without any
    it is one query, however many have ended.

    A summary for lists, written by beat in bulk: a worker that wrote it would queue up on the job's
    row.
    """
    newest: dict[int, tuple[datetime, str]] = {}
    for job_id, started, status in fetch_all(_NEWEST_RESULTS, [since, now]):
        started_at = instant(started)
        assert started_at is not None
        newest[job_id] = started_at, status
    return _show_results(newest)


def refresh_older_results(since: datetime, until: datetime, limit: int) -> datetime | None:
    """The same for `limit` executions that ended in (since, until], the newest ones; gives until
    when the others ended, None: there are no others. `until` itself while somebody holds a job.

    A step at a time, because a beat that has just started has jobs that are due.
    """
    is_news = Q(job__last_run_at__isnull=True) | Q(job__last_run_at__lt=F("started_at"))
    # Filtered here and not there: each step then reads as many entries of the index, and no more.
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
    # Should they all have ended in one instant: on with what is before it.
    oldest: datetime = rows[-1][0]
    return min(oldest, until - timedelta(microseconds=1))


_SHOW_RESULTS = """
UPDATE cron_jobs
   SET last_run_at = CASE id {cases} END, last_status = CASE id {cases} END
 WHERE {conditions}
"""


def _show_results(newest: Mapping[int, tuple[datetime, str]]) -> Shown:
    """Write (started_at, status) of each job's newest run, a chunk of jobs by one statement, unless
    the job shows a later one meanwhile.
    """
    ids = sorted(newest)
    written = left_out = 0
    for first in range(0, len(ids), _CHUNK):
        chunk = {id_: newest[id_] for id_ in ids[first : first + _CHUNK]}
        jobs, held = in_transaction(partial(_show_chunk, chunk))
        written, left_out = written + jobs, left_out + held
    return Shown(jobs=written, left_out=left_out)


def _show_chunk(newest: Mapping[int, tuple[datetime, str]]) -> tuple[int, int]:
    """How many were written, and how many left out. It waits for nobody: holding the other jobs
    meanwhile, it would keep them from every beat.
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
