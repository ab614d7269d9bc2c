"""Switches of jobs between jobu and the system that they were imported from: what changes here.

What changes in the old system, and in which order, is in scheduler/moving/switching.py.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils.translation import gettext as _

from scheduler.failpoints import point
from scheduler.models import CronJob, JobSwitch
from scheduler.operations import missed as missed_slots
from scheduler.operations.control import Control
from scheduler.operations.errors import NotPossible
from scheduler.operations.frozen import freezes_of
from scheduler.operations.recorded_slots import run_recorded
from scheduler.schedule.plan import Decision
from scheduler.states import (
    ActivityVerb,
    MisfirePolicy,
    OldSide,
    SkipCause,
    SwitchDirection,
    SwitchState,
)
from scheduler.store import executions, jobs, slots, switches
from scheduler.transient import in_transaction
from scheduler.wakeups import became_runnable

_INSTANT: Final = timedelta(microseconds=1)
_HERE: Final = SwitchDirection.HERE
_BACK: Final = SwitchDirection.BACK


#: The kinds of source (scheduler/moving/reading.py). Files of jobs are no other system.
SYSTEMS: Final = (
    "django-celery-beat",
    "celery",
    "redbeat",
    "apscheduler",
    "crontab",
    "crontab-system",
    "kubernetes",
    "airflow",
)


def is_imported(job: CronJob) -> bool:
    """Whether an import from another system has made the job."""
    kind, colon, _key = job.source.partition(":")
    return bool(colon) and kind in SYSTEMS


def runs_here(job: CronJob) -> bool:
    """Whether the slots of a job run, as far as its switches say."""
    return bool(job.is_enabled and not job.is_shadow)


@dataclass(frozen=True, kw_only=True)
class SwitchControl(Control):
    """The operations of a switch. Each commits on its own."""

    def begin_switch(self, job_id: int, direction: SwitchDirection, old_side: OldSide) -> JobSwitch:
        """Keeps that a job is on its way; back, it is off here when this returns.

        A switch in this direction that has not ended goes on.
        """

        def work() -> JobSwitch:
            job = jobs.lock_job(job_id)
            now = self.clock.now()
            known = switches.of_job(job_id)
            if known is not None and not known.is_done and known.direction == direction:
                switches.set_old_side(known, old_side)
                return known
            self._check_direction(job, direction, known)
            state, last_slot = SwitchState.STARTED, None
            if direction == _BACK:
                state = SwitchState.OFF_HERE
                last_slot = executions.newest_slot(job_id, until=now)
                jobs.set_shadow(job_id, True, now=now)
            switches.begin(
                job_id,
                direction=direction,
                state=state,
                old_side=old_side,
                source=job.source,
                who=self.actor.name,
                now=now,
                last_run_at=last_slot,
            )
            if direction == _BACK:
                self._remember_switch(job, now, _BACK)
            return JobSwitch.objects.get(job_id=job_id)

        return in_transaction(work)

    def _check_direction(
        self, job: CronJob, direction: SwitchDirection, known: JobSwitch | None
    ) -> None:
        if not is_imported(job):
            text = _("%(job)s was not imported from another system: enable or disable it")
            raise NotPossible(text % {"job": job.name})
        is_open = known is not None and not known.is_done
        if direction == _HERE and runs_here(job):
            raise NotPossible(_("%(job)s runs here already") % {"job": job.name})
        if direction == _BACK and not (runs_here(job) or is_open):
            raise NotPossible(_("%(job)s does not run here") % {"job": job.name})
        if direction == _HERE:
            wanted = copy(job)
            wanted.is_enabled = True
            self._check(wanted, exclude_id=job.pk, is_named=False)

    def run_here(self, switch: JobSwitch, served_until: datetime) -> CronJob:
        """The last step to here: the job is no shadow any more and runs.

        Slots after `served_until` that were only recorded, or that passed while it was off, run
        now, at most `max_catchup`: the old system has not run them. They wait for what other slots
        wait for: freezes, upstream jobs, approvals.
        """

        def work() -> CronJob:
            job = jobs.lock_job(switch.job_id)
            now = self.clock.now()
            if not switches.move(switch, SwitchState.DONE, now=now):
                return job
            recorded = executions.slots_of_shadow(job.pk, after=served_until, limit=job.max_catchup)
            caught_up = run_recorded(job, recorded, now, self.settings)
            if not job.is_enabled:
                caught_up += self._enable_from(job, served_until, now)
            jobs.set_shadow(job.pk, False, now=now)
            saved = self._job(job.pk)
            if caught_up:
                became_runnable(saved.queue)
            self._remember_switch(job, now, _HERE, served_until=served_until, count=caught_up)
            point("switch.on_here")
            return saved

        return in_transaction(work)

    def _enable_from(self, job: CronJob, served_until: datetime, now: datetime) -> int:
        """Switches a locked job on that has missed its slots since then. Returns how many run."""
        since = copy(job)
        since.is_shadow = False
        since.missed_from, since.next_run_at = served_until + _INSTANT, None
        since.schedule_fingerprint = since.last_slot_at = since.last_nominal_at = None
        settlement = missed_slots.settle(
            since,
            until=missed_slots.before_now(now),
            settings=self.settings,
            policy=MisfirePolicy.ALL,
            decided_by=Decision(cause=SkipCause.ENABLING, by=self.actor.name),
            freezes=freezes_of(job.pk, served_until, self.settings),
        )
        watermark = settlement.watermark or self._watermark_after(job, now)
        changed = {
            **watermark.columns(),
            "is_enabled": True,
            "missed_from": None,
            "pause_reason": "",
            "paused_until": None,
            "schedule_error": "",
        }
        jobs.update_job(job.pk, changed, tick_seq=job.tick_seq, now=now)
        slots.record_slots(settlement.records, now)
        return sum(record.skipped is None for record in settlement.records)

    def _remember_switch(
        self,
        job: CronJob,
        now: datetime,
        direction: SwitchDirection,
        *,
        served_until: datetime | None = None,
        count: int = 0,
    ) -> None:
        self._remember_job(
            ActivityVerb.SWITCHED,
            job,
            now,
            direction=direction.value,
            source=job.source,
            served_until=served_until.isoformat() if served_until else None,
            count=count,
            since=job.updated_at.isoformat(),
        )
