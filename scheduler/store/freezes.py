"""Freezes: those that may block the slots of jobs, and the runs that they hold or have skipped.

A tick reads them under a shared lock, after the locks of its jobs. Whoever changes a freeze locks
its row, and then decides anew about the runs that are held: no tick records by the old one
meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Final

from django.db import connection
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from scheduler.events import emit
from scheduler.models import JobExecution, JobFreeze, JobTag, JobWait, RunApproval
from scheduler.schedule import ScheduleError, load_zone
from scheduler.schedule.freezes import Freeze, Freezes
from scheduler.schedule.plan import SkippedSlots
from scheduler.schedule.weekly_hours import WeeklyHours, read_hours
from scheduler.states import BlockedSlots, ParamSource, ReasonCode, RunStatus
from scheduler.store.connection import fetch_all, from_json, instant, lock_in_order, numbers
from scheduler.store.slots import DueJob, Held
from scheduler.store.waits import NEVER, Wait

_COLUMNS: Final = (
    "id", "name", "reason", "since", "until", "hours", "timezone", "tags", "blocked_slots",
)  # fmt: skip
_ENABLED: Final = """
SELECT id, name, reason, since, until, hours, timezone, tags, blocked_slots
  FROM jobu_freezes
 WHERE is_enabled IN (TRUE) AND (until IS NULL OR until > %s)
 ORDER BY id
"""
# All of them, also those that are over or switched off.
_ALL: Final = """
SELECT id, name, reason, since, until, hours, timezone, tags, blocked_slots, is_enabled
  FROM jobu_freezes ORDER BY id
"""
# Share locks do not wait for each other: any number of beats may tick.
_SHARED: Final = {"postgresql": "FOR SHARE", "mysql": "LOCK IN SHARE MODE", "sqlite": ""}
_LOCK: Final = "SELECT id FROM jobu_freezes WHERE id IN ({ids}) ORDER BY id {shared}"


@dataclass(frozen=True, kw_only=True)
class FreezesOfJobs:
    """The freezes of some jobs. Usually there are none."""

    all: Freezes = ()
    tags: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def of(self, job_id: int) -> Freezes:
        tags = self.tags.get(job_id)
        if not tags or not self.all:
            return self._for_all_jobs
        of_tags = {freeze.id: freeze for tag in tags for freeze in self._by_tag.get(tag, ())}
        if not of_tags:
            return self._for_all_jobs
        found = (*self._for_all_jobs, *of_tags.values())
        return tuple(sorted(found, key=lambda freeze: freeze.id))

    # A burst asks for each of its jobs: not by a look at all freezes.

    @cached_property
    def _for_all_jobs(self) -> Freezes:
        return tuple(freeze for freeze in self.all if not freeze.tags)

    @cached_property
    def _by_tag(self) -> Mapping[str, Sequence[Freeze]]:
        found: dict[str, list[Freeze]] = {}
        for freeze in self.all:
            for tag in freeze.tags:
                found.setdefault(tag, []).append(freeze)
        return found


def read(row: Mapping[str, Any], default_timezone: str) -> Freeze:
    """Returns what the columns say. Raises ScheduleError for what is no freeze."""
    tags = row["tags"]
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ScheduleError(_("must be a list of texts"), field="tags")
    hours = None
    if row["hours"]:
        hours = hours_of(row["hours"], row["timezone"], default_timezone)
    return Freeze(
        id=row["id"],
        name=row["name"],
        reason=row["reason"],
        since=row["since"],
        until=row["until"],
        hours=hours,
        blocked_slots=BlockedSlots(row["blocked_slots"]),
        tags=frozenset(tags),
    )


def hours_of(text: str, timezone: str, default_timezone: str) -> WeeklyHours:
    """Raises ScheduleError, which names the column that is wrong."""
    return read_hours(text, load_zone(timezone or default_timezone))


def enabled(since: datetime, default_timezone: str, *, is_locked: bool = False) -> Freezes:
    """The freezes that may hold after `since`. One small statement.

    `is_locked`: nobody changes them before the transaction ends. A row that SQL has written and
    that is no freeze holds nothing; the list of freezes shows what is wrong with it.
    """
    found = _rows(since)
    if found and is_locked and _SHARED[connection.vendor]:
        ids = numbers(row["id"] for row in found)
        fetch_all(_LOCK.format(ids=ids, shared=_SHARED[connection.vendor]), [])
        # What they say now: before the lock was there they may have been changed.
        found = _rows(since)
    return tuple(freeze for row in found if (freeze := _readable(row, default_timezone)))


def _rows(since: datetime) -> list[dict[str, Any]]:
    return [dict(zip(_COLUMNS, row, strict=True)) for row in fetch_all(_ENABLED, [since])]


def _readable(row: Mapping[str, Any], default_timezone: str) -> Freeze | None:
    try:
        instants = {name: instant(row[name]) for name in ("since", "until")}
        return read({**row, **instants, "tags": from_json(row["tags"])}, default_timezone)
    except (ScheduleError, ValueError, TypeError) as error:
        _tell(row["id"], str(row["name"]), str(error))
        return None


@lru_cache(maxsize=200)
def _tell(freeze_id: int, name: str, error: str) -> None:
    """Once per process and error, not in every tick."""
    emit("freeze.unreadable", freeze_id=freeze_id, freeze=name, error=error)


def of_due_jobs(jobs: Sequence[DueJob], default_timezone: str) -> FreezesOfJobs:
    """The freezes that may block the slots of these locked jobs, locked against changes."""
    due = [job.next_run_at for job in jobs if job.next_run_at is not None]
    if not due or not any(job.any_freeze for job in jobs):
        return FreezesOfJobs()
    found = enabled(min(due), default_timezone, is_locked=True)
    return _with_tags(found, [job.id for job in jobs])


def of_jobs(job_ids: Collection[int], since: datetime, default_timezone: str) -> FreezesOfJobs:
    """The freezes of these jobs that may hold after `since`."""
    return _with_tags(enabled(since, default_timezone), job_ids)


def _with_tags(found: Freezes, job_ids: Collection[int]) -> FreezesOfJobs:
    tags: dict[int, set[str]] = {}
    if any(freeze.tags for freeze in found):
        rows = JobTag.objects.filter(job_id__in=sorted(job_ids)).values_list("job_id", "tag")
        for job_id, tag in rows:
            tags.setdefault(job_id, set()).add(tag)
    return FreezesOfJobs(all=found, tags={id_: frozenset(each) for id_, each in tags.items()})


# --- beat sees that one has changed ---------------------------------------------------------------

Stored = dict[int, tuple[Any, ...]]
"""The freezes as they are stored, by id."""


def stored() -> Stored:
    """One small statement."""
    return {row[0]: row for row in fetch_all(_ALL, [])}


def held_then(old: Stored, new: Stored, at: datetime, zone: str) -> list[tuple[Freeze, datetime]]:
    """Those of `old` that have changed since and held at `at`, and since when each held."""
    held: list[tuple[Freeze, datetime]] = []
    for id_, row in old.items():
        *columns, is_enabled = row
        if not is_enabled or new.get(id_) == row:
            continue
        was = _readable(dict(zip(_COLUMNS, columns, strict=True)), zone)
        if was is not None and (span := was.span_at(at)) is not None:
            held.append((was, span[0]))
    return held


# --- a person changes one -------------------------------------------------------------------------


def lock(freeze_id: int) -> JobFreeze:
    """The freeze, locked until the transaction ends. JobFreeze.DoesNotExist."""
    return JobFreeze.objects.select_for_update().get(pk=freeze_id)


def create(**values: Any) -> JobFreeze:
    return JobFreeze.objects.create(**values)


def update(freeze_id: int, **values: Any) -> None:
    JobFreeze.objects.filter(pk=freeze_id).update(**values)


def delete(freeze_id: int) -> None:
    JobFreeze.objects.filter(pk=freeze_id).delete()


# So many ids are in one statement.
_AT_ONCE: Final = 10_000
_OF_HELD: Final = (
    "job_id", "scheduled_time", "created_at", "available_at", "queue", "reason_code",
    "reason_facts",
)  # fmt: skip
# A held run may wait for upstream jobs or an approval besides. Then its facts name the freeze.
_HELD_CODES: Final = (
    ReasonCode.FROZEN_HELD,
    ReasonCode.UPSTREAM_AWAITED,
    ReasonCode.AWAITS_APPROVAL,
)


def may_hold_runs() -> bool:
    """Whether there may be runs that a freeze holds. One small statement."""
    return _waiting().exists()


def _waiting() -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(
        status=RunStatus.PENDING, reason_code__in=_HELD_CODES, job_id__isnull=False
    )


def held_runs() -> list[JobExecution]:
    """The runs that wait for the end of a freeze, locked, without their params."""
    rows = _waiting()
    found = [
        id_
        for id_, facts in rows.values_list("id", "reason_facts")
        if isinstance(facts, Mapping) and "freeze_id" in facts
    ]
    held: list[JobExecution] = []
    for some in _parts(found):
        chosen = rows.filter(id__in=some).select_related(None)
        held += lock_in_order(chosen.only(*_OF_HELD))
    return held


def begins_of(runs: Collection[JobExecution]) -> dict[int, datetime]:
    """When the freezes of these held runs end, as it was decided last."""
    begins = {run.pk: run.available_at for run in runs if run.reason_code == ReasonCode.FROZEN_HELD}
    ids = [run.pk for run in runs if run.pk not in begins]
    for some in _parts(ids):
        asked = RunApproval.objects.filter(execution_id__in=some)
        begins |= dict(asked.values_list("execution_id", "starts_at"))
        waits = JobWait.objects.filter(execution_id__in=some)
        begins |= dict(waits.values_list("execution_id", "not_before"))
    return begins


def lock_skipped(ids: Collection[int]) -> list[int]:
    """Those of these runs that a freeze has skipped, and nobody has retried, locked."""
    locked: list[int] = []
    for some in _parts(ids):
        rows = JobExecution.objects.filter(
            id__in=some, status=RunStatus.SKIPPED, reason_code=ReasonCode.FROZEN
        )
        locked += lock_in_order(rows).values_list("id", flat=True)
    return locked


# One probe for each job, however long the freeze was.
_NEWEST: Final = f"""
SELECT j.id, e.id, e.scheduled_time, e.reason_facts
  FROM cron_jobs j
  JOIN job_executions e ON e.job_id = j.id AND e.scheduled_time = (
       SELECT n.scheduled_time FROM job_executions n
        WHERE n.job_id = j.id AND n.scheduled_time <= %s AND n.param_source = '{ParamSource.CRON}'
        ORDER BY n.scheduled_time DESC LIMIT 1)
 WHERE e.scheduled_time >= %s AND e.status = '{RunStatus.SKIPPED}'
   AND e.reason_code = '{ReasonCode.FROZEN}'
"""  # noqa: S608 - of constants


def skipped_by(freeze_id: int, since: datetime, until: datetime) -> dict[int, tuple[int, datetime]]:
    """Of each job whose newest slot of [since, until] this freeze has skipped: its run."""
    newest: dict[int, tuple[int, datetime]] = {}
    for job_id, id_, slot, stored in fetch_all(_NEWEST, [until, since]):
        facts, at = from_json(stored), instant(slot)
        if isinstance(facts, Mapping) and facts.get("freeze_id") == freeze_id and at is not None:
            newest[job_id] = (id_, at)
    return newest


def release(ids: Collection[int], at: datetime) -> None:
    """These held runs may start at `at`."""
    for held in _held(ids):
        held.update(available_at=at, reason_code=None, reason_facts=None, error_message=None)


def hold(ids: Collection[int], why: Held, until: datetime) -> None:
    """These held runs wait until then."""
    for held in _held(ids):
        held.update(
            available_at=until,
            error_message=why.reason,
            reason_code=why.code,
            reason_facts=dict(why.facts),
        )


def skip(ids: Collection[int], *, now: datetime, reason: str, facts: Mapping[str, Any]) -> None:
    """These held runs are no longer the last ones that are blocked: PENDING -> SKIPPED."""
    for held in _held(ids):
        held.update(
            status=RunStatus.SKIPPED,
            available_at=now,
            finished_at=now,
            error_message=reason,
            reason_code=ReasonCode.FROZEN,
            reason_facts=dict(facts),
        )


def hold_new(execution_id: int, held: Held, until: datetime) -> None:
    """A PENDING run that was ended before waits for the end of a freeze."""
    JobExecution.objects.filter(id=execution_id, status=RunStatus.PENDING).update(
        available_at=until,
        error_message=held.reason,
        reason_code=held.code,
        reason_facts=dict(held.facts),
    )


def skip_shadow(execution_id: int, why: SkippedSlots) -> None:
    """A slot that was recorded in a shadow stays SKIPPED: a freeze blocks it."""
    JobExecution.objects.filter(
        id=execution_id, status=RunStatus.SKIPPED, reason_code=ReasonCode.SHADOW
    ).update(
        error_message=why.reason,
        reason_code=ReasonCode.FROZEN,
        reason_facts=dict(why.reason_facts),
    )


def begin_waiting(
    execution_id: int,
    waits: Collection[Wait],
    *,
    not_before: datetime,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """A PENDING run that this transaction has locked waits, like one that has just been made.

    `facts`: of the freeze that holds it until `not_before`.
    """
    JobWait.objects.filter(execution_id=execution_id).delete()
    JobWait.objects.bulk_create(
        JobWait(
            execution_id=execution_id,
            upstream_id=wait.upstream_id,
            slot=wait.slot,
            until=wait.until,
            not_before=not_before,
            backfill_id=wait.backfill_id,
        )
        for wait in waits
    )
    JobExecution.objects.filter(id=execution_id, status=RunStatus.PENDING).update(
        available_at=NEVER,
        error_message=None,
        reason_code=ReasonCode.UPSTREAM_AWAITED,
        reason_facts=None if facts is None else dict(facts),
    )


def go_on_waiting(ids: Collection[int], *, not_before: datetime, until: datetime) -> None:
    """Runs that a freeze holds, locked, go on waiting: the end of the freeze has moved."""
    for some in _parts(ids):
        JobWait.objects.filter(execution_id__in=some).update(not_before=not_before, until=until)
        JobExecution.objects.filter(id__in=some, status=RunStatus.PENDING).update(
            available_at=NEVER, reason_code=ReasonCode.UPSTREAM_AWAITED
        )


def _held(ids: Collection[int]) -> Iterator[QuerySet[JobExecution]]:
    for some in _parts(ids):
        yield JobExecution.objects.filter(
            id__in=some, status=RunStatus.PENDING, reason_code__in=_HELD_CODES
        )


def _parts(ids: Collection[int]) -> Iterator[list[int]]:
    """SQLite takes 32,766 parameters in one statement."""
    ordered = sorted(ids)
    for first in range(0, len(ordered), _AT_ONCE):
        yield ordered[first : first + _AT_ONCE]
