"""How long things took in a soak, and the bounds that the settings give for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bench.soak.history import CLOCK_SLACK, MISFIRE, Attempt, Execution, Fault, History
from bench.soak.jobs import BACKOFF_MAX_SECONDS
from scheduler.limits import IDLE_IN_TRANSACTION_SECONDS

# A small machine that the soak itself loads adds this to any wait, ...
SLACK_SECONDS = 10.0
# ... and needs this to start a process.
START_SECONDS = 10.0
RECORDED, STARTED, RECOVERED = "recorded", "started", "started again"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Worst cases in seconds that follow from the settings, for one fault at a time.

    `reaction`: for how long after its end a fault of that kind can still delay something. If more
    faults happen during a delay, the delay may be longer by their length and their reaction.
    """

    row: float  # from a slot until its row is there
    start: float  # from its row until its handler begins
    recovery: float  # from a worker's end until its run begins again
    reaction: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Delay:
    what: str
    seconds: float
    bound: float
    detail: str


def bounds_of(config: Mapping[str, Mapping[str, Any]]) -> Bounds:
    """Returns the bounds of these settings. docs/reliability.md explains each part."""
    scheduler, worker = config["scheduler"], config["worker"]
    # Of beat, and a look of a worker into the table where every wake-up is lost.
    tick = 1.2 * scheduler["poll_interval_seconds"]
    rescue = worker["lease_seconds"] + scheduler["sweep_interval_seconds"]
    return Bounds(
        row=tick + SLACK_SECONDS,
        start=2 * tick + SLACK_SECONDS,
        recovery=rescue + 1.2 * BACKOFF_MAX_SECONDS + 2 * tick + SLACK_SECONDS,
        reaction=_reactions(config),
    )


def delays(history: History, bounds: Bounds) -> list[Delay]:
    """Returns every delay for which the settings give a bound."""
    return [
        *_row_delays(history, bounds),
        *_start_delays(history, bounds),
        *_recoveries(history, bounds),
    ]


def _row_delays(history: History, bounds: Bounds) -> Iterator[Delay]:
    for row in history.executions:
        if row.reason_code != MISFIRE and row.parent_id is None:
            extra = _extra(history.faults, bounds, row.slot, row.created_at)
            yield Delay(
                what=RECORDED,
                seconds=(row.created_at - row.slot).total_seconds(),
                bound=bounds.row + extra,
                detail=f"slot {row.slot:%H:%M:%S} of job {row.job_id}",
            )


def _start_delays(history: History, bounds: Bounds) -> Iterator[Delay]:
    rows = _of_free_jobs(history)
    for attempt in history.attempts:
        row = rows.get(attempt.execution_id)
        if attempt.attempt == 1 and row is not None:
            extra = _extra(history.faults, bounds, row.created_at, attempt.started_at)
            yield Delay(
                what=STARTED,
                seconds=(attempt.started_at - row.created_at).total_seconds(),
                bound=bounds.start + extra,
                detail=f"execution {row.id}",
            )


def _recoveries(history: History, bounds: Bounds) -> Iterator[Delay]:
    rows = _of_free_jobs(history)
    by_number = {(attempt.execution_id, attempt.attempt): attempt for attempt in history.attempts}
    for lost in history.attempts:
        again = by_number.get((lost.execution_id, lost.attempt + 1))
        fault = _fault_of(lost, history.faults)
        if lost.outcome == "LOST" and again and fault and lost.execution_id in rows:
            others = [other for other in history.faults if other is not fault]
            extra = _extra(others, bounds, fault.began_at, again.started_at)
            yield Delay(
                what=RECOVERED,
                seconds=(again.started_at - fault.began_at).total_seconds(),
                bound=bounds.recovery + extra,
                detail=f"execution {lost.execution_id}, attempt {lost.attempt} lost by"
                f" {fault.kind} of {fault.target}",
            )


def _of_free_jobs(history: History) -> dict[int, Execution]:
    """Returns the executions that wait for no other run and for nobody, by id. Shards are among
    them.
    """
    free = {}
    for row in history.executions:
        job = history.job_of(row)
        if job is not None and job.is_free and not (job.needs_approval and row.parent_id is None):
            free[row.id] = row
    return free


def _fault_of(lost: Attempt, faults: Iterable[Fault]) -> Fault | None:
    """Returns the fault that ended this attempt: the last one of its worker while it ran."""
    met = [
        fault
        for fault in faults
        if fault.target
        and lost.worker.startswith(fault.target)
        and lost.started_at - CLOCK_SLACK <= fault.began_at <= lost.ended_at
    ]
    return max(met, key=lambda fault: fault.began_at, default=None)


def _extra(faults: Iterable[Fault], bounds: Bounds, begin: datetime, end: datetime) -> float:
    """Returns how many seconds the faults may add to a delay that lasts from `begin` to `end`."""
    extra = 0.0
    for fault in faults:
        reaction = bounds.reaction.get(fault.kind, 0.0)
        if fault.began_at < end and fault.ended_at + timedelta(seconds=reaction) > begin:
            extra += (fault.ended_at - fault.began_at).total_seconds() + reaction
    return extra


def _reactions(config: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns for how long after its end each kind of fault can still delay something."""
    lease = config["worker"]["lease_seconds"]
    look = 1.2 * config["scheduler"]["poll_interval_seconds"]
    of_beat = lease + START_SECONDS  # a new beat rescues only after one lease with the database
    of_worker = look + START_SECONDS
    return {
        "kill-beat": of_beat,
        "crash-beat": of_beat,
        "pause-beat": of_beat,
        "freeze-beat": of_beat + IDLE_IN_TRANSACTION_SECONDS,
        "mute-broker": look + 20,
        "kill-worker": of_worker,
        "crash-worker": of_worker,
        "stop-worker": look,
        "drain-worker": of_worker,
        "flush-broker": look,
        # 20 s for the pause of Celery after a failure: idle prefork children wait for the broker.
        "restart-broker": look + 20,
        # Beat's longest pause, the lease that it then waits, and the leases that have expired.
        "restart-database": 5 + 2 * lease,
    }
