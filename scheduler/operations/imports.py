"""What an import does with jobs: makes them, and changes what nobody has edited here since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scheduler.models import LISTS, CronJob
from scheduler.operations.control import Control
from scheduler.operations.definition import columns_with_new_secrets, differences
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity

# The fact in the history that marks an entry as an import's.
IMPORT: Final = "import"


@dataclass(frozen=True, kw_only=True)
class ImportControl(Control):
    """The operations of an import."""

    def imported(self, sources: Sequence[str]) -> dict[str, CronJob]:
        """Returns the jobs that earlier imports have made, by their source."""
        lists = CronJob.objects.filter(source__in=sources).prefetch_related(
            *(kept.prefetch for kept in LISTS.values())
        )
        return {job.source: job for job in lists.order_by("-id")}

    def edited_here(self, job_ids: Iterable[int]) -> dict[int, frozenset[str] | None]:
        """Returns the columns of each job that somebody has changed since the import made it.

        None: the history does not go back to the import, so any column may have been changed.
        """
        return {job_id: self._edited(job_id) for job_id in job_ids}

    def import_job(self, source: str, **values: Any) -> CronJob:
        """A new job, as `create_job` makes it, that remembers where it comes from."""
        return self._create(values, source=source)

    def update_imported(self, job_id: int, source: str, **values: Any) -> CronJob:
        """Changes a job as `update_job` does, and marks the entry in the history."""
        return self._update(job_id, values, ActivityVerb.CHANGED, facts={IMPORT: source})

    def _edited(self, job_id: int) -> frozenset[str] | None:
        found: set[str] = set()
        for entry in activity.of_target(TargetKind.JOB, job_id):
            if entry.verb == ActivityVerb.CREATED:
                return frozenset(found)
            if entry.verb == ActivityVerb.CHANGED and IMPORT not in entry.facts:
                before, after = entry.facts.get("before", {}), entry.facts.get("after", {})
                found |= {path.partition(".")[0] for path, *_ in differences(before, after)}
                found |= columns_with_new_secrets(entry.facts.get("secrets") or ())
        return None
