"""Counts what has ended, for metrics: each end once, among any number of beats and after crashes.

Nothing is written when a run ends. A beat reads the ends of the seconds before in order of
`finished_at` and adds them to `jobu_job_counters`, in one transaction with how far it has come. An
end may be committed after its second was read: its worker was slow, or frozen. So each step keeps
the ids that it has counted, until every transaction of that time is over. Then its span is read
once more, and what is new is counted, too.

The same step groups the failures among these ends by their kind (failures.py). Failures that ended
before anybody counted are grouped backwards, a step at a time.

A run that a person retries counts again when it ends again. It is not counted the first time if it
was retried before a beat has seen its end, so within two or three seconds.
"""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate, chain, pairwise
from typing import Any, Final

from scheduler.models import ALL_JOBS, CountedEnds, Counting
from scheduler.states import ParamSource, RunStatus
from scheduler.store import failures
from scheduler.store.connection import (
    execute,
    fetch_all,
    fetch_one,
    from_json,
    instant,
    lock_skipping,
    marks,
    numbers,
    to_json,
)
from scheduler.store.histograms import Histogram, read
from scheduler.transient import in_transaction

#: Ends of one transaction. Each may be of another job, whose row is read and written.
STEP: Final = 500
# Most ends are committed within milliseconds, so that few are left for the second look.
_NEWEST: Final = timedelta(seconds=1)
_SPANS: Final = 50
_ONLY_ROW: Final = 1
_FAILURES: Final = failures.FAILURES
# How far back the failures are grouped when there are no older ones.
_ALL_GROUPED: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OLDER: Final = 2000
_RAN: Final = _FAILURES | {RunStatus.SUCCESS}


def count(now: datetime, *, lease_seconds: float, step: int = STEP) -> bool:
    """Count one step. Returns whether there is more to count now.

    Two index probes when there is nothing. Does nothing while another beat counts.
    """
    # Longer than an end can take: a frozen worker may write until its lease ends, and then has its
    # transaction ended by the server (limits.py).
    late = timedelta(seconds=2 * lease_seconds + 60)
    found = fetch_one(_PEEK, [now - _NEWEST, now - late, _ALL_GROUPED, _ONLY_ROW])
    if found is None:
        _begin(now - late)
        return True
    has_ends, has_spans, has_older = found
    counted = bool(has_ends) and in_transaction(partial(_count_new, now, step))
    if has_spans:
        counted |= in_transaction(partial(_count_late, now - late))
    if has_older:
        counted |= in_transaction(_group_older)
    return counted


_PEEK: Final = """
SELECT EXISTS (SELECT 1 FROM job_executions e
                WHERE e.finished_at > c.counted_until AND e.finished_at <= %s),
       EXISTS (SELECT 1 FROM jobu_counted_ends s WHERE s.until <= %s),
       c.failures_before IS NULL OR c.failures_before > %s
  FROM jobu_counting c
 WHERE c.id = %s
"""


def _begin(since: datetime) -> None:
    Counting.objects.bulk_create(
        [Counting(id=_ONLY_ROW, counted_until=since)], ignore_conflicts=True
    )


def _state() -> Counting | None:
    return lock_skipping(Counting.objects.filter(id=_ONLY_ROW)).first()


# --- the ends of the last seconds -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _End:
    id: int
    job_id: int | None
    status: str
    finished_at: datetime
    duration: float | None
    lateness: float | None
    is_shard: bool
    """Its parent is counted."""


def _count_new(now: datetime, step: int) -> bool:
    state = _state()
    if state is None:
        return False
    after, until = state.counted_until, now - _NEWEST
    ends = _ends("finished_at > %s AND finished_at <= %s", [after, until], limit=step)
    is_full = len(ends) == step
    if is_full:
        # Many may have ended in the same instant, and the next step begins behind it.
        until = ends[-1].finished_at
        ends = [end for end in ends if end.finished_at < until]
        ends += _ends("finished_at = %s", [until])
    if not ends:
        return False
    _add(ends)
    _group(ends)
    ids = sorted(end.id for end in ends)
    CountedEnds.objects.create(
        after=after, until=until, runs=len(ids), id_sum=sum(ids), ids=_packed(ids)
    )
    Counting.objects.filter(id=_ONLY_ROW).update(counted_until=until)
    return is_full


_ENDS: Final = """
SELECT id, job_id, status, started_at, finished_at, attempt, param_source, scheduled_time,
       available_at, parent_id
  FROM job_executions
 WHERE {where}
 ORDER BY finished_at
 {limit}
"""


def _ends(where: str, values: Sequence[Any], limit: int | None = None) -> list[_End]:
    statement = _ENDS.format(where=where, limit="" if limit is None else f"LIMIT {limit:d}")
    return [_end(*row) for row in fetch_all(statement, values)]


def _end(
    id_: int,
    job_id: int | None,
    status: str,
    started: Any,
    finished: Any,
    attempt: int,
    source: str,
    scheduled: Any,
    available: Any,
    parent_id: int | None,
) -> _End:
    started_at, finished_at = instant(started), instant(finished)
    assert finished_at is not None
    duration = lateness = None
    if status in _RAN and started_at is not None:
        duration = max(0.0, (finished_at - started_at).total_seconds())
        # A later attempt has waited for its back-off, or for a person.
        due_at = instant(scheduled if source == ParamSource.CRON else available)
        if attempt == 1 and due_at is not None:
            lateness = max(0.0, (started_at - due_at).total_seconds())
    return _End(
        id=id_,
        job_id=job_id,
        status=status,
        finished_at=finished_at,
        duration=duration,
        lateness=lateness,
        is_shard=parent_id is not None,
    )


# --- those that were committed late ---------------------------------------------------------------


def _count_late(before: datetime) -> bool:
    """Look again at spans in which nothing can end any more, and forget what was counted there."""
    if _state() is None:
        return False
    spans = list(CountedEnds.objects.filter(until__lte=before).order_by("until")[:_SPANS])
    if not spans:
        return False
    span = [min(each.after for each in spans), max(each.until for each in spans)]
    found = fetch_one(_SUM, span)
    if found is not None and found[0]:
        runs, id_sum = int(found[0]), int(found[1])
        if (runs, id_sum) != (sum(s.runs for s in spans), sum(s.id_sum for s in spans)):
            counted = set(chain.from_iterable(_unpacked(bytes(each.ids)) for each in spans))
            ends = _ends("finished_at > %s AND finished_at <= %s", span)
            late = [end for end in ends if end.id not in counted]
            _add(late)
            _group(late)
    CountedEnds.objects.filter(id__in=[each.pk for each in spans]).delete()
    return len(spans) == _SPANS


_SUM: Final = """
SELECT COUNT(*), SUM(id) FROM job_executions WHERE finished_at > %s AND finished_at <= %s
"""


def _packed(ids: Sequence[int]) -> bytes:
    """Sorted ids, each as its distance from the one before: few bytes for many."""
    steps = [later - earlier for earlier, later in pairwise([0, *ids])]
    return zlib.compress(array("q", steps).tobytes(), 1)


def _unpacked(packed: bytes) -> Iterable[int]:
    return accumulate(array("q", zlib.decompress(packed)))


# --- their failures, by kind ----------------------------------------------------------------------


def _group(ends: Iterable[_End]) -> None:
    failed = [end.id for end in ends if end.status in _FAILURES and not end.is_shard]
    failures.group(failed)


_OLDER_ENDS: Final = """
SELECT id, status, finished_at FROM job_executions
 WHERE finished_at < %s AND parent_id IS NULL
 ORDER BY finished_at DESC
 LIMIT %s
"""
_SAME_ENDS: Final = """
SELECT id, status FROM job_executions WHERE finished_at = %s AND parent_id IS NULL
"""


def _group_older() -> bool:
    """One step back through what ended before anybody counted. Returns whether there is more."""
    state = _state()
    if state is None:
        return False
    before = state.failures_before or state.counted_until + timedelta(microseconds=1)
    rows = fetch_all(_OLDER_ENDS, [before, _OLDER])
    ended = [(id_, status) for id_, status, _ in rows]
    until: datetime | None = _ALL_GROUPED
    if len(rows) == _OLDER:
        # Many may have ended in the same instant, and the next step begins before it.
        until = instant(rows[-1][2])
        ended += fetch_all(_SAME_ENDS, [until])
    failed = {id_ for id_, status in ended if status in _FAILURES}
    failures.group(failures.not_grouped(failed))
    Counting.objects.filter(id=_ONLY_ROW).update(failures_before=until)
    return until != _ALL_GROUPED


# --- the counters ---------------------------------------------------------------------------------


@dataclass
class _Counters:
    """The row of one job."""

    ended: Counter[str] = field(default_factory=Counter)
    duration: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    failures_in_a_row: int = 0
    last_end_at: datetime | None = None
    last_success_at: datetime | None = None

    def add(self, end: _End) -> None:
        self.ended[end.status] += 1
        if end.duration is not None:
            self.duration.observe(end.duration)
        if end.lateness is not None:
            self.lateness.observe(end.lateness)
        at = end.finished_at
        # One that was committed late lies before what is known, and says nothing of now.
        is_newest = self.last_end_at is None or at >= self.last_end_at
        if end.status == RunStatus.SUCCESS:
            self.last_success_at = max(at, self.last_success_at or at)
            self.failures_in_a_row = 0 if is_newest else self.failures_in_a_row
        elif end.status in _FAILURES and is_newest:
            self.failures_in_a_row += 1
        self.last_end_at = max(at, self.last_end_at or at)


def _add(ends: Iterable[_End]) -> None:
    """The caller holds the lock of the counting, so nobody else writes these rows."""
    ends = sorted((end for end in ends if not end.is_shard), key=lambda end: end.finished_at)
    if not ends:
        return
    keys = sorted({ALL_JOBS, *(end.job_id for end in ends if end.job_id is not None)})
    for first in range(0, len(keys), STEP):
        part = keys[first : first + STEP]
        rows = {key: _Counters() for key in part}
        for key, *columns in fetch_all(_READ.format(ids=numbers(part)), ()):
            rows[key] = _read(columns)
        for end in ends:
            for key in {ALL_JOBS, end.job_id or ALL_JOBS} & rows.keys():
                rows[key].add(end)
        # Not an upsert, which each database writes in its own way.
        execute(_DELETE.format(ids=numbers(part)), ())
        values = [value for key in part for value in (key, *_written(rows[key]))]
        places = f"({marks(range(7))})"
        execute(_INSERT.format(rows=", ".join([places] * len(part))), values)


_READ: Final = """
SELECT job_id, ended, duration, lateness, failures_in_a_row, last_end_at, last_success_at
  FROM jobu_job_counters
 WHERE job_id IN ({ids})
"""
_DELETE: Final = "DELETE FROM jobu_job_counters WHERE job_id IN ({ids})"
_INSERT: Final = """
INSERT INTO jobu_job_counters
       (job_id, ended, duration, lateness, failures_in_a_row, last_end_at, last_success_at)
VALUES {rows}
"""


def _read(columns: Sequence[Any]) -> _Counters:
    ended, duration, lateness, failures, last_end, last_success = columns
    return _Counters(
        ended=Counter(from_json(ended)),
        duration=read(from_json(duration)),
        lateness=read(from_json(lateness)),
        failures_in_a_row=failures,
        last_end_at=instant(last_end),
        last_success_at=instant(last_success),
    )


def _written(row: _Counters) -> tuple[Any, ...]:
    return (
        to_json(row.ended),
        to_json(row.duration.stored()),
        to_json(row.lateness.stored()),
        row.failures_in_a_row,
        row.last_end_at,
        row.last_success_at,
    )


def forget_deleted_jobs() -> int:
    """Delete the counters of jobs that are gone. Returns how many. Those of all runs stay."""
    gone = [job_id for (job_id,) in fetch_all(_GONE, [ALL_JOBS])]
    if not gone:
        return 0
    return in_transaction(lambda: execute(_DELETE.format(ids=numbers(gone)), ()))


_GONE: Final = """
SELECT c.job_id
  FROM jobu_job_counters c
 WHERE c.job_id <> %s AND NOT EXISTS (SELECT 1 FROM cron_jobs j WHERE j.id = c.job_id)
 LIMIT 1000
"""
