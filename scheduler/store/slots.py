"""Due jobs become executions: claim the jobs, record their slots, move their watermarks.

All in one transaction. Only the holder of a job's row lock records slots of that job, so nobody can
insert a slot between the check that it is not there and the insert. The UNIQUE constraint is a
second guard.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import QuerySet

from scheduler.models import INSTANTS, LISTS, CronJob
from scheduler.schedule.freezes import Block
from scheduler.schedule.plan import Plan, SkippedSlots, jitter_seconds
from scheduler.schedule.watermark import Watermark
from scheduler.states import ParamSource, ReasonCode, RunStatus
from scheduler.store import approvals
from scheduler.store import waits as store_waits
from scheduler.store.connection import SKIP_LOCKED, instant, to_json
from scheduler.store.prepared import among, execute_often, fetch_often
from scheduler.store.upstreams import followed_by
from scheduler.store.waits import NEVER, Wait


@dataclass(frozen=True, kw_only=True)
class DueJob:
    """What planning needs of a job. Its parameters stay in the database.

    Planning does not need `handler_name` and `queue`: the database copies them. They are read here
    because workers read the copies later, and a value that cannot be read must be found
    while the job to blame is known.
    """

    id: int
    name: str
    handler_name: str
    queue: str
    cron_expression: str
    timezone: str
    calendar: str
    misfire_policy: str
    misfire_grace_seconds: int
    max_catchup: int
    jitter_seconds: int
    start_at: datetime | None
    end_at: datetime | None
    is_enabled: bool
    next_run_at: datetime | None
    missed_from: datetime | None
    schedule_fingerprint: str | None
    last_slot_at: datetime | None
    last_nominal_at: datetime | None
    created_at: datetime
    is_shadow: bool
    approval_seconds: int
    upstream_seconds: int
    has_upstreams: bool
    any_freeze: bool = True
    """Whether there may be freezes, of whatever job."""
    followed: tuple[CronJob, ...] = ()
    """Its upstream jobs. Read only for jobs that have any."""


@dataclass(frozen=True, kw_only=True)
class SlotRecord:
    """A slot to be written: PENDING from `available_at` on, or SKIPPED for all of `skipped`.

    `held`: why a PENDING one has to wait.
    """

    job_id: int
    slot: datetime
    available_at: datetime
    skipped: SkippedSlots | None = None
    held: Held | None = None
    waits: tuple[Wait, ...] = ()
    """The upstream jobs that must succeed first."""
    needs_approval: bool = False
    """A person must approve it before it starts, and after its upstream jobs have succeeded."""


@dataclass(frozen=True, kw_only=True)
class Held:
    reason: str
    code: ReasonCode
    facts: Mapping[str, Any]


def records_of(
    job_id: int,
    planned: Plan,
    *,
    spread_seconds: int,
    is_shadow: bool = False,
    waits: Callable[[datetime, datetime], tuple[Wait, ...]] = lambda slot, since: (),
    needs_approval: bool = False,
) -> list[SlotRecord]:
    """The rows to write for a plan: one per slot, and one for all slots that it skips.

    `is_shadow`: the slots do not run, because another system runs them. `waits`: for which upstream
    jobs the run of a slot waits, from an instant on. `needs_approval`: those that are to run wait
    for a person.
    """
    blocks = dict(planned.blocked)
    records = []
    for slot in planned.slots:
        jitter = timedelta(seconds=jitter_seconds(job_id, slot, spread_seconds))
        why = _in_shadow(slot) if is_shadow else blocks.get(slot)
        record = _record(job_id, slot, jitter, why)
        if record.skipped is None:
            # One that a freeze holds waits from its end on.
            awaited = waits(slot, record.available_at if record.held else slot)
            if awaited or needs_approval:
                record = replace(record, waits=awaited, needs_approval=needs_approval)
        records.append(record)
    if planned.skipped is not None:
        records.append(
            SlotRecord(
                job_id=job_id,
                slot=planned.skipped.last,
                available_at=planned.skipped.last,
                skipped=planned.skipped,
            )
        )
    return records


def _record(
    job_id: int, slot: datetime, jitter: timedelta, why: SkippedSlots | Block | None
) -> SlotRecord:
    if isinstance(why, Block) and why.held_until is not None:
        held = held_by(why)
        at = max(why.held_until, slot) + jitter
        return SlotRecord(job_id=job_id, slot=slot, available_at=at, held=held)
    skipped = skipped_by(why, slot) if isinstance(why, Block) else why
    return SlotRecord(job_id=job_id, slot=slot, available_at=slot + jitter, skipped=skipped)


def skipped_by(block: Block, slot: datetime) -> SkippedSlots:
    """Why a slot is skipped that a freeze blocks."""
    return SkippedSlots(
        first=slot,
        last=slot,
        count=1,
        reason=f"blocked by freeze {block.freeze.name!r}: {block.freeze.reason}",
        reason_code=ReasonCode.FROZEN,
        reason_facts=block.freeze.facts(),
    )


def held_by(block: Block) -> Held:
    """Why a slot waits that a freeze blocks, and that runs at its end."""
    return Held(
        reason=f"held until the end of freeze {block.freeze.name!r}: {block.freeze.reason}",
        code=ReasonCode.FROZEN_HELD,
        facts=block.freeze.facts(),
    )


def _in_shadow(slot: datetime) -> SkippedSlots:
    return SkippedSlots(
        first=slot,
        last=slot,
        count=1,
        reason="a shadow: another system runs this slot",
        reason_code=ReasonCode.SHADOW,
        reason_facts={},
    )


DUE_FIELDS: Final = tuple(name for name in DueJob.__dataclass_fields__ if name != "followed")
# Asked together with the job, because each question of its own would delay all due slots.
_ASKED: Final = {
    "has_upstreams": "EXISTS (SELECT 1 FROM job_upstreams u WHERE u.job_id = cron_jobs.id)",
    "any_freeze": "EXISTS (SELECT 1 FROM jobu_freezes f WHERE f.is_enabled IN (TRUE))",
}
_COLUMNS: Final = ", ".join(_ASKED.get(name, name) for name in DUE_FIELDS)

_INSTANTS: Final = tuple(name for name in (*INSTANTS, "created_at") if name in DUE_FIELDS)
# `IN (TRUE)`: for a bare boolean column SQLite and MySQL read the whole table instead of the index.
_CLAIM: Final = """
SELECT {columns} FROM cron_jobs WHERE is_enabled IN (TRUE) AND {condition} LIMIT %s {lock}
"""


def claim_due_jobs(now: datetime, limit: int) -> list[DueJob]:
    """Up to `limit` due jobs, locked until the transaction ends. Skips those of another beat."""
    # In index order: by id the database would read the primary key past a million idle jobs.
    return _locked("next_run_at <= %s ORDER BY next_run_at, id", [now], limit)


def look_at_due_jobs(now: datetime, limit: int) -> list[DueJob]:
    """The same without locks, and with those of another beat."""
    return _read("next_run_at <= %s ORDER BY next_run_at, id", [now], limit, lock="")


def claim_new_jobs(now: datetime, limit: int) -> list[DueJob]:
    """Up to `limit` enabled jobs without a watermark (new, edited or inserted by SQL), locked in
    the same way. They are new whatever time it is.
    """
    return _locked("next_run_at IS NULL ORDER BY id", [], limit)


def due_or_new_ids(now: datetime, limit: int) -> list[int]:
    """The ids that the two functions above would claim. Reads no column that can be unreadable."""
    due = _enabled().filter(next_run_at__lte=now).order_by("next_run_at", "id")
    new = _enabled().filter(next_run_at__isnull=True).order_by("id")
    return [id_ for rows in (due, new) for id_ in rows.values_list("id", flat=True)[:limit]]


def claim_job(job_id: int) -> list[DueJob]:
    """One enabled job, locked. Empty when it is gone, disabled or held by another beat."""
    return _locked("id = %s", [job_id], 1)


def _locked(condition: str, values: list[Any], limit: int) -> list[DueJob]:
    return _read(condition, values, limit, lock=SKIP_LOCKED[connection.vendor])


def _read(condition: str, values: list[Any], limit: int, *, lock: str) -> list[DueJob]:
    statement = _CLAIM.format(columns=_COLUMNS, condition=condition, lock=lock)
    return with_followed([_due_job(row) for row in fetch_often(statement, [*values, limit])])


_OTHERS: Final = "SELECT {freeze} OR EXISTS (SELECT 1 FROM job_upstreams u WHERE u.job_id {among})"


def depend_on_others(job_ids: Collection[int]) -> bool:
    """Whether there may be freezes now, or upstream jobs of these. One small statement."""
    condition, listed = among(job_ids)
    statement = _OTHERS.format(freeze=_ASKED["any_freeze"], among=condition)
    return bool(fetch_often(statement, listed)[0][0])


def with_followed(jobs: list[DueJob]) -> list[DueJob]:
    """The same, those that have upstream jobs with them."""
    ids = [job.id for job in jobs if job.has_upstreams]
    if not ids:
        return jobs
    followed = followed_by(ids)
    return [replace(job, followed=followed.get(job.id, ())) for job in jobs]


def _due_job(row: Sequence[Any]) -> DueJob:
    """Raises ValueError or TypeError for what SQLite stores and no instant is."""
    values = dict(zip(DUE_FIELDS, row, strict=True))
    for name in ("is_enabled", "is_shadow", *_ASKED):
        values[name] = bool(values[name])
    for name in _INSTANTS:
        values[name] = instant(values[name])
    return DueJob(**values)


def full_jobs(ids: Collection[int]) -> dict[int, CronJob]:
    """Whole jobs by id, to validate rows that came in by SQL."""
    lists = (kept.prefetch for kept in LISTS.values())
    return CronJob.objects.prefetch_related(*lists).in_bulk(ids)


_SLOTS: Final = """
INSERT INTO job_executions
       (job_id, job_name, handler_name, scheduled_time, status, params, param_source, max_retry,
        timeout_seconds, queue, priority, available_at, finished_at, error_message,
        reason_code, reason_facts, created_at)
SELECT j.id, j.name, j.handler_name, %s, %s, j.handler_params, %s, j.max_retry,
       j.timeout_seconds, j.queue, j.priority, %s, %s, %s, %s, %s, %s
  FROM cron_jobs j
 WHERE j.id {among}
"""
_NOT_THERE: Final = """
   AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.job_id = j.id AND e.scheduled_time = %s)
"""
_RECORD: Final = {
    # It looks into the index of slots anyway. Of two looks the planner may do the first one by
    # another index, which holds all jobs of the same slot.
    "postgresql": f"{_SLOTS} ON CONFLICT (job_id, scheduled_time) DO NOTHING",
    "mysql": _SLOTS + _NOT_THERE,
    "sqlite": _SLOTS + _NOT_THERE,
}


# Why it is skipped or waits: text, code, and facts as JSON.
_Reason = tuple[str, ReasonCode, str | None]


def record_slots(records: Sequence[SlotRecord], now: datetime) -> int:
    """Insert the slots that are not there yet. Returns how many were inserted.

    The jobs must be locked by this transaction. All jobs with the same slot and the same reason
    share one INSERT ... SELECT: a burst costs a few statements, and the database copies the
    parameters itself.
    """
    groups: dict[tuple[datetime, datetime, bool, _Reason | None, tuple[Wait, ...]], list[int]] = {}
    for record in records:
        is_skipped = record.skipped is not None
        reason = _reason_of(record)
        key = (record.slot, record.available_at, is_skipped, reason, record.waits)
        groups.setdefault(key, []).append(record.job_id)
    written = 0
    for (slot, available_at, is_skipped, reason, waits), ids in groups.items():
        status = RunStatus.SKIPPED if is_skipped else RunStatus.PENDING
        finished_at = now if is_skipped else None
        text, code, facts = reason or (None, None, None)
        if waits:
            code = ReasonCode.UPSTREAM_AWAITED
        condition, listed = among(ids)
        written += execute_often(
            _RECORD[connection.vendor].format(among=condition),
            [
                slot,
                status,
                ParamSource.CRON,
                NEVER if waits else available_at,
                finished_at,
                text,
                code,
                facts,
                now,
                *listed,
                *([] if connection.vendor == "postgresql" else [slot]),
            ],
        )
        for wait in waits:
            store_waits.record(ids, slot, wait, not_before=available_at)
    asking = [record for record in records if record.needs_approval and not record.waits]
    if asking:
        jobs, times = ({r.job_id for r in asking}, {r.slot for r in asking})
        approvals.ask(approvals.of_slots(jobs, times, now), now)
    return written


def _reason_of(record: SlotRecord) -> _Reason | None:
    skipped, held = record.skipped, record.held
    if skipped is not None:
        return skipped.reason, skipped.reason_code, to_json(skipped.reason_facts)
    return None if held is None else (held.reason, held.code, to_json(held.facts))


_ADVANCE: Final = """
UPDATE cron_jobs
   SET next_run_at = %s, schedule_fingerprint = %s, last_slot_at = %s, last_nominal_at = %s,
       missed_from = NULL, tick_seq = tick_seq + 1, schedule_error = ''
 WHERE id {among}
"""


def advance_jobs(watermarks: Mapping[int, Watermark]) -> None:
    """Move the watermarks of locked jobs, one UPDATE per distinct new value.

    Clears `missed_from`: a job that was enabled by SQL still has the value of when it was off, but
    slots that have rows are not missed.
    """
    groups: dict[Watermark, list[int]] = {}
    for job_id, watermark in watermarks.items():
        groups.setdefault(watermark, []).append(job_id)
    for watermark, ids in groups.items():
        condition, listed = among(ids)
        execute_often(
            _ADVANCE.format(among=condition),
            [
                watermark.next_run_at,
                watermark.schedule_fingerprint,
                watermark.last_slot_at,
                watermark.last_nominal_at,
                *listed,
            ],
        )


def next_due_at() -> datetime | None:
    """The earliest watermark of all enabled jobs. One index probe."""
    enabled = _enabled().filter(next_run_at__isnull=False)
    try:
        return enabled.order_by("next_run_at").values_list("next_run_at", flat=True).first()
    except ValueError:
        return None  # SQLite stores even a 13th month; until it is repaired, beat polls


def has_due(now: datetime) -> bool:
    """Is there an enabled job that is due? One index probe."""
    # Ordered as the index: for a bare LIMIT 1 a planner may read the table instead.
    due = _enabled().filter(next_run_at__lte=now).order_by("next_run_at", "id")
    return due.values_list("id", flat=True).first() is not None


def has_new() -> bool:
    """Is there an enabled job without a watermark? One index probe."""
    new = _enabled().filter(next_run_at__isnull=True).order_by("id")
    return new.values_list("id", flat=True).first() is not None


def _enabled() -> QuerySet[CronJob]:
    # Django writes a plain filter on a boolean as the bare column: see _CLAIM.
    return CronJob.objects.filter(is_enabled__in=[True])
