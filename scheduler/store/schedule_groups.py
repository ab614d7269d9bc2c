"""Jobs that share a schedule and the freezes that may block it: each such group is computed once.

Thousands of jobs share a few schedules. Bounds and names make a group of their own only where the
slots depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, When

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob, JobTag
from scheduler.schedule import Schedule, schedule_of
from scheduler.schedule.after import is_after
from scheduler.schedule.freezes import Freezes, free_spans
from scheduler.schedule.from_job import ScheduledJob
from scheduler.schedule.full_text import full_text
from scheduler.schedule.kinds import read_schedule
from scheduler.store import freezes
from scheduler.store.spread_names import SPREAD_NAME

_INSTANT: Final = timedelta(microseconds=1)
_REMEMBERED: Final = 1_000
#: Jobs with bounds of their own form schedules of their own.
_COLUMNS: Final = (
    *("cron_expression", "timezone", "calendar", "start_at", "end_at"),
    *("owed_from", "counted_from", "spread_name"),
)
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


def planned_jobs() -> QuerySet[CronJob]:
    """The jobs whose slots will run: another system runs those of a shadow."""
    return CronJob.objects.filter(is_enabled__in=[True], is_shadow__in=[False])


@dataclass(frozen=True, kw_only=True)
class Group:
    """Jobs with one schedule, and with the same freezes."""

    values: tuple[Any, ...]
    """Of the columns, and of the freezes for jobs with tags: whether each is for these jobs."""
    jobs: int
    freezes: Freezes

    @property
    def end_at(self) -> datetime | None:
        end: datetime | None = self.values[4]
        return end

    def after(self, instant: datetime) -> datetime:
        """Slots after `instant` count only after this one, which may be later."""
        start_at, _end_at, owed_from = self.values[3:6]
        bounds: list[datetime] = [at - _INSTANT for at in (start_at, owed_from) if at is not None]
        return max([instant, *bounds])

    def schedule(self, settings: SchedulerSettings) -> Schedule:
        """Raises ScheduleError, ValueError or OSError."""
        return schedule_for(_columns(self.values), settings)


class Groups:
    """The groups as of `now`, with the freezes that may hold in [since, until)."""

    def __init__(
        self, now: datetime, since: datetime, until: datetime, settings: SchedulerSettings
    ) -> None:
        known = freezes.enabled(now, settings.default_timezone)
        self.freezes = tuple(
            freeze for freeze in known if next(freeze.spans_between(since, until), None)
        )
        self._tagged = [freeze for freeze in self.freezes if freeze.tags]
        self._spans: dict[Any, Sequence[tuple[datetime, datetime]]] = {}
        self._names = (*_COLUMNS, *(f"frozen_{freeze.id}" for freeze in self._tagged))

    def free_spans(
        self, group: Group, after: datetime, last: datetime
    ) -> Sequence[tuple[datetime, datetime]]:
        """The parts of (after, last] in which the group's slots run, without its first instant."""
        last = last if group.end_at is None else min(group.end_at, last)
        if not group.freezes:
            return [(after, last)] if after < last else []
        key = (tuple(freeze.id for freeze in group.freezes), after, last)
        found = self._spans.get(key)
        if found is None:
            found = tuple(free_spans(group.freezes, after, last))
            if len(self._spans) < _REMEMBERED:
                self._spans[key] = found
        return found

    def all(self) -> list[Group]:
        """Those with many jobs first."""
        rows = self._annotated().order_by().values_list(*self._names).annotate(jobs=Count("id"))
        found = [self._group(row[:-1], row[-1]) for row in rows]
        return sorted(found, key=lambda group: -group.jobs)

    def jobs_of(self, group: Group, limit: int) -> list[CronJob]:
        same = {
            f"{name}__isnull" if value is None else name: True if value is None else value
            for name, value in zip(self._names, group.values, strict=True)
        }
        if same.get("spread_name"):
            same["name"] = same["spread_name"]  # by its index, not by a look at each job
        jobs = self._annotated().filter(**same).order_by("id")
        return list(jobs.only("name", "handler_name", "cron_expression", "timezone")[:limit])

    def _annotated(self) -> QuerySet[Any]:
        frozen = {
            f"frozen_{freeze.id}": Exists(
                JobTag.objects.filter(job_id=OuterRef("pk"), tag__in=sorted(freeze.tags))
            )
            for freeze in self._tagged
        }
        return planned_jobs().annotate(
            owed_from=_OWED_FROM, counted_from=_COUNTED_FROM, spread_name=SPREAD_NAME, **frozen
        )

    def _group(self, values: tuple[Any, ...], jobs: int) -> Group:
        flags = values[len(_COLUMNS) :]
        tagged = {freeze.id for freeze, is_for in zip(self._tagged, flags, strict=True) if is_for}
        return Group(
            values=values,
            jobs=jobs,
            freezes=tuple(each for each in self.freezes if not each.tags or each.id in tagged),
        )


def schedule_for(job: ScheduledJob, settings: SchedulerSettings) -> Schedule:
    """As a job's columns say it. Raises ScheduleError, ValueError or OSError. Remembers many."""
    if not job.calendar and not is_after(job.cron_expression):
        return _parsed(full_text(job), job.timezone or settings.default_timezone)
    return schedule_of(job, settings)


class _Columns(NamedTuple):
    name: str
    cron_expression: str
    timezone: str
    calendar: str
    start_at: datetime | None
    created_at: datetime

    @property
    def followed(self) -> tuple[CronJob, ...]:
        """The upstream jobs of a job `@after` others, which is a group of its own."""
        job = CronJob.objects.filter(name=self.name).first()
        return job.followed if job is not None else ()


def _columns(values: Sequence[Any]) -> _Columns:
    expression, timezone, calendar, start_at, _end, _owed, counted_from, name = values[:8]
    return _Columns(name or "", expression, timezone, calendar, start_at, counted_from)


# `read_schedule` keeps fewer, which is enough for a tick: here all schedules pass by, in the same
# order each time, and a smaller memory would have forgotten every one before it comes again.
_parsed = lru_cache(maxsize=20_000)(read_schedule)
