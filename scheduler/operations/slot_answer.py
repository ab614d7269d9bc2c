"""Any instant of a job has its answer: it ran, it did not and why, it will, or it is no slot.

`answer` reads the facts (slot_facts.py) and decides. The decision is pure. It consists of codes
and facts; slot_words.py words it for the reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations.asked_time import AskedTime
from scheduler.operations.slot_facts import SlotFacts, facts_about
from scheduler.operations.upstream_words import facts_of
from scheduler.schedule import JobSchedule
from scheduler.schedule.clock_changes import whole_second
from scheduler.schedule.closed_days import blocked
from scheduler.schedule.freezes import Block
from scheduler.schedule.plan import jitter_seconds, within
from scheduler.states import (
    JudgedBy,
    ReasonCode,
    RunStatus,
    SkipCause,
    SlotCode,
    SlotObstacle,
)
from scheduler.store.slot_rows import SlotRow

_SECOND: Final = timedelta(seconds=1)
_CODES: Final = {
    ReasonCode.OVERLAP_RUNNING.value: SlotCode.OVERLAP,
    ReasonCode.OVERLAP_WAITING.value: SlotCode.OVERLAP,
    ReasonCode.OVERLAP_NEWER.value: SlotCode.OVERLAP,
    ReasonCode.SHADOW.value: SlotCode.SHADOW,
    ReasonCode.FROZEN.value: SlotCode.FROZEN,
}
#: Reasons of a run that ended before any attempt because a person wanted it.
_CHOSEN: Final = frozenset({ReasonCode.CANCELLED_BY_PERSON, ReasonCode.BACKFILL_CANCELLED})
#: A person wanted it so, or it could not be otherwise.
_CALM: Final = frozenset(
    {
        SlotCode.RAN,
        SlotCode.WAITS,
        SlotCode.SHADOW,
        SlotCode.FROZEN,
        SlotCode.PAUSED,
        SlotCode.CALENDAR,
        SlotCode.IN_GAP,
        SlotCode.NOT_A_SLOT,
        SlotCode.OUTSIDE,
        SlotCode.BEFORE_JOB,
        SlotCode.PRUNED,
        SlotCode.NOT_YET,
    }
)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What the clock of `zone` did: it went from `before` to `after`, times of that clock."""

    zone: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class SlotAnswer:
    """What became of `at`. Which of the other fields are set depends on the code (states.py)."""

    code: SlotCode
    at: datetime
    execution_id: int | None = None
    status: str = ""
    reason_code: str = ""
    reason_facts: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    """As it is stored: of a pause, or of a row without a code."""
    by: str = ""
    first: datetime | None = None
    last: datetime | None = None
    count: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: datetime | None = None
    after: datetime | None = None
    calendar: str = ""
    moved_to: datetime | None = None
    starts_at: datetime | None = None
    obstacles: tuple[SlotObstacle, ...] = ()
    freeze: str = ""
    """Which freeze will block the slot; `reason` is its reason."""
    gap: Gap | None = None
    instead: SlotAnswer | None = None
    """The answer about the slot that came instead: moved by a calendar, or at the end of a gap."""
    other_pass: datetime | None = None
    """The clock shows this time twice. The answer is about `at`, not about this instant."""
    stand_ins: tuple[int, ...] = ()
    """Backfilled and replayed runs that stand for the slot."""
    judged_by: JudgedBy = JudgedBy.HISTORY
    is_slot_today: bool | None = None
    """Only of what was no slot: whether it is one by today's schedule."""

    @property
    def is_calm(self) -> bool:
        """False: somebody may have to look after it. A skip that a person chose is calm."""
        if self.code in {SlotCode.SKIPPED, SlotCode.MISSED_IN_SPAN}:
            return self.reason_code in {ReasonCode.MISSED, ReasonCode.REJECTED}
        if self.code == SlotCode.NOT_BEGUN:
            return self.reason_code in _CHOSEN
        if self.code == SlotCode.RAN:
            return self.status not in {RunStatus.FAILED, RunStatus.TIMEOUT}
        return self.code in _CALM


def answer_asked(
    job: CronJob, asked: AskedTime, *, now: datetime, settings: SchedulerSettings
) -> SlotAnswer:
    """Returns the answer about a time of a clock, which may show it never or twice."""
    found = [answer(job, at, now=now, settings=settings) for at in asked.instants]
    if asked.gap is not None:
        walls = (asked.gap.wall_before, asked.gap.wall_after)
        before, after = (wall.isoformat(" ", "minutes") for wall in walls)
        gap = Gap(zone=asked.zone.key, before=before, after=after)
        is_slot = found[0].code != SlotCode.NOT_A_SLOT
        return SlotAnswer(
            code=SlotCode.IN_GAP,
            at=found[0].at,
            gap=gap,
            instead=found[0] if is_slot else None,
            before=found[0].before,
            after=found[0].after,
        )
    slots = [each for each in found if each.code != SlotCode.NOT_A_SLOT]
    best = (slots or found)[0]
    others = [at for at in asked.instants if whole_second(at) != best.at]
    return replace(best, other_pass=others[0]) if others else best


def answer(job: CronJob, at: datetime, *, now: datetime, settings: SchedulerSettings) -> SlotAnswer:
    """Returns what became of one instant of a job, or will."""
    kept_since = now - timedelta(days=settings.retention_days)
    facts = facts_about(
        job, whole_second(at), now=now, kept_since=kept_since, settings=settings
    )  # fmt: skip
    found = replace(decide(facts), stand_ins=facts.stand_ins, judged_by=facts.judged_by)
    if found.moved_to is not None:
        instead = answer(job, found.moved_to, now=now, settings=settings)
        return replace(found, instead=instead)
    return found


def decide(facts: SlotFacts) -> SlotAnswer:
    """Returns the answer that the facts make. Pure."""
    at, row, schedule = facts.at, facts.row, facts.schedule
    if row is not None and row.slot == at:
        return _of_row(facts, row)
    if at < facts.job.created_at:
        return SlotAnswer(
            code=SlotCode.BEFORE_JOB, at=at, since=facts.job.created_at, by=facts.created_by
        )
    if schedule is None:
        return SlotAnswer(code=SlotCode.NO_SCHEDULE, at=at, reason=facts.problem)
    if schedule.last_until(at) != at:
        return _no_slot(facts, schedule)
    if row is not None:
        return _of_row(facts, row)
    start, end = facts.definition.start_at, facts.definition.end_at
    if (start is not None and at < start) or (end is not None and at > end):
        return SlotAnswer(code=SlotCode.OUTSIDE, at=at, since=start, until=end)
    if at > facts.now:
        starts_at = at + timedelta(
            seconds=jitter_seconds(facts.job.pk, at, facts.job.jitter_seconds)
        )
        found = SlotAnswer(
            code=SlotCode.NOT_YET, at=at, starts_at=starts_at, obstacles=facts.obstacles
        )
        return found if facts.block is None else _frozen(found, facts.block)
    return _without_row(facts)


def _frozen(found: SlotAnswer, block: Block) -> SlotAnswer:
    freeze = block.freeze
    found = replace(found, freeze=freeze.name, reason=freeze.reason)
    if block.held_until is not None:
        return replace(found, starts_at=block.held_until)
    return replace(found, obstacles=(*found.obstacles, SlotObstacle.FROZEN))


def _of_row(facts: SlotFacts, row: SlotRow) -> SlotAnswer:
    known = SlotAnswer(
        code=SlotCode.RAN,
        at=facts.at,
        execution_id=row.execution_id,
        status=row.status,
        reason_code=row.reason_code or "",
        reason_facts=row.reason_facts,
        by=facts.cancelled_by,
    )
    if row.status == RunStatus.PENDING:
        found = facts_of(facts.awaited) if facts.awaited is not None else row.reason_facts
        is_held = row.reason_code == ReasonCode.FROZEN_HELD
        starts_at = row.available_at if is_held else None
        return replace(known, code=SlotCode.WAITS, reason_facts=found, starts_at=starts_at)
    if row.status == RunStatus.SKIPPED:
        return _skipped(facts, row, known)
    if not row.attempt:
        return replace(known, code=SlotCode.NOT_BEGUN, reason=row.error_message)
    return known


def _skipped(facts: SlotFacts, row: SlotRow, known: SlotAnswer) -> SlotAnswer:
    known = replace(
        known,
        code=_CODES.get(row.reason_code or "", SlotCode.SKIPPED),
        reason="" if row.reason_code else row.error_message,
    )
    if row.first is not None:
        count = row.reason_facts.get("count")
        known = replace(
            known,
            code=SlotCode.MISSED_IN_SPAN,
            first=row.first,
            last=row.slot,
            count=count if isinstance(count, int) else None,
        )
    if row.reason_code != ReasonCode.MISSED:
        return known
    cause = cause_of(row.reason_facts)
    if cause == SkipCause.EDIT:
        by = row.reason_facts.get("by")
        return replace(known, by=by if isinstance(by, str) else "")
    off = facts.off
    if off is None:
        is_off = cause in {SkipCause.PAUSE, SkipCause.ENABLING}
        return replace(known, code=SlotCode.PAUSED) if is_off else known
    return replace(
        known,
        code=SlotCode.PAUSED, since=off.since, until=off.until, by=off.by, reason=off.reason,
    )  # fmt: skip


def _no_slot(facts: SlotFacts, schedule: JobSchedule) -> SlotAnswer:
    at = facts.at
    start, end = facts.definition.start_at, facts.definition.end_at
    found = blocked(schedule, at)
    if found is not None:
        return SlotAnswer(
            code=SlotCode.CALENDAR, at=at, calendar=found.calendar, moved_to=found.moved_to
        )
    before = schedule.last_until(at)
    if before is not None and start is not None and before < start:
        before = None
    after = schedule.next_after(max(at, start - _SECOND) if start is not None else at)
    return SlotAnswer(
        code=SlotCode.NOT_A_SLOT,
        at=at,
        before=before,
        after=within(after, end),
        is_slot_today=facts.is_slot_today,
    )


def _without_row(facts: SlotFacts) -> SlotAnswer:
    at, job = facts.at, facts.job
    if facts.off is not None:
        off = facts.off
        return SlotAnswer(
            code=SlotCode.PAUSED,
            at=at, since=off.since, until=off.until, by=off.by, reason=off.reason,
        )  # fmt: skip
    if job.is_enabled and job.next_run_at is not None and at >= job.next_run_at:
        return SlotAnswer(code=SlotCode.OVERDUE, at=at)
    if at < facts.kept_since:
        return SlotAnswer(code=SlotCode.PRUNED, at=at, since=facts.kept_since)
    return SlotAnswer(code=SlotCode.NO_RECORD, at=at)


def cause_of(facts: Mapping[str, Any]) -> SkipCause | None:
    """Returns what left out missed slots. Rows of older releases have only the text."""
    cause, text = facts.get("cause"), facts.get("decided_by")
    if cause in list(SkipCause):
        return SkipCause(str(cause))
    if not isinstance(text, str):
        return None
    if text == "the pause":
        return SkipCause.PAUSE
    return SkipCause.ENABLING if text.endswith(" on enabling") else SkipCause.EDIT
