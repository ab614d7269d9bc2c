"""What a tick does with one due job: its plan and its new watermark.

A watermark that was computed from another schedule is not trusted: the calendar, the rules of the
zone or a column has changed since, and the first slot that is owed may be an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.schedule import Schedule, schedule_of
from scheduler.schedule.fingerprint import fingerprint_of, has_same_columns
from scheduler.schedule.freezes import Freezes
from scheduler.schedule.full_text import is_complete
from scheduler.schedule.plan import DueSchedule, Plan, first_slot, plan
from scheduler.schedule.watermark import (
    Including,
    Watermark,
    first_owed,
    is_changed,
    nominal_at,
)
from scheduler.states import MisfirePolicy
from scheduler.store.slots import DueJob

_INSTANT: Final = timedelta(microseconds=1)
_PLANNED_BY: Final = attrgetter(
    "cron_expression", "timezone", "calendar", "misfire_policy", "misfire_grace_seconds",
    "max_catchup", "start_at", "end_at", "next_run_at", "schedule_fingerprint", "last_slot_at",
    "last_nominal_at",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Planned:
    plan: Plan
    watermark: Watermark


class Planner:
    """Plans the jobs of one transaction.

    Jobs with the same schedule are often due together. Each schedule is planned once, because rows
    are locked meanwhile.
    """

    def __init__(
        self,
        settings: SchedulerSettings,
        now: datetime,
        *,
        decides: Callable[[int], bool],
        freezes: Callable[[int], Freezes] = lambda job_id: (),
    ) -> None:
        """`decides`: whether this beat may compute the watermark of a job anew. `freezes`: of each
        job, those that may block its slots.
        """
        self._settings = settings
        self._freezes = freezes
        self._now = now
        self._decides = decides
        self._of_kind: dict[tuple[Any, ...], Planned] = {}
        self._plans: dict[DueSchedule, Plan] = {}
        self._nominal: dict[tuple[Schedule, datetime], datetime | None] = {}

    def plan(self, job: DueJob) -> Planned:
        """Returns the plan of a job that is due or has no watermark. Raises ScheduleError."""
        kind = self._kind(job)
        known = self._of_kind.get(kind) if kind else None
        if known is None:
            known = self._plan(job)
            # Of another schedule each job is a case of its own, and people are told.
            if kind and not is_changed(job, self._settings):
                self._of_kind[kind] = known
        return known

    def _kind(self, job: DueJob) -> tuple[Any, ...] | None:
        """Returns all that the plan of a job depends on; None: on more than these columns."""
        if job.next_run_at is None or not is_complete(job.cron_expression):
            return None
        return (*_PLANNED_BY(job), self._freezes(job.id))

    def _plan(self, job: DueJob) -> Planned:
        schedule = schedule_of(job, self._settings)
        now = self._now
        if job.next_run_at is None:
            # New, edited or enabled: it never runs at once.
            first = first_slot(schedule, now, start_at=job.start_at, end_at=job.end_at)
            return self._planned(job, Plan(next_run_at=first), schedule, until=now)
        since: datetime = job.next_run_at
        used: Schedule = schedule
        if is_changed(job, self._settings):
            owed = first_owed(job, self._settings)
            if self._is_of_another_beat(job):
                # The run that it has planned is not taken back. The next one is ours.
                used = Including(schedule=schedule, slot=since)
                since = min(owed or since, since)
            else:
                if owed != since:
                    report_moved(job, owed)
                if owed is None or owed > now:
                    return self._moved(job, owed)
                since = owed
        due = DueSchedule(
            schedule=used,
            next_run_at=max(since, job.start_at) if job.start_at else since,
            misfire_policy=MisfirePolicy(job.misfire_policy),
            misfire_grace_seconds=job.misfire_grace_seconds,
            max_catchup=job.max_catchup,
            end_at=job.end_at,
            freezes=self._freezes(job.id),
        )
        if due not in self._plans:
            self._plans[due] = plan(due, now)
        planned = self._plans[due]
        return self._planned(job, planned, schedule, until=_last_slot(planned) or now)

    def _moved(self, job: DueJob, to: datetime | None) -> Planned:
        """Nothing is due any more. What was settled stays settled."""
        assert job.last_slot_at is not None  # is_changed
        watermark = Watermark(
            next_run_at=to,
            schedule_fingerprint=fingerprint_of(job, self._settings),
            last_slot_at=job.last_slot_at,
            last_nominal_at=job.last_nominal_at,
        )
        return Planned(plan=Plan(next_run_at=to), watermark=watermark)

    def _is_of_another_beat(self, job: DueJob) -> bool:
        known = fingerprint_of(job, self._settings)
        stored = job.schedule_fingerprint or ""
        return has_same_columns(stored, known) and not self._decides(job.id)

    def _planned(
        self, job: DueJob, planned: Plan, schedule: Schedule, *, until: datetime
    ) -> Planned:
        key = (schedule, until)
        if key not in self._nominal:
            self._nominal[key] = nominal_at(schedule, until)
        nominal, before = self._nominal[key], job.last_nominal_at
        if nominal is not None and before is not None:
            # By an older calendar more days may be settled than by the present one.
            nominal = max(nominal, before)
        return Planned(
            plan=planned,
            watermark=Watermark(
                next_run_at=planned.next_run_at,
                schedule_fingerprint=fingerprint_of(job, self._settings),
                last_slot_at=until,
                last_nominal_at=nominal,
            ),
        )


def _last_slot(planned: Plan) -> datetime | None:
    recorded = [*planned.slots[-1:], *([planned.skipped.last] if planned.skipped else [])]
    return max(recorded, default=None)


def report_moved(job: DueJob, to: datetime | None) -> None:
    """Tell people that the next run of a job has moved although nobody has edited the job."""
    assert job.next_run_at is not None
    emit(
        "job.replanned",
        job=job.name,
        job_id=job.id,
        before=_iso(job.next_run_at),
        after=_iso(to) if to else "none",
    )


def _iso(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
