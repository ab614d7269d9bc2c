"""What is known of one instant of a job: its rows, the schedule of that time, who had it off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from handlers import HandlerNotFoundError, get_handler
from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations import who
from scheduler.operations.errors import NotPossible
from scheduler.operations.frozen import blocks_of
from scheduler.operations.missed import missed_since
from scheduler.operations.queues import QueueControl
from scheduler.operations.versions import VersionOperations
from scheduler.operations.who import Off
from scheduler.schedule import JobSchedule, ScheduleError, schedule_of
from scheduler.schedule.after import is_after
from scheduler.schedule.freezes import Block
from scheduler.states import JudgedBy, ReasonCode, SlotObstacle
from scheduler.store import slot_rows, waits
from scheduler.store.slot_rows import SlotRow
from scheduler.store.waits import Awaited


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The columns of a job that say when it runs, as they were or are."""

    name: str
    cron_expression: str
    timezone: str
    calendar: str
    start_at: datetime | None
    end_at: datetime | None
    created_at: datetime
    followed: tuple[CronJob, ...] = ()
    """Today's upstream jobs, if it takes their slots."""


@dataclass(frozen=True, kw_only=True)
class SlotFacts:
    """All that the answer about `at` depends on."""

    at: datetime
    now: datetime
    job: CronJob
    row: SlotRow | None
    stand_ins: tuple[int, ...]
    definition: Definition
    judged_by: JudgedBy
    schedule: JobSchedule | None
    problem: str
    """Why the schedule cannot be used, if `schedule` is None."""
    is_slot_today: bool
    off: Off | None
    created_by: str
    cancelled_by: str
    kept_since: datetime
    obstacles: tuple[SlotObstacle, ...]
    awaited: Awaited | None = None
    """The upstream jobs for which the run of the slot waits."""
    block: Block | None = None
    """How a freeze will block it, as the freezes are now."""


def facts_about(
    job: CronJob, at: datetime, *, now: datetime, kept_since: datetime, settings: SchedulerSettings
) -> SlotFacts:
    """Reads the facts about `at`, a whole second."""
    definition, judged_by = definition_at(job, at, now)
    schedule, problem = _schedule(definition, settings)
    today = schedule
    if definition != definition_of_today(job):
        today, _problem = _schedule(definition_of_today(job), settings)
    row = slot_rows.row_of(job.pk, at)
    is_past = at <= now
    return SlotFacts(
        at=at,
        now=now,
        job=job,
        row=row,
        stand_ins=tuple(slot_rows.stand_ins(job.pk, at)),
        definition=definition,
        judged_by=judged_by,
        schedule=schedule,
        problem=problem,
        is_slot_today=today is not None and today.last_until(at) == at,
        off=_off(job, at) if is_past else None,
        created_by=who.who_created(job.pk) if at < job.created_at else "",
        cancelled_by=who.who_cancelled_at(row.execution_id, row.cancel_requested_at)
        if row is not None
        else "",
        kept_since=kept_since,
        obstacles=() if is_past else _obstacles(job, at),
        awaited=waits.awaited(row.execution_id)
        if row is not None and row.reason_code == ReasonCode.UPSTREAM_AWAITED
        else None,
        block=None
        if is_past or schedule is None
        else blocks_of(job, schedule, [at], now, settings).get(at),
    )


def definition_of_today(job: CronJob) -> Definition:
    names = (name for name in Definition.__dataclass_fields__ if name != "followed")
    followed = job.followed if is_after(job.cron_expression) else ()
    return Definition(**{name: getattr(job, name) for name in names}, followed=followed)


def definition_at(job: CronJob, at: datetime, now: datetime) -> tuple[Definition, JudgedBy]:
    """Returns the definition of that time, or today's where the history does not know it."""
    today = definition_of_today(job)
    # Nobody has touched the job since, or it is about the future.
    if at > now or job.updated_at <= at:
        return today, JudgedBy.HISTORY
    try:
        version = VersionOperations().version(job.pk, at=at)
        return _read(version.definition, today), JudgedBy.HISTORY
    except (NotPossible, ValueError, TypeError):
        return today, JudgedBy.TODAY


def _read(stored: Mapping[str, Any], today: Definition) -> Definition:
    """Raises ValueError or TypeError for what SQL has written into the history."""
    values: dict[str, Any] = {}
    for name in ("name", "cron_expression", "timezone", "calendar"):
        values[name] = stored.get(name, getattr(today, name))
        if not isinstance(values[name], str):
            raise TypeError(name)
    for name in ("start_at", "end_at"):
        text = stored.get(name)
        values[name] = None if text is None else datetime.fromisoformat(text)
    return replace(today, **values)


def _schedule(
    definition: Definition, settings: SchedulerSettings
) -> tuple[JobSchedule | None, str]:
    try:
        return schedule_of(definition, settings), ""
    except ScheduleError as error:
        return None, str(error)
    except (ValueError, OSError) as error:  # typed by SQL
        return None, str(error)


def _off(job: CronJob, at: datetime) -> Off | None:
    """Returns how the job was off at `at`: by what it is now, or else by its history."""
    since = missed_since(job)
    if job.is_enabled or since is None or since > at:
        return who.off_at(job.pk, at)
    if job.paused_until is not None and job.paused_until <= at:
        return None
    return who.off_at(job.pk, at) or Off(
        since=since,
        by=who.who_switched_off(job),
        reason=job.pause_reason or job.schedule_error,
        until=job.paused_until,
    )


def _obstacles(job: CronJob, at: datetime) -> tuple[SlotObstacle, ...]:
    found: list[SlotObstacle] = []
    if not job.is_enabled and (job.paused_until is None or job.paused_until > at):
        is_pause = bool(job.pause_reason or job.paused_until)
        found.append(SlotObstacle.PAUSED if is_pause else SlotObstacle.DISABLED)
    if job.is_shadow:
        found.append(SlotObstacle.SHADOW)
    try:
        get_handler(job.handler_name)
    except HandlerNotFoundError:
        found.append(SlotObstacle.NO_HANDLER)
    pause = QueueControl().pause_of(job.queue)
    if pause is not None and (pause.until is None or pause.until > at):
        found.append(SlotObstacle.QUEUE_PAUSED)
    return tuple(found)
