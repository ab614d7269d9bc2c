"""What will run: the next slots of all jobs that no freeze blocks, one by one."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.schedule import Schedule, ScheduleError, slots_between
from scheduler.schedule.freezes import Freezes, end_of, free_spans
from scheduler.store import freezes
from scheduler.store.forecast import HOUR
from scheduler.store.schedule_groups import Group, Groups, planned_jobs, schedule_for
from scheduler.store.upstreams import read_followed

_INSTANT: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
#: So many slots of one job may stand in the list of the next runs.
_SLOTS_OF_ONE_JOB: Final = 50


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    at: datetime
    job_id: int
    job_name: str
    handler_name: str
    cron_expression: str
    timezone: str


def next_runs(
    now: datetime, limit: int, *, settings: SchedulerSettings, is_late: Callable[[], bool]
) -> list[PlannedRun]:
    """The next `limit` slots of all jobs, soonest first. Usually it reads only `limit` jobs."""
    jobs = list(
        planned_jobs().filter(next_run_at__gt=now)
        .order_by("next_run_at", "id")
        .only("name", "handler_name", "cron_expression", "timezone", "calendar", "start_at",
              "end_at", "created_at", "next_run_at")[:limit]
    )  # fmt: skip
    if not jobs:
        return []
    read_followed(jobs)
    # After the last watermark that was read, a job that was not read could be next.
    until = jobs[-1].next_run_at if len(jobs) == limit else None
    known = freezes.of_jobs([job.pk for job in jobs], now, settings.default_timezone)
    if until is not None and any(
        next(freeze.spans_between(now, until + _INSTANT), None) for freeze in known.all
    ):
        # What is blocked until then may be all that was read.
        return _soonest(now, limit, settings=settings, is_late=is_late)
    runs: list[tuple[datetime, int, CronJob]] = []
    for job in jobs:
        slots = _slots_of(job, until, limit, settings, known.of(job.pk))
        runs += [(slot, job.pk, job) for slot in slots]
    soonest = heapq.nsmallest(limit, runs, key=lambda run: run[:2])
    return [_planned(at, job, settings) for at, _, job in soonest]


def _soonest(
    now: datetime, limit: int, *, settings: SchedulerSettings, is_late: Callable[[], bool]
) -> list[PlannedRun]:
    """The same of all schedules, hour by hour."""
    runs: list[PlannedRun] = []
    start = now
    while len(runs) < limit and start < now + _DAY and not is_late():
        more = limit - len(runs)
        runs += runs_of_hour(now, start, more, settings=settings, is_late=is_late)
        start += HOUR
    return runs


def runs_of_hour(
    now: datetime,
    start: datetime,
    limit: int,
    *,
    settings: SchedulerSettings,
    is_late: Callable[[], bool],
) -> list[PlannedRun]:
    """The first `limit` slots after `now` in the hour from `start` on, of all jobs.

    Schedules whose turn comes after `is_late` are left out. planned_by_hour counts their jobs.
    """
    after, last = max(now, start - _INSTANT), start + HOUR - _INSTANT
    groups = Groups(now, start, start + HOUR, settings)
    found = groups.all()
    slots: list[tuple[datetime, int]] = []
    for number, group in enumerate(found):
        if is_late():
            break
        try:
            schedule = group.schedule(settings)
        except (ScheduleError, ValueError, OSError):
            continue
        slots += [(slot, number) for slot in _slots_in(schedule, groups, group, after, last, limit)]
    runs: list[PlannedRun] = []
    jobs: dict[int, list[CronJob]] = {}
    for at, number in heapq.nsmallest(limit, slots):
        if len(runs) >= limit:
            break
        if number not in jobs:
            jobs[number] = groups.jobs_of(found[number], limit)
        runs += [_planned(at, job, settings) for job in jobs[number]]
    return runs[:limit]


def _slots_in(
    schedule: Schedule,
    groups: Groups,
    group: Group,
    after: datetime,
    last: datetime,
    limit: int,
) -> list[datetime]:
    slots: list[datetime] = []
    for begins, ends in groups.free_spans(group, group.after(after), last):
        slots += slots_between(schedule, begins, ends, limit - len(slots))
        if len(slots) >= limit:
            break
    return slots


def _planned(at: datetime, job: CronJob, settings: SchedulerSettings) -> PlannedRun:
    return PlannedRun(
        at=at,
        job_id=job.pk,
        job_name=job.name,
        handler_name=job.handler_name,
        cron_expression=job.cron_expression,
        timezone=job.timezone or settings.default_timezone,
    )


def _slots_of(
    job: CronJob,
    until: datetime | None,
    limit: int,
    settings: SchedulerSettings,
    known: Freezes,
) -> Sequence[datetime]:
    """The watermark, which is a slot, and the slots after it, without those that are blocked."""
    first: Any = job.next_run_at
    free_from = end_of(known, first)
    if free_from is None:
        return []
    end = min(bound for bound in (until, job.end_at, free_from + _DAY) if bound is not None)
    most = min(limit, _SLOTS_OF_ONE_JOB)
    slots = [first] if free_from == first else []
    if first >= end:
        return slots
    try:
        schedule = schedule_for(job, settings)
    except (ScheduleError, ValueError, OSError):
        return slots
    for begins, ends in free_spans(known, first, end):
        if len(slots) >= most:
            break
        slots += slots_between(schedule, begins, ends, most - len(slots))
    return slots
