"""What is wrong with the scheduler itself, as conditions. Pure: of readings, and of `now`.

Beats watch the workers, the clock, the broker, the history and the disk; workers watch the beats.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scheduler.alert_states import AlertKind
from scheduler.alerts.condition import Condition
from scheduler.operations.liveness import ClockState
from scheduler.store.processes import LiveWorker

#: Beats write a heartbeat so often, or at each tick where the ticks are rarer.
BEAT_INTERVAL_SECONDS: Final = 5.0
#: Work that waits for longer has no worker, or the workers do not claim.
WAITS_SECONDS: Final = 60.0
#: The broker takes no messages for so long.
AWAY_SECONDS: Final = 60.0
#: Executions that ended so long before the retention's limit should be gone.
RETENTION_SLACK: Final = timedelta(days=1)
#: A switch of a job between jobu and its old system takes seconds, or a person's few minutes.
SWITCH_SECONDS: Final = 300.0
_LEAST_PART: Final = 0.05
_LEAST_BYTES: Final = 200 * 1024 * 1024


def no_beat(now: datetime, since: datetime, *, poll_seconds: float) -> Condition | None:
    """Returns the condition that no beat has ticked for two intervals.

    `since`: the newest heartbeat of any beat, or when the caller first saw none.
    """
    seconds = (now - since).total_seconds()
    if seconds <= 2 * max(BEAT_INTERVAL_SECONDS, poll_seconds):
        return None
    return Condition(
        kind=AlertKind.NO_BEAT, subject_key="beat", facts={"seconds": round(seconds, 1)}
    )


def workers(
    now: datetime, waiting_since: Mapping[str, datetime], live: Collection[LiveWorker]
) -> list[Condition]:
    """Returns a condition for each queue whose work waits although nobody is busy with other work.

    `waiting_since`: of the first runnable run of each queue, by its name. A queue whose workers run
    something waits for its turn, and that is no trouble of the scheduler.
    """
    found = []
    for queue, since in sorted(waiting_since.items()):
        seconds = (now - since).total_seconds()
        if seconds <= WAITS_SECONDS:
            continue
        serving = [each for each in live if each.queues is None or queue in each.queues]
        if any(each.running for each in serving):
            continue
        kind = AlertKind.CLAIMING_STANDS if serving else AlertKind.NO_WORKER
        facts = {"seconds": round(seconds, 1), "queue": queue, "workers": len(serving)}
        found.append(Condition(kind=kind, subject_key=f"queue:{queue}", facts=facts, queue=queue))
    return found


def retention(now: datetime, oldest_at: datetime | None, days: int) -> Condition | None:
    """Returns the condition that old executions are not deleted."""
    limit = now - timedelta(days=days) - RETENTION_SLACK
    if oldest_at is None or oldest_at >= limit:
        return None
    facts = {"days": days, "oldest": oldest_at.isoformat()}
    return Condition(kind=AlertKind.RETENTION_BEHIND, subject_key="history", facts=facts)


def switches(now: datetime, unfinished: Iterable[tuple[int, str, datetime]]) -> list[Condition]:
    """Returns a condition for each job that may be off here and in its old system.

    `unfinished`: the id and the name of each job on its way, and since when.
    """
    found = []
    for job_id, name, since in unfinished:
        seconds = (now - since).total_seconds()
        if seconds > SWITCH_SECONDS:
            facts = {"seconds": round(seconds, 1), "job": name}
            condition = Condition(
                kind=AlertKind.SWITCH_STANDS, subject_key=f"job:{job_id}", facts=facts
            )
            found.append(condition)
    return found


# --- of one host: each tells of its own -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HostReadings:
    """What a beat sees from its host. `disk`: total and free bytes below a database in a file."""

    host: str
    clock: ClockState = ClockState.OK
    clock_off_seconds: float = 0.0
    clock_jumped_seconds: float = 0.0
    broker_away_seconds: float | None = None
    disk: tuple[int, int] | None = None


def of_host(readings: HostReadings) -> list[Condition]:
    """Returns what is wrong with the clock, the broker and the disk as this host sees them."""
    found = (_clock(readings), _publishing(readings), _disk(readings))
    return [condition for condition in found if condition is not None]


def _clock(readings: HostReadings) -> Condition | None:
    if readings.clock != ClockState.OK:
        state, seconds = readings.clock.value, readings.clock_off_seconds
    elif readings.clock_jumped_seconds:
        state, seconds = "jumped", readings.clock_jumped_seconds
    else:
        return None
    facts = {"state": state, "seconds": round(seconds, 1)}
    return Condition(kind=AlertKind.CLOCK, subject_key=f"host:{readings.host}", facts=facts)


def _publishing(readings: HostReadings) -> Condition | None:
    seconds = readings.broker_away_seconds
    if seconds is None or seconds <= AWAY_SECONDS:
        return None
    return Condition(
        kind=AlertKind.PUBLISHING_STANDS,
        subject_key=f"host:{readings.host}",
        facts={"seconds": round(seconds, 1)},
    )


def _disk(readings: HostReadings) -> Condition | None:
    if readings.disk is None:
        return None
    total, free = readings.disk
    if free >= _LEAST_BYTES and free >= total * _LEAST_PART:
        return None
    percent = round(100 * free / total, 1) if total else 0.0
    facts = {"free_bytes": free, "free_percent": percent}
    return Condition(kind=AlertKind.DISK, subject_key=f"host:{readings.host}", facts=facts)
