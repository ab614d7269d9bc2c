"""Changes of jobs: by a person, by beat for a row that it cannot plan, at the end of a pause."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db import connection, transaction
from django.db.models import F, QuerySet

from scheduler.concurrency import guard_of_job
from scheduler.models import LISTS, AppliedJob, CronJob, JobGuard, JobPlace, JobSwitch
from scheduler.schedule.watermark import Watermark
from scheduler.store import check_ins
from scheduler.store.connection import lock_skipping

T = TypeVar("T")

# Older versions of SQLite take 999 parameters.
_AT_ONCE: Final = 500


class StaleEdit(Exception):
    """Somebody else, or beat, has changed the job since it was read."""


def create_job(
    values: Mapping[str, Any], *, now: datetime, watermark: Watermark | None = None
) -> CronJob:
    """Insert a job. IntegrityError when the name is taken."""
    with transaction.atomic():
        marked = watermark.columns() if watermark else {}
        job = CronJob.objects.create(**values, **marked, created_at=now, updated_at=now)
        _write_lists(job.pk, values)
        if values.get("alert_rules"):
            check_ins.mark(job.pk, values["alert_rules"])
        return job


def queues_in_use() -> list[str]:
    """The queues that jobs name, "" for the default one. Empty before the first `migrate`."""
    if CronJob._meta.db_table not in connection.introspection.table_names():
        return []
    return list(CronJob.objects.order_by("queue").values_list("queue", flat=True).distinct())


def lock_job(job_id: int) -> CronJob:
    """The job, locked until the transaction ends, so that not even beat moves its `tick_seq`."""
    no_key = connection.features.has_select_for_no_key_update
    # With its lists as they are now: whoever keeps a copy must not read them after the change.
    lists = (kept.prefetch for kept in LISTS.values())
    rows = CronJob.objects.select_for_update(no_key=no_key).prefetch_related(*lists)
    return rows.get(pk=job_id)


def ids_of(names: Collection[str], ids: Collection[int]) -> list[int]:
    """Returns the ids of the jobs that have one of the names, or one of the ids, sorted."""
    found: set[int] = set()
    for part in _batched(sorted(names)):
        found.update(CronJob.objects.filter(name__in=part).values_list("id", flat=True))
    for numbers in _batched(sorted(ids)):
        found.update(CronJob.objects.filter(id__in=numbers).values_list("id", flat=True))
    return sorted(found)


def with_lists(ids: Sequence[int], *, lock: bool) -> list[CronJob]:
    """Returns jobs with their lists, in the order of their ids. `lock`: as `lock_job` does."""
    found: list[CronJob] = []
    for part in _batched(sorted(ids)):
        rows = CronJob.objects.filter(id__in=part).order_by("id")
        if lock:
            rows = rows.select_for_update(no_key=connection.features.has_select_for_no_key_update)
        found += rows.prefetch_related(*(kept.prefetch for kept in LISTS.values()))
    return found


def _batched(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def set_shadow(job_id: int, is_shadow: bool, *, now: datetime) -> bool:
    """Let another system run the slots of a locked job, or run them here. False: it was so."""
    changed = CronJob.objects.filter(id=job_id, is_shadow=not is_shadow).update(
        is_shadow=is_shadow, tick_seq=F("tick_seq") + 1, updated_at=now
    )
    return changed == 1


def set_source(job_id: int, source: str, *, instead_of: str) -> None:
    """Note where a job comes from, unless something else is noted. It is no edit of the job."""
    CronJob.objects.filter(id=job_id, source__in=["", instead_of]).update(source=source)


def update_job(job_id: int, values: Mapping[str, Any], *, tick_seq: int, now: datetime) -> None:
    """Change a job that nobody has changed since `tick_seq` was read, else raise StaleEdit.

    To be called in a transaction.
    """
    columns = {name: value for name, value in values.items() if name not in LISTS}
    changed = CronJob.objects.filter(id=job_id, tick_seq=tick_seq).update(
        **columns, tick_seq=F("tick_seq") + 1, updated_at=now
    )
    if changed == 0:
        raise StaleEdit
    _write_lists(job_id, values)
    if "alert_rules" in values:
        check_ins.mark(job_id, values["alert_rules"])


def replan(job_id: int, columns: Mapping[str, Any]) -> None:
    """Write the watermark of a locked job that nobody has edited: those that it follows have."""
    CronJob.objects.filter(id=job_id).update(**columns, tick_seq=F("tick_seq") + 1)


def _write_lists(job_id: int, values: Mapping[str, Any]) -> None:
    for name, kept in LISTS.items():
        if name in values:
            model: Any = CronJob._meta.get_field(kept.rows).related_model
            rows = model._default_manager
            known = set(rows.filter(job_id=job_id).values_list(kept.column, flat=True))
            wanted = set(values[name])
            gone = {f"{kept.column}__in": known - wanted}
            if known - wanted:
                ids = list(rows.filter(job_id=job_id, **gone).values_list("id", flat=True))
                rows.filter(id__in=ids).delete()
            new = wanted - known
            if kept.refers_to is None:
                rows.bulk_create(rows.model(job_id=job_id, **{kept.column: text}) for text in new)
            else:
                ids = ids_of(new, ())
                if len(ids) < len(new):
                    raise StaleEdit  # somebody has deleted one of them since it was checked
                rows.bulk_create(
                    rows.model(job_id=job_id, **{f"{kept.refers_to}_id": id_}) for id_ in ids
                )


def delete_job(job_id: int) -> bool:
    """Remove a job; the database removes its executions, attempts and logs."""
    is_deleted = CronJob.objects.filter(id=job_id).delete()[0] > 0
    guards = [guard_of_job(job_id, may_overlap=may_overlap) for may_overlap in (True, False)]
    JobGuard.objects.filter(id__in=guards).delete()
    JobPlace.objects.filter(guard_id__in=guards).delete()
    AppliedJob.objects.filter(job_id=job_id).delete()
    JobSwitch.objects.filter(job_id=job_id).delete()
    check_ins.mark(job_id, None)
    return is_deleted


def disable_job(
    job_id: int,
    *,
    now: datetime,
    error: str = "",
    reason: str = "",
    missed_from: datetime | None = None,
) -> bool:
    """Switch a job off, because something is wrong (`error`) or its schedule is over (`reason`).

    `missed_from`: the instant from which its slots count as missed. False: it was off already.
    """
    changed = CronJob.objects.filter(id=job_id, is_enabled=True).update(
        is_enabled=False,
        next_run_at=None,
        missed_from=missed_from,
        schedule_error=error[:1000],
        pause_reason=reason[:500],
        paused_until=None,  # else the end of a pause would enable it again
        tick_seq=F("tick_seq") + 1,
        updated_at=now,
    )
    return changed == 1


# --- pauses ---------------------------------------------------------------------------------------


def _pauses_over(now: datetime) -> QuerySet[CronJob]:
    # `IN (false)` for the index: see slots.py.
    over = CronJob.objects.filter(is_enabled__in=[False], paused_until__lte=now)
    # In the order of the index: by name SQLite would walk all jobs.
    return over.order_by("paused_until")


def any_pause_over(now: datetime) -> bool:
    """Is there a job whose pause is over? One query that reads only an id."""
    return _pauses_over(now).values_list("id", flat=True).first() is not None


def claim_paused(now: datetime, limit: int) -> list[CronJob]:
    """Up to `limit` jobs whose pause is over, locked until the transaction ends, without those that
    another beat holds.
    """
    return list(lock_skipping(_pauses_over(now))[:limit])


def resume(watermarks: Mapping[int, Watermark | None], *, now: datetime) -> int:
    """Enable locked jobs whose pause is over. Returns how many. One UPDATE per watermark."""
    groups: dict[Watermark | None, list[int]] = {}
    for job_id, watermark in watermarks.items():
        groups.setdefault(watermark, []).append(job_id)
    return sum(
        _enabled_again(CronJob.objects.filter(id__in=ids), watermark, now)
        for watermark, ids in groups.items()
    )


def resume_all(now: datetime) -> int:
    """Enable all jobs whose pause is over without reading them. Beat treats each as a new job."""
    return _enabled_again(_pauses_over(now), None, now)


def _enabled_again(jobs: QuerySet[CronJob], watermark: Watermark | None, now: datetime) -> int:
    # A job without a watermark keeps `missed_from`: beat may find that it still cannot run.
    moved: dict[str, Any] = {"next_run_at": None}
    if watermark is not None:
        moved = watermark.columns()
        if watermark.next_run_at is not None:
            moved["missed_from"] = None
    return jobs.update(
        **moved,
        is_enabled=True,
        paused_until=None,
        pause_reason="",
        schedule_error="",
        tick_seq=F("tick_seq") + 1,
        updated_at=now,
    )
