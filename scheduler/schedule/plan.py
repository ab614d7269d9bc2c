"""What happens to the slots of a due job.

A slot that is at most `misfire_grace_seconds` late is on time and runs. An older slot is missed.
The misfire policy selects the missed slots that still run. The others are recorded as skipped, with
the reason. Then the freezes of the job block what they hold back: see freezes.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scheduler.schedule.freezes import Block, Freezes, blocked
from scheduler.schedule.slots import Schedule, slots_between
from scheduler.states import MisfirePolicy, ReasonCode, SkipCause

# One transaction records at most so many slots of one job. The rest is due again at once.
SLOTS_PER_PLAN = 200
# Skipped slots are counted up to this number, so that a year of missed seconds costs little.
COUNTED_SKIPS = 1000

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Who selected the missed slots that run, if not the job's misfire policy."""

    cause: SkipCause
    by: str = ""

    def __str__(self) -> str:
        match self.cause:
            case SkipCause.PAUSE:
                return "the pause"
            case SkipCause.ENABLING:
                return f"{self.by or 'a person'} on enabling"
            case SkipCause.EDIT:
                return f"an edit by {self.by}" if self.by else "an edit"

    def facts(self) -> dict[str, Any]:
        by = {"by": self.by} if self.by else {}
        return {"decided_by": str(self), "cause": self.cause.value, **by}


@dataclass(frozen=True, kw_only=True)
class DueSchedule:
    """The part of a job that decides its slots. Instants are aware UTC."""

    schedule: Schedule
    next_run_at: datetime
    misfire_policy: MisfirePolicy = MisfirePolicy.LATEST
    misfire_grace_seconds: int = 60
    max_catchup: int = 100
    end_at: datetime | None = None
    decided_by: Decision | None = None
    freezes: Freezes = ()


@dataclass(frozen=True, kw_only=True)
class SkippedSlots:
    """Slots that will not run, from `first` to `last`, both included. `count` is exact or None."""

    first: datetime
    last: datetime
    count: int | None
    reason: str
    reason_code: ReasonCode
    reason_facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Slots to record, oldest first; slots to skip; the new watermark (None: no slot follows).

    `blocked`: those of `slots` that a freeze blocks, and how.
    """

    slots: tuple[datetime, ...] = ()
    blocked: tuple[tuple[datetime, Block], ...] = ()
    skipped: SkippedSlots | None = None
    next_run_at: datetime | None


def plan(job: DueSchedule, now: datetime) -> Plan:
    """Returns the plan of a job whose `next_run_at` is not after `now`."""
    until = min(now, job.end_at) if job.end_at else now
    on_time_from = max(job.next_run_at, now - timedelta(seconds=job.misfire_grace_seconds))
    missed_until = on_time_from - _INSTANT

    newest_missed = _last_slot(job.schedule, job.next_run_at, min(missed_until, until))
    # slots_between excludes its start, but a slot at `on_time_from` is on time.
    on_time = slots_between(job.schedule, on_time_from - _INSTANT, until, SLOTS_PER_PLAN)
    if newest_missed is None:
        return _recorded(job, on_time, None, now, on_time_from)
    # A slot on time is newer than all missed ones: beside it, `latest` runs none of them.
    wanted = {
        MisfirePolicy.SKIP: 0,
        MisfirePolicy.LATEST: 0 if on_time else 1,
        MisfirePolicy.ALL: job.max_catchup,
    }[job.misfire_policy]
    caught_up = _newest_slots(job.schedule, job.next_run_at, newest_missed, wanted)
    skipped_until = caught_up[0] - _INSTANT if caught_up else newest_missed
    skipped = _skipped(job, skipped_until)
    return _recorded(job, [*caught_up, *on_time], skipped, now, on_time_from)


def _recorded(
    job: DueSchedule,
    slots: list[datetime],
    skipped: SkippedSlots | None,
    now: datetime,
    on_time_from: datetime,
) -> Plan:
    slots = slots[:SLOTS_PER_PLAN]
    blocks = _blocks(job, slots, now, on_time_from) if job.freezes else ()
    if len(slots) == SLOTS_PER_PLAN:
        # More slots may be due: the watermark stops after the last recorded one; the job stays due.
        now = slots[-1]
    return Plan(
        slots=tuple(slots),
        blocked=blocks,
        skipped=skipped,
        next_run_at=first_slot(job.schedule, now, end_at=job.end_at),
    )


def _blocks(
    job: DueSchedule, slots: list[datetime], now: datetime, on_time_from: datetime
) -> tuple[tuple[datetime, Block], ...]:
    found = (
        (
            slot,
            blocked(
                slot,
                job.freezes,
                job.schedule,
                end_at=job.end_at,
                caught_up_at=now if slot < on_time_from else None,
            ),
        )
        for slot in slots
    )
    return tuple((slot, block) for slot, block in found if block is not None)


def _skipped(job: DueSchedule, until: datetime) -> SkippedSlots | None:
    last = _last_slot(job.schedule, job.next_run_at, until)
    first = job.schedule.next_after(job.next_run_at - _INSTANT)
    if last is None or first is None:
        return None
    counted = slots_between(job.schedule, job.next_run_at - _INSTANT, last, COUNTED_SKIPS + 1)
    count = len(counted) if len(counted) <= COUNTED_SKIPS else None
    if count is None:
        how_many = f"more than {COUNTED_SKIPS} slots"
    else:
        how_many = "1 slot" if count == 1 else f"{count} slots"
    span = _iso(first) if first == last else f"{_iso(first)} to {_iso(last)}"
    decided_by = str(job.decided_by or f"misfire policy {job.misfire_policy}")
    reason = f"{how_many} missed ({span}), not run by {decided_by}"
    if job.misfire_policy == MisfirePolicy.ALL:
        reason += f" beyond max_catchup {job.max_catchup}"
    facts: dict[str, Any] = {"first": _iso(first), "last": _iso(last), "count": count}
    if job.decided_by:
        facts |= job.decided_by.facts()
    else:
        facts["policy"] = job.misfire_policy.value
    if job.misfire_policy == MisfirePolicy.ALL:
        facts["max_catchup"] = job.max_catchup
    return SkippedSlots(
        first=first,
        last=last,
        count=count,
        reason=reason,
        reason_code=ReasonCode.MISSED if job.decided_by else ReasonCode.MISFIRE,
        reason_facts=facts,
    )


def _iso(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _last_slot(schedule: Schedule, since: datetime, until: datetime) -> datetime | None:
    """Returns the newest slot in [since, until]. Walks back: a long outage costs nothing."""
    if until < since:
        return None
    found = schedule.last_until(until)
    return found if found is not None and found >= since else None


def _newest_slots(
    schedule: Schedule, since: datetime, newest: datetime, limit: int
) -> list[datetime]:
    """Returns the newest `limit` slots in [since, newest], oldest first."""
    found: list[datetime] = []
    slot: datetime | None = newest
    while slot is not None and len(found) < limit:
        found.append(slot)
        slot = _last_slot(schedule, since, slot - _INSTANT)
    return found[::-1]


def first_slot(
    schedule: Schedule,
    now: datetime,
    *,
    start_at: datetime | None = None,
    end_at: datetime | None = None,
) -> datetime | None:
    """Returns the first slot after `now` in [start_at, end_at]; None if there is none."""
    after = max(now, start_at - _INSTANT) if start_at else now
    return within(schedule.next_after(after), end_at)


def within(slot: datetime | None, end_at: datetime | None) -> datetime | None:
    """Returns `slot`; None if it is after the end of the job."""
    return None if slot is None or (end_at is not None and slot > end_at) else slot


def jitter_seconds(job_id: int, slot: datetime, spread_seconds: int) -> int:
    """Returns the delay of a slot's claim: 0 to `spread_seconds`, always the same for one slot."""
    if spread_seconds <= 0:
        return 0
    return zlib.crc32(f"{job_id}:{slot.timestamp():.0f}".encode()) % (spread_seconds + 1)


def backoff_seconds(
    failures: int, base_seconds: float, maximum_seconds: float, random: Callable[[], float]
) -> float:
    """Returns the wait before the next attempt after `failures` charged ones.

    It doubles from `base_seconds` to `maximum_seconds`, and varies by 20 % either way: runs that
    failed together must not return together. `random` returns numbers in [0, 1).
    """
    # The exponent is bounded: `failures` comes from a row, which may hold any number.
    delay = min(base_seconds * 2.0 ** min(max(failures - 1, 0), 64), maximum_seconds)
    return float(delay * (0.8 + 0.4 * random()))
