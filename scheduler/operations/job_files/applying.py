"""Plans a file of jobs, and applies it in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scheduler.models import AppliedJob, CronJob
from scheduler.operations.definition import definition_of, values_of
from scheduler.operations.errors import InvalidJob
from scheduler.operations.job_files.planning import Known, Plan, PlannedJob, Planner
from scheduler.operations.job_files.written import Document, read_jobs
from scheduler.operations.jobs import JobOperations
from scheduler.operations.json_equal import json_equal
from scheduler.store import applied, jobs
from scheduler.transient import in_transaction


@dataclass(frozen=True, kw_only=True)
class JobFiles(JobOperations):
    """The operations on a file of jobs. `source`: the name under which it keeps its jobs."""

    source: str
    takes_over: bool = False
    """True: also jobs that another file keeps."""

    def plan(self, document: Document, *, prune: bool = False) -> Plan:
        """Returns what `apply` would do now. Changes nothing."""
        known = self._known(document, lock=False)
        return self._planner(known).plan(document, prune=prune)

    def apply(self, document: Document, *, prune: bool = False) -> Plan:
        """Makes the jobs as the file says them, all or none. Returns what was done.

        With mistakes nothing is done. Each change is an edit with its entry in the history, so
        nothing fires at once. `prune`: jobs that the file does not name any more are disabled and
        belong to no file; they are never deleted.
        """

        def work() -> Plan:
            known = self._known(document, lock=True)
            plan = self._planner(known).plan(document, prune=prune)
            if not plan.mistakes:
                for each in plan.jobs:
                    self._do(each, known)
            return plan

        return in_transaction(work)

    def _planner(self, known: Known) -> Planner:
        return Planner(
            source=self.source,
            known=known,
            settings=self.settings,
            now=self.clock.now(),
            check=lambda job, is_named: self.problems(job, is_named=is_named),
            takes_over=self.takes_over,
        )

    def _known(self, document: Document, *, lock: bool) -> Known:
        """What there is of the jobs that the file names or has kept."""
        names = {each.name for each in read_jobs(document)[0]}
        ids = jobs.ids_of(names, applied.ids_of_source(self.source))
        found = jobs.with_lists(ids, lock=lock)
        return Known(jobs={job.name: job for job in found}, applied=applied.of_jobs(ids))

    def _do(self, planned: PlannedJob, known: Known) -> None:
        job = planned.job
        if not planned.governed:  # it is pruned
            assert job is not None
            if planned.step == "disable":
                self.disable(job.pk)
            applied.forget(job.pk)
            return
        if job is None:
            job = self.create_job(**planned.values)
        elif planned.values:
            job = self._changed(job, dict(planned.values))
        self._remember_applied(planned, job, known.applied.get(job.pk))

    def _changed(self, job: CronJob, values: dict[str, Any]) -> CronJob:
        try:
            return self.update_job(job.pk, **values)
        except InvalidJob as error:
            raise InvalidJob({f"{job.name}: {n}": t for n, t in error.problems.items()}) from error

    def _remember_applied(
        self, planned: PlannedJob, job: CronJob, before: AppliedJob | None
    ) -> None:
        whole = definition_of(values_of(job))
        definition = {name: whole[name] for name in planned.governed}
        if (
            planned.step == "same"
            and before is not None
            and (before.source, before.name) == (self.source, planned.name)
            and json_equal(before.definition, definition)
        ):
            return
        applied.remember(
            job.pk,
            source=self.source,
            name=planned.name,
            definition=definition,
            applied_at=self.clock.now(),
            applied_by=self.actor.name,
        )
        jobs.set_source(job.pk, self.source, instead_of=before.source if before else "")
