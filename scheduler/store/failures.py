"""Failed runs by their kind: written by beat after the runs have ended, read by pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Min, Q, QuerySet, Sum
from django.utils.timezone import get_default_timezone, localtime

from scheduler.failure_kinds import READ, FailureKind, first_line, kind_of
from scheduler.models import NO_JOB, CronJob, FailedRun, FailureDay, FailureGroup, JobExecution
from scheduler.states import RunStatus
from scheduler.store.connection import execute, fetch_all, instant, lock_in_order, numbers

FAILURES: Final = frozenset({RunStatus.FAILED, RunStatus.TIMEOUT})
#: The search in errors reads so many of the newest failed runs.
SEARCHED: Final = 5_000
#: It finds no more.
FOUND: Final = 1_000


# --- written by beat ------------------------------------------------------------------------------


@dataclass
class _Failed:
    """Failed runs of one kind, at least one."""

    kind: FailureKind
    first_at: datetime
    last_at: datetime
    ids: list[int] = field(default_factory=list)
    days: Counter[tuple[date, int]] = field(default_factory=Counter)
    example: str = ""

    def add(self, id_: int, job_id: int | None, ended_at: datetime, line: str) -> None:
        """One after the other in the order of their ends."""
        self.ids.append(id_)
        self.days[localtime(ended_at, get_default_timezone()).date(), job_id or NO_JOB] += 1
        self.last_at, self.example = ended_at, line


_READ_FAILED: Final = f"""
SELECT e.id, e.job_id, e.handler_name, SUBSTR(e.error_message, 1, {READ:d}), e.finished_at,
       a.exception_class
  FROM job_executions e
  LEFT JOIN job_attempts a ON a.execution_id = e.id AND a.attempt = e.attempt
 WHERE e.id IN ({{ids}}) AND e.status IN ('FAILED', 'TIMEOUT') AND e.finished_at IS NOT NULL
 ORDER BY e.finished_at, e.id
"""  # noqa: S608 - a constant


def group(ids: Collection[int]) -> None:
    """Add these runs to the groups of their kinds. The caller holds the lock of the counting.

    A group that a person has seen is open again.
    """
    if not ids:
        return
    found: dict[str, _Failed] = {}
    for id_, job_id, handler, error, ended, exception in fetch_all(
        _READ_FAILED.format(ids=numbers(ids)), ()
    ):
        kind = kind_of(handler_name=handler, exception_class=exception, error=error)
        ended_at = instant(ended)
        assert ended_at is not None
        of_kind = found.setdefault(kind.fingerprint, _Failed(kind, ended_at, ended_at))
        of_kind.add(id_, job_id, ended_at, first_line(error or ""))
    if not found:
        return
    keys = _write_groups(found)
    _write_days(found, keys)
    grouped = [id_ for failed in found.values() for id_ in failed.ids]
    # One that was retried by SQL may have a row of its last failure.
    forget(grouped)
    FailedRun.objects.bulk_create(
        FailedRun(execution_id=id_, group_id=keys[fingerprint])
        for fingerprint, failed in found.items()
        for id_ in failed.ids
    )


def _write_groups(found: Mapping[str, _Failed]) -> dict[str, int]:
    """Returns the ids of the groups by fingerprint."""
    rows = lock_in_order(FailureGroup.objects.filter(fingerprint__in=list(found)))
    known = {row.fingerprint: row for row in rows}
    FailureGroup.objects.bulk_create(
        FailureGroup(
            fingerprint=fingerprint,
            handler_name=failed.kind.handler_name[:255],
            exception_class=failed.kind.exception_class[:255],
            text=failed.kind.text,
            example=failed.example,
            runs=len(failed.ids),
            first_at=failed.first_at,
            last_at=failed.last_at,
            last_execution_id=failed.ids[-1],
        )
        for fingerprint, failed in found.items()
        if fingerprint not in known
    )
    for fingerprint, each in known.items():
        failed = found[fingerprint]
        each.runs += len(failed.ids)
        each.first_at = min(each.first_at, failed.first_at)
        if failed.last_at >= each.last_at:
            each.last_at, each.last_execution_id = failed.last_at, failed.ids[-1]
            each.example = failed.example
        if each.seen_at is None or failed.last_at > each.seen_at:
            each.is_open = True
    FailureGroup.objects.bulk_update(known.values(), _MOVING)
    ids = FailureGroup.objects.filter(fingerprint__in=list(found))
    return dict(ids.values_list("fingerprint", "id"))


# Not what a person writes meanwhile: when it was seen, and by whom.
_MOVING: Final = ("runs", "first_at", "last_at", "last_execution_id", "example", "is_open")


def _write_days(found: Mapping[str, _Failed], keys: Mapping[str, int]) -> None:
    counts = {
        (keys[fingerprint], day, job_id): runs
        for fingerprint, failed in found.items()
        for (day, job_id), runs in failed.days.items()
    }
    days = {day for _group, day, _job in counts}
    jobs = {job_id for _group, _day, job_id in counts}
    rows = FailureDay.objects.filter(group_id__in=keys.values(), day__in=days, job_id__in=jobs)
    known = {(row.group_id, row.day, row.job_id): row for row in rows}
    for key in known.keys() & counts.keys():
        known[key].runs += counts[key]
    changed = [known[key] for key in known.keys() & counts.keys()]
    FailureDay.objects.bulk_update(changed, ["runs"])
    FailureDay.objects.bulk_create(
        FailureDay(group_id=group_id, day=day, job_id=job_id, runs=runs)
        for (group_id, day, job_id), runs in counts.items()
        if (group_id, day, job_id) not in known
    )


def not_grouped(ids: Collection[int]) -> set[int]:
    """Those of these runs that have no group."""
    grouped = FailedRun.objects.filter(execution_id__in=ids).values_list("execution_id", flat=True)
    return set(ids) - set(grouped)


def forget(ids: Collection[int]) -> None:
    """These runs are to run again: they are no failures any more. Their groups keep the count."""
    if ids:
        execute(_FORGET.format(ids=numbers(ids)), ())


_FORGET: Final = "DELETE FROM jobu_failed_runs WHERE execution_id IN ({ids})"


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` groups that did not happen since, and their days. Returns how many."""
    old = list(
        FailureGroup.objects.filter(last_at__lt=before)
        .order_by("last_at")
        .values_list("id", flat=True)[:limit]
    )
    if old:
        FailureDay.objects.filter(group_id__in=old).delete()
        FailedRun.objects.filter(group_id__in=old).delete()
        FailureGroup.objects.filter(id__in=old, last_at__lt=before).delete()
    days = FailureDay.objects.filter(day__lt=before.date()).order_by("day")
    ids = list(days.values_list("id", flat=True)[:limit])
    if ids:
        FailureDay.objects.filter(id__in=ids).delete()
    return len(old)


# --- a person has seen it -------------------------------------------------------------------------


def see(group_id: int, *, now: datetime, by: str) -> bool:
    """Close an open group until it happens again. False: it is not there, or was seen already."""
    is_open = FailureGroup.objects.filter(id=group_id, is_open=True)
    return is_open.update(is_open=False, seen_at=now, seen_by=by[:150]) == 1


# --- read by pages --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which groups a reader wants to see. `jobs`: only failures of these."""

    since: date | None = None
    is_open: bool | None = None
    handler: str = ""
    text: str = ""
    jobs: QuerySet[CronJob] | None = None


def groups(wanted: Wanted) -> QuerySet[FailureGroup]:
    """The groups, the one that happened last first."""
    found = FailureGroup.objects.order_by("-last_at", "-id")
    if wanted.is_open is not None:
        found = found.filter(is_open=wanted.is_open)
    if wanted.handler:
        found = found.filter(handler_name=wanted.handler)
    for word in wanted.text.split()[:10]:
        found = found.filter(
            Q(text__icontains=word)
            | Q(example__icontains=word)
            | Q(exception_class__icontains=word)
            | Q(handler_name__icontains=word)
        )
    if wanted.since is not None:
        found = found.filter(last_at__gte=_begin_of(wanted.since))
    if wanted.jobs is not None:
        days = FailureDay.objects.filter(job_id__in=wanted.jobs.order_by().values("id"))
        if wanted.since is not None:
            days = days.filter(day__gte=wanted.since)
        found = found.filter(id__in=days.values("group_id"))
    return found


def _begin_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=get_default_timezone())


def today(now: datetime) -> date:
    """The day of `now` as groups count it."""
    return localtime(now, get_default_timezone()).date()


def last_days(now: datetime, days: int) -> list[date]:
    """The last `days` days, oldest first; the last one is today."""
    last = today(now)
    return [last - timedelta(days=back) for back in range(days - 1, -1, -1)]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What the days of a group say. `job_id`: of one of its jobs, NO_JOB if it has none."""

    by_day: Mapping[date, int]
    jobs: int
    job_id: int

    @property
    def runs(self) -> int:
        return sum(self.by_day.values())


def spreads(ids: Sequence[int], since: date) -> dict[int, Spread]:
    """How often these groups happened per day since then, and to how many jobs. Two queries."""
    days = FailureDay.objects.filter(group_id__in=ids, day__gte=since).order_by()
    by_group: dict[int, dict[date, int]] = {id_: {} for id_ in ids}
    for group_id, day, runs in days.values_list("group_id", "day").annotate(Sum("runs")):
        by_group[group_id][day] = runs
    of_jobs: Any = days.exclude(job_id=NO_JOB).values_list("group_id")
    counted = of_jobs.annotate(Count("job_id", distinct=True), Min("job_id"))
    jobs = {group_id: (count, first) for group_id, count, first in counted}
    return {
        id_: Spread(by_day=by_day, jobs=jobs.get(id_, (0, 0))[0], job_id=jobs.get(id_, (0, 0))[1])
        for id_, by_day in by_group.items()
    }


_FACTS: Final = (
    "id", "handler_name", "exception_class", "text", "example", "runs", "first_at", "last_at",
    "last_execution_id", "is_open", "seen_at", "seen_by",
)  # fmt: skip


def facts_of(group: FailureGroup) -> dict[str, Any]:
    """Returns what the API and the commands say about a kind of failures."""
    return {name: getattr(group, name) for name in _FACTS}


def jobs_of(group_id: int, since: date, limit: int) -> list[tuple[int, int]]:
    """The jobs that a group happened to most often since then: (id, how often)."""
    days = FailureDay.objects.filter(group_id=group_id, day__gte=since)
    counted: Any = days.values_list("job_id").annotate(found=Sum("runs"))
    return list(counted.order_by("-found", "job_id")[:limit])


def runs_of(group_id: int) -> QuerySet[JobExecution]:
    """The runs of a group that failed and were not retried, the newest first."""
    failed = JobExecution.objects.filter(failed_run__group=group_id)
    return failed.order_by("-failed_run__execution_id")


def ids_of(group_id: int, limit: int) -> list[int]:
    """The newest of these runs. The index answers by itself."""
    runs = FailedRun.objects.filter(group_id=group_id).order_by("-execution_id")
    return list(runs.values_list("execution_id", flat=True)[:limit])


@dataclass(frozen=True, kw_only=True)
class FailedGroup:
    """The failed runs of a group, for a retry of all of them (as executions.FailedRange)."""

    group_id: int

    def rows(self) -> QuerySet[JobExecution]:
        failed = JobExecution.objects.filter(
            failed_run__group=self.group_id, status__in=sorted(FAILURES)
        )
        return failed.order_by("failed_run__execution_id")

    def after(self, instant: datetime, execution_id: int) -> QuerySet[JobExecution]:
        return self.rows().filter(failed_run__execution_id__gt=execution_id)


def with_text(text: str) -> list[int]:
    """The newest runs whose error holds `text`, of the newest SEARCHED failed runs: their ids.

    One query, whose plan does not depend on what else a list filters by.
    """
    newest = FailedRun.objects.order_by("-execution_id").values_list("execution_id", flat=True)
    oldest = next(iter(newest[SEARCHED : SEARCHED + 1]), 0)
    found = JobExecution.objects.filter(
        failed_run__execution_id__gt=oldest, error_message__icontains=text
    )
    ids = found.order_by("-failed_run__execution_id").values_list("id", flat=True)
    return list(ids[:FOUND])
