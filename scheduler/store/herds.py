"""Which jobs start at the full hour, and how the starts of all jobs lie within an hour."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Final

from django.db.models import Count

from scheduler.models import CronJob
from scheduler.schedule import ScheduleError
from scheduler.schedule.expression import read_expression
from scheduler.schedule.full_text import spread_by
from scheduler.store.spread_names import SPREAD_NAME

#: So many jobs at full hours are read.
READ: Final = 1_000
_FIELDS: Final = 5
_COLUMNS: Final = ("name", "cron_expression", "tick_seq", "jitter_seconds", "handler_name")


def minutes_of_jobs() -> Iterator[tuple[Sequence[int], int, int]]:
    """(minutes of the hour, hours of a day, jobs) of each distinct expression of enabled jobs.

    Schedules of other kinds than cron expressions are left out.
    """
    groups = (
        CronJob.objects.filter(is_enabled__in=[True])
        .order_by()
        .annotate(spread_name=SPREAD_NAME)
        .values_list("cron_expression", "spread_name")
        .annotate(jobs=Count("id"))
    )
    for expression, name, jobs in groups:
        found = _minutes(spread_by(expression, name or ""))
        if found is not None:
            yield *found, jobs


@lru_cache(maxsize=20_000)
def _minutes(expression: str) -> tuple[tuple[int, ...], int] | None:
    try:
        pattern = read_expression(expression)
    except ScheduleError:
        return None
    return pattern.minutes, len(pattern.hours)


def at_full_hours() -> list[CronJob]:
    """Enabled jobs without a jitter that start at minute 0 of their hours only, by name."""
    rows = CronJob.objects.filter(
        is_enabled__in=[True], jitter_seconds=0, cron_expression__startswith="0 "
    )
    found = rows.order_by("name").only(*_COLUMNS)[:READ]
    return [job for job in found if is_at_full_hours(job.cron_expression)]


def with_ids(ids: Collection[int]) -> list[CronJob]:
    """Those of these jobs that are there, by name."""
    return list(CronJob.objects.filter(pk__in=ids).order_by("name").only(*_COLUMNS))


def is_at_full_hours(expression: str) -> bool:
    """Whether it is a plain expression of five fields whose minute is 0."""
    fields = expression.split()
    return len(fields) == _FIELDS and fields[0] == "0" and "\n" not in expression
