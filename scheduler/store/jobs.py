"""Changes of jobs: by a person, by beat for a row that it cannot plan, at the end of a pause."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet

from scheduler.models import CronJob
from scheduler.store.connection import lock_skipping


class StaleEdit(Exception):
    """Somebody else, or beat, has changed the job since it was read."""


def create_job(
    values: Mapping[str, Any], *, now: datetime, next_run_at: datetime | None = None
) -> CronJob:
    """Insert a job. IntegrityError when the name is taken."""
    with transaction.atomic():
        return CronJob.objects.create(
            **values, next_run_at=next_run_at, created_at=now, updated_at=now
        )


def lock_job(job_id: int) -> CronJob:
    """A job as it is, kept so until the transaction ends: beat's ticks move `tick_seq`, too."""
    no_key = connection.features.has_select_for_no_key_update
    return CronJob.objects.select_for_update(no_key=no_key).get(pk=job_id)


def update_job(job_id: int, values: Mapping[str, Any], *, tick_seq: int, now: datetime) -> None:
    """Change a job that is still as it was read (`tick_seq`). StaleEdit when it is not."""
    changed = CronJob.objects.filter(id=job_id, tick_seq=tick_seq).update(
        **values, tick_seq=F("tick_seq") + 1, updated_at=now
    )
    if changed == 0:
        raise StaleEdit


def delete_job(job_id: int) -> bool:
    """Remove a job; the database removes its executions, attempts and logs."""
    return CronJob.objects.filter(id=job_id).delete()[0] > 0


def disable_job(
    job_id: int,
    *,
    now: datetime,
    error: str = "",
    reason: str = "",
    missed_from: datetime | None = None,
) -> bool:
    """Take a job out of planning, with what is wrong (`error`) or why it is over (`reason`) in
    view. `missed_from`: its watermark, where slots are missed from here on.
    """
    changed = CronJob.objects.filter(id=job_id, is_enabled=True).update(
        is_enabled=False,
        next_run_at=None,
        missed_from=missed_from,
        schedule_error=error[:1000],
        pause_reason=reason[:500],
        paused_until=None,  # a pause that is over would enable it again
        tick_seq=F("tick_seq") + 1,
        updated_at=now,
    )
    return changed == 1


# --- pauses ---------------------------------------------------------------------------------------


def _pauses_over(now: datetime) -> QuerySet[CronJob]:
    # `IN (false)`, for the index: see slots.py.
    return CronJob.objects.filter(is_enabled__in=[False], paused_until__lte=now)


def any_pause_over(now: datetime) -> bool:
    """Is there a job to come back? One query, by id alone."""
    return _pauses_over(now).values_list("id", flat=True).first() is not None


def claim_paused(now: datetime, limit: int) -> list[CronJob]:
    """Up to `limit` jobs whose pause is over, locked until the transaction ends. Jobs another beat
    holds are left out.
    """
    return list(lock_skipping(_pauses_over(now)).order_by("id")[:limit])


def resume(watermarks: Mapping[int, datetime | None], *, now: datetime) -> int:
    """Enable locked jobs whose pause is over, one UPDATE per distinct watermark; gives how many."""
    groups: dict[datetime | None, list[int]] = {}
    for job_id, next_run_at in watermarks.items():
        groups.setdefault(next_run_at, []).append(job_id)
    return sum(
        _enabled_again(CronJob.objects.filter(id__in=ids), next_run_at, now)
        for next_run_at, ids in groups.items()
    )


def resume_all(now: datetime) -> int:
    """Enable all jobs whose pause is over, unseen: beat looks at each as at a new one."""
    return _enabled_again(_pauses_over(now), None, now)


def _enabled_again(jobs: QuerySet[CronJob], next_run_at: datetime | None, now: datetime) -> int:
    # Without a watermark beat looks at them first, and may find that they still cannot run.
    kept = {} if next_run_at is None else {"missed_from": None}
    return jobs.update(
        **kept,
        is_enabled=True,
        next_run_at=next_run_at,
        paused_until=None,
        pause_reason="",
        schedule_error="",
        tick_seq=F("tick_seq") + 1,
        updated_at=now,
    )
