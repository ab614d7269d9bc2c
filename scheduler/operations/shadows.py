"""Shadows: jobs whose slots another system runs still, while jobu records them."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.models import CronJob
from scheduler.operations.jobs import JobOperations
from scheduler.states import ActivityVerb
from scheduler.store import jobs
from scheduler.transient import in_transaction


@dataclass(frozen=True, kw_only=True)
class ShadowOperations(JobOperations):
    """The operations on shadows."""

    def shadow(self, job_id: int, *, on: bool) -> CronJob:
        """Let another system run the slots of a job: jobu then records each one as skipped, with
        the reason `shadow`. `on=False`: they run here, from the next slot on.

        It does not switch the job on or off. A run that somebody starts by hand runs in any case.
        """

        def work() -> CronJob:
            job = jobs.lock_job(job_id)
            now = self.clock.now()
            if jobs.set_shadow(job_id, on, now=now):
                verb = ActivityVerb.SHADOWED if on else ActivityVerb.UNSHADOWED
                self._remember_job(verb, job, now, since=job.updated_at.isoformat())
            return self._job(job_id)

        return in_transaction(work)
