"""Enabled jobs in groups whose members have the same slots, so that each is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from django.db.models import Case, Count, Q, QuerySet, When

from scheduler.models import CronJob
from scheduler.schedule.after import is_after
from scheduler.schedule.full_text import spread_by
from scheduler.store.spread_names import SPREAD_NAME

Group = Sequence[Any]
"""Values of COLUMNS."""
#: Jobs with bounds of their own form schedules of their own.
COLUMNS: Final = (
    *("cron_expression", "timezone", "calendar", "start_at", "end_at"),
    *("owed_from", "counted_from", "spread_name"),
)
#: So many names at most, or as many as are wanted, are in one statement.
_NAMES: Final = 500
#: A calendar that moves slots may have changed: those that are settled lie before the watermark.
#: Without one, slots after `now` are never settled, so that jobs with one schedule are one group.
_OWED_FROM: Final = Case(When(calendar__contains=":", then="next_run_at"))
#: Intervals and rules may be counted from here; other jobs with one schedule are one group.
_COUNTED_FROM: Final = Case(
    When(
        Q(cron_expression__icontains="every") | Q(cron_expression__icontains="rrule"),
        then="created_at",
    )
)


def groups(is_late: Callable[[], bool]) -> Iterator[tuple[list[Group], int]]:
    """Yields groups with the same slots, and how many jobs they have together.

    Those of many jobs first. Jobs with an `H` come last: each is a group by itself, which its
    numbers then join with others. After the deadline it stays alone.
    """
    rows = _enabled().order_by().values_list(*COLUMNS).annotate(jobs=Count("id"))
    found = [(group, jobs) for *group, jobs in rows]
    alone = [(group, jobs) for group, jobs in found if group[-1] is None]
    # The same order each time: what is cut off is always the same.
    for group, jobs in sorted(alone, key=lambda each: (-each[1], each[0][:3])):
        yield [group], jobs
    spread = sorted((group for group, _jobs in found if group[-1] is not None), key=itemgetter(-1))
    for some in _joined(spread, is_late):
        yield some, len(some)


def _joined(spread: Iterable[Group], is_late: Callable[[], bool]) -> list[list[Group]]:
    """Of `H H * * *` there are 1440 schedules, whatever the number of jobs. Most jobs first."""
    found: dict[tuple[Any, ...], list[Group]] = {}
    for group in spread:
        expression, *columns, name = group
        key = tuple(group)
        if not is_after(expression) and not is_late():
            key = (spread_by(expression, name), *columns)
        found.setdefault(key, []).append(group)
    return sorted(found.values(), key=len, reverse=True)


def first_jobs(alike: Sequence[Group], limit: int) -> list[CronJob]:
    """The first `limit` jobs of groups with the same slots; of very many, of those by name."""
    rows = _enabled().only("name", "handler_name", "cron_expression", "timezone").order_by("id")
    # Those that differ by their names alone are read at once.
    names: dict[tuple[Any, ...], list[str]] = {}
    for *columns, name in alike:
        names.setdefault(tuple(columns), []).append(name)
    found: list[CronJob] = []
    for values, of_columns in names.items():
        same = {
            f"{column}__isnull" if value is None else column: True if value is None else value
            for column, value in zip(COLUMNS, values, strict=False)
        }
        if None in of_columns:
            same["spread_name__isnull"] = True
        else:
            # By its index, not by a look at each job.
            same["name__in"] = of_columns[: max(limit, _NAMES)]
        found += rows.filter(**same)[:limit]
    return sorted(found, key=lambda job: job.pk)[:limit]


def _enabled() -> QuerySet[CronJob]:
    jobs = CronJob.objects.filter(is_enabled__in=[True])
    return jobs.annotate(owed_from=_OWED_FROM, counted_from=_COUNTED_FROM, spread_name=SPREAD_NAME)
