"""What files of jobs have set: rows of `jobu_applied_jobs`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from scheduler.models import AppliedJob


def of_job(job_id: int) -> AppliedJob | None:
    return AppliedJob.objects.filter(job_id=job_id).first()


def ids_of_source(source: str) -> set[int]:
    """Returns the ids of the jobs that one file keeps. Some may have been deleted by SQL."""
    return set(AppliedJob.objects.filter(source=source).values_list("job_id", flat=True))


def of_jobs(job_ids: Collection[int]) -> dict[int, AppliedJob]:
    """Returns what files have set, by the id of the job."""
    return AppliedJob.objects.in_bulk(job_ids)


def remember(
    job_id: int,
    *,
    source: str,
    name: str,
    definition: Mapping[str, Any],
    applied_at: datetime,
    applied_by: str,
) -> None:
    """Write what a file has set. The job must be locked: two files may name it at once."""
    values = {
        "source": source,
        "name": name,
        "definition": dict(definition),
        "applied_at": applied_at,
        "applied_by": applied_by[:150],
    }
    if not AppliedJob.objects.filter(job_id=job_id).update(**values):
        AppliedJob.objects.create(job_id=job_id, **values)


def forget(job_id: int) -> None:
    """A file does not have this job any more."""
    AppliedJob.objects.filter(job_id=job_id).delete()
