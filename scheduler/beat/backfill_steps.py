"""Beat's part in a backfill: it makes runs while there is room, until each slot has one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from handlers import CannotRunError, validate_params
from scheduler import failpoints
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.models import Backfill, CronJob
from scheduler.operations.frozen import freezes_of
from scheduler.operations.upstream_slots import slot_at
from scheduler.schedule import Schedule, ScheduleError, schedule_of
from scheduler.schedule.backfill_plan import BACKFILL_LIMIT, next_slots, params_for
from scheduler.schedule.freezes import holding
from scheduler.states import BackfillOrder, BackfillState
from scheduler.store import backfills
from scheduler.store.waits import Wait
from scheduler.transient import in_transaction, is_outage, is_transient

# How many backfills one tick looks at. The next tick goes on with the others.
BACKFILLS_PER_TICK = 20
_MINUTE = timedelta(minutes=1)
# So many slots at once are looked at for those that are missing.
_LOOK = 500


class _Unusable(Exception):
    """No further slot of this backfill can be run. The message says why."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a tick did for backfills. `after`: the id after which the next tick goes on."""

    are_active: bool = False
    made: int = 0
    after: int = 0


@dataclass(frozen=True, kw_only=True)
class _Advance:
    """What was done for one backfill. `total`: all its runs, if the last ones were made now."""

    job_name: str
    made: int = 0
    total: int | None = None


def advance(clock: Clock, settings: SchedulerSettings, *, after: int = 0) -> Step:
    """Make runs for active backfills with room, in the order of their ids, only ids after `after`.

    One index probe when there is no active backfill. Each backfill is a transaction of its own, and
    several beats may do this at once.
    """
    if not backfills.any_active():
        return Step()
    found = backfills.with_room(after, BACKFILLS_PER_TICK)
    made = sum(_advance_one(id_, job_id, clock, settings) for id_, job_id in found)
    is_full = len(found) == BACKFILLS_PER_TICK
    return Step(are_active=True, made=made, after=found[-1][0] if is_full else 0)


def _advance_one(backfill_id: int, job_id: int, clock: Clock, settings: SchedulerSettings) -> int:
    """Make runs for one backfill. Returns how many."""

    def work() -> _Advance | None:
        claimed = backfills.claim(backfill_id, job_id)
        if claimed is None:
            return None
        failpoints.point("backfill.locked")
        return _make(*claimed, clock.now(), settings)

    try:
        done = in_transaction(work)
    # Whatever error one row causes: the other backfills go on, and this one is ended with the
    # reason instead of failing in every tick.
    except Exception as error:
        if is_outage(error) or is_transient(error):
            raise
        reason = str(error) if isinstance(error, _Unusable) else _first_line(error)
        if backfills.end(backfill_id, BackfillState.CANCELLED, now=clock.now(), error=reason):
            emit("backfill.failed", backfill_id=backfill_id, reason=reason)
        return 0
    if done is None:
        return 0
    failpoints.point("backfill.committed")
    if done.made:
        emit("backfill.made", backfill_id=backfill_id, job=done.job_name, runs=done.made)
    if done.total is not None:
        emit("backfill.done", backfill_id=backfill_id, job=done.job_name, runs=done.total)
    return done.made


def _make(backfill: Backfill, job: CronJob, now: datetime, settings: SchedulerSettings) -> _Advance:
    if not backfill.despite_freeze and holding(freezes_of(job.pk, now, settings), now):
        return _Advance(job_name=job.name)  # it goes on when the freeze ends
    room = backfill.parallelism - backfills.unfinished(backfill.pk)
    if backfill.per_minute is not None:
        room = min(room, backfill.per_minute - backfills.made_since(backfill.pk, now - _MINUTE))
    if room <= 0:
        return _Advance(job_name=job.name)
    schedule = _schedule(job, settings)
    zone = ZoneInfo(job.timezone or settings.default_timezone)
    slots, cursor, is_last = _next(backfill, schedule, room)
    if backfill.made + len(slots) > BACKFILL_LIMIT:
        raise _Unusable(f"the schedule has changed: more than {BACKFILL_LIMIT} slots in the range")
    waits = _waits(backfill, job, settings)
    runs = [
        backfills.Run(slot=slot, params=params_for(backfill.params, slot, zone), waits=waits(slot))
        for slot in slots
    ]
    if runs:
        _check_handler(job.handler_name, runs[0])
        backfills.make_runs(backfill, job, runs, now=now)
        failpoints.point("backfill.inserted")
    if cursor is not None:
        backfills.move_cursor(backfill.pk, cursor)
    total = None
    if is_last:
        # If the schedule has changed since the start, this is how many slots there were.
        total = backfill.made + len(runs)
        backfills.end(backfill.pk, BackfillState.DONE, now=now, total=total)
    return _Advance(job_name=job.name, made=len(runs), total=total)


def _next(
    backfill: Backfill, schedule: Schedule, room: int
) -> tuple[list[datetime], datetime | None, bool]:
    """The next slots to run, how far all is settled then, and whether no slot follows."""
    wanted: list[datetime] = []
    cursor = backfill.cursor
    while True:
        found = next_slots(
            schedule,
            since=backfill.since,
            until=backfill.until,
            order=BackfillOrder(backfill.order),
            cursor=cursor,
            count=_LOOK if backfill.only_missing else room + 1,
        )
        settled = backfills.settled_slots(backfill.job_id, found) if backfill.only_missing else ()
        for slot in found:
            if slot not in settled:
                if len(wanted) == room:
                    return wanted, cursor, False
                wanted.append(slot)
            cursor = slot
        if not found:
            return wanted, cursor, True


def _waits(
    backfill: Backfill, job: CronJob, settings: SchedulerSettings
) -> Callable[[datetime], tuple[Wait, ...]]:
    """In a chain the run of a slot waits for the runs that the others make of upstream jobs."""
    group = backfills.group_of(backfill.group_id) if backfill.group_id is not None else {}
    awaited = [job for job in job.followed if job.pk in group] if len(group) > 1 else []

    def waits(slot: datetime) -> tuple[Wait, ...]:
        found = [(each.pk, slot_at(each, slot, settings)) for each in awaited]
        return tuple(
            Wait(upstream_id=id_, slot=at, until=None, backfill_id=group[id_])
            for id_, at in found
            if backfill.since <= at <= backfill.until
        )

    return waits


def _first_line(error: Exception) -> str:
    # Only the first line: in the others PostgreSQL quotes the row, and with it the params.
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _schedule(job: CronJob, settings: SchedulerSettings) -> Schedule:
    try:
        return schedule_of(job, settings)
    except ScheduleError as error:
        raise _Unusable(f"the job's schedule cannot be used any more: {error}") from error


def _check_handler(handler_name: str, run: backfills.Run) -> None:
    try:
        validate_params(handler_name, run.params)
    except CannotRunError as error:
        raise _Unusable(f"its slots cannot be run any more: {error}") from error
