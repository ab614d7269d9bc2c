"""Beat ends pauses: when one is over, beat switches the job on and records what the job missed.

The slots of the pause become one SKIPPED row, as when a person enables the job. From the end of the
pause on the misfire policy applies: a slot on that instant, or one without a beat, is not lost.
"""

from __future__ import annotations

from datetime import datetime

from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations import validation
from scheduler.operations.missed import Settlement, before_pause_ends, settle
from scheduler.schedule import ScheduleError
from scheduler.schedule.plan import Decision
from scheduler.states import SkipCause
from scheduler.store import jobs, slots
from scheduler.transient import in_transaction, is_outage


def end_pauses(clock: Clock, settings: SchedulerSettings) -> int:
    """Enable up to a batch of jobs whose pause is over. Returns how many. Jobs that another beat
    has locked are left to it.
    """
    if not jobs.any_pause_over(clock.now()):
        return 0

    def work() -> int:
        now = clock.now()
        paused = jobs.claim_paused(now, settings.batch_size)
        settled = {job.pk: _settle(job, now, settings) for job in paused}
        slots.record_slots([r for found in settled.values() for r in found.records], now)
        return jobs.resume({id_: found.watermark for id_, found in settled.items()}, now=now)

    try:
        return in_transaction(work)
    # One bad row must not keep the others paused: all are enabled without recording their slots.
    except Exception as error:
        if is_outage(error):
            raise
        return jobs.resume_all(clock.now())


def _settle(job: CronJob, now: datetime, settings: SchedulerSettings) -> Settlement:
    """What becomes of the slots of the pause. Watermark None: beat looks at the job as new."""
    # A row that no door has checked: without a watermark beat says what is wrong with it.
    if job.paused_until is None or validation.job_problems(job, now=now, settings=settings):
        return Settlement()
    try:
        return settle(
            job,
            until=before_pause_ends(job.paused_until),
            settings=settings,
            decided_by=Decision(cause=SkipCause.PAUSE),
        )
    except ScheduleError:
        return Settlement()
