"""The rows that say what became of one slot of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from scheduler.models import JobExecution, with_slot
from scheduler.states import ParamSource, ReasonCode, RunStatus

# Runs by hand may lie between a slot and the row that counts it. Further ones are not read.
_READ: Final = 200
_STAND_INS: Final = 5
_SPANS: Final = frozenset({ReasonCode.MISFIRE.value, ReasonCode.MISSED.value})
_COLUMNS: Final = (
    "id", "scheduled_time", "status", "attempt", "param_source", "reason_code", "reason_facts",
    "error_message", "cancel_requested_at", "available_at",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SlotRow:
    execution_id: int
    slot: datetime
    status: str
    attempt: int
    reason_code: str | None
    reason_facts: Mapping[str, Any] = field(default_factory=dict)
    error_message: str = ""
    cancel_requested_at: datetime | None = None
    available_at: datetime | None = None

    @property
    def first(self) -> datetime | None:
        """The oldest of the slots that the row counts. None: it counts one."""
        if self.status != RunStatus.SKIPPED or self.reason_code not in _SPANS:
            return None
        try:
            found = datetime.fromisoformat(self.reason_facts.get("first", ""))
        except (ValueError, TypeError):  # written by SQL
            return None
        return found if found.tzinfo is not None and found < self.slot else None


def row_of(job_id: int, slot: datetime) -> SlotRow | None:
    """Returns the row of a slot, or the row that counts it among others. One index range."""
    rows = JobExecution.objects.filter(job_id=job_id, scheduled_time__gte=slot)
    for values in rows.order_by("scheduled_time").values(*_COLUMNS)[:_READ]:
        if values["param_source"] != ParamSource.CRON:
            continue
        row = _row(values)
        if row.slot == slot or (row.first is not None and row.first <= slot):
            return row
        return None  # the next slot has a row of its own
    return None


def stand_ins(job_id: int, slot: datetime) -> list[int]:
    """Returns the newest backfilled and replayed runs that stand for a slot."""
    # By the index on the slot: there is none on `logical_time`.
    rows = with_slot(JobExecution.objects.filter(job_id=job_id)).filter(of_slot=slot)
    rows = rows.filter(logical_time=slot)
    return list(rows.order_by("-id").values_list("id", flat=True)[:_STAND_INS])


def _row(values: Mapping[str, Any]) -> SlotRow:
    facts = values["reason_facts"]
    return SlotRow(
        execution_id=values["id"],
        slot=values["scheduled_time"],
        status=values["status"],
        attempt=values["attempt"],
        reason_code=values["reason_code"],
        reason_facts=facts if isinstance(facts, Mapping) else {},
        error_message=values["error_message"] or "",
        cancel_requested_at=values["cancel_requested_at"],
        available_at=values["available_at"],
    )
