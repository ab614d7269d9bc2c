"""Watermarks that were computed from another schedule than the present one: find and correct."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import Error
from django.db.models import Exists, F, OuterRef, Q

from scheduler.models import CronJob, JobFreeze, JobUpstream
from scheduler.schedule.after import is_after
from scheduler.store.connection import lock_skipping
from scheduler.store.slots import DUE_FIELDS, DueJob, with_followed
from scheduler.store.upstreams import followed_by
from scheduler.transient import is_outage


class StoredFingerprint(NamedTuple):
    """The columns that decide a fingerprint, and the one that is stored."""

    id: int
    name: str
    cron_expression: str
    timezone: str
    calendar: str
    schedule_fingerprint: str | None
    followed: tuple[CronJob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """A watermark that stays as it is, and now has a fingerprint."""

    schedule_fingerprint: str
    last_slot_at: datetime
    last_nominal_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A watermark that was computed anew. Of a job that is off only `missed_from` moves."""

    schedule_fingerprint: str
    next_run_at: datetime | None
    missed_from: datetime | None


# Other jobs have nothing that could be wrong: beat computes their next run when they are enabled.
_HAS_WATERMARK = Q(next_run_at__isnull=False) | Q(missed_from__isnull=False)


def fingerprints_after(job_id: int, limit: int) -> tuple[list[StoredFingerprint], int | None]:
    """The next `limit` jobs by id, and the id to go on after. None: these were the last ones.

    Locks nothing. Jobs that cannot be read are left out.
    """
    rows = CronJob.objects.filter(_HAS_WATERMARK, id__gt=job_id).order_by("id")
    ids = list(rows.values_list("id", flat=True)[:limit])
    return fingerprints_of(ids), ids[-1] if len(ids) == limit else None


def fingerprints_of(ids: Collection[int]) -> list[StoredFingerprint]:
    """The same of some jobs."""
    rows = CronJob.objects.filter(_HAS_WATERMARK, id__in=ids).order_by("id")
    try:
        columns = StoredFingerprint._fields[:-1]
        found = [StoredFingerprint(*row) for row in rows.values_list(*columns)]
        following = [row.id for row in found if is_after(row.cron_expression)]
        if not following:
            return found
        followed = followed_by(following)
        return [row._replace(followed=followed.get(row.id, ())) for row in found]
    except Error as error:
        # SQLite stores any bytes as a text. One row must not stop the others; the tick that plans
        # it switches it off.
        if is_outage(error):
            raise
        if len(ids) == 1:
            return []
        return [found for id_ in sorted(ids) for found in fingerprints_of([id_])]


def claim_jobs(ids: Collection[int]) -> list[DueJob]:
    """Jobs, locked until the transaction ends, without those that another process holds."""
    rows = lock_skipping(CronJob.objects.filter(_HAS_WATERMARK, id__in=ids)).order_by("id")
    has_upstreams = Exists(JobUpstream.objects.filter(job_id=OuterRef("pk")))
    any_freeze = Exists(JobFreeze.objects.filter(is_enabled=True))
    found = rows.annotate(has_upstreams=has_upstreams, any_freeze=any_freeze).values(*DUE_FIELDS)
    return with_followed([DueJob(**row) for row in found])


def correct(changes: Mapping[int, Adopted | Moved]) -> None:
    """Write the watermarks of locked jobs, one UPDATE per distinct new value."""
    groups: dict[Adopted | Moved, list[int]] = {}
    for job_id, change in changes.items():
        groups.setdefault(change, []).append(job_id)
    for change, ids in groups.items():
        jobs = CronJob.objects.filter(id__in=ids)
        if isinstance(change, Moved):
            # An edit that was begun with the older watermark is refused.
            jobs.update(**asdict(change), tick_seq=F("tick_seq") + 1)
        else:
            jobs.update(**asdict(change))
