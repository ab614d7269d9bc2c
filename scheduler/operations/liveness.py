"""What counts as alive, stale and overdue: one rule for pages, probes, metrics and commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from django.db.models import Max, QuerySet

from scheduler import clock
from scheduler.models import JobExecution, SchedulerProcess
from scheduler.states import ProcessKind, RunStatus
from scheduler.store import statistics

#: Beats and workers write a heartbeat every 5 seconds; a process silent for longer is not alive.
STALE_AFTER: Final = timedelta(seconds=30)
#: Work of beat (to write the row of a slot) that is late by more than this is overdue. Beat
#: normally needs less than 2 seconds. A minute is twice STALE_AFTER, so that the restart or
#: replacement of a beat raises no alarm.
OVERDUE_AFTER: Final = timedelta(seconds=60)
#: The database's clock may differ by this from the host's, and stand this far before its own latest
#: time. More is an alarm: that clock alone decides when a slot is due.
CLOCK_TOLERANCE: Final = timedelta(seconds=5)
#: Monitoring reads the counts every few seconds, so they stop here instead of reading all rows.
COUNTED_UP_TO: Final = 100_000


class ClockState(StrEnum):
    OK = "ok"
    BEHIND = "behind"  # before a time that it has shown already: nothing is due until then
    DIFFERS = "differs"  # from this host's clock


@dataclass(frozen=True, kw_only=True)
class DatabaseClockCheck:
    """What is known of the database's clock."""

    state: ClockState
    #: The database's time minus this host's.
    offset_seconds: float
    #: From now until the latest time that the database's clock is known to have shown.
    behind_seconds: float


@dataclass(frozen=True, kw_only=True)
class Liveness:
    """Which parts of jobu work. Ages are in seconds, or None if there is nothing to measure."""

    #: Since the newest heartbeat of any beat.
    beat_age_seconds: float | None
    beats_alive: int
    workers_alive: int
    #: How long the run waits that a worker could have begun first. None: no run waits.
    oldest_waiting_seconds: float | None
    #: Both are counted up to COUNTED_UP_TO.
    pending: int
    running: int
    clock: ClockState
    clock_offset_seconds: float
    clock_behind_seconds: float


def is_alive(heartbeat_at: datetime, now: datetime) -> bool:
    """Returns whether a process with this heartbeat is alive."""
    return now - heartbeat_at <= STALE_AFTER


def alive_processes(now: datetime) -> QuerySet[SchedulerProcess]:
    """Returns the rows of the processes that are alive."""
    return SchedulerProcess.objects.filter(heartbeat_at__gte=now - STALE_AFTER)


def is_overdue(due_at: datetime | None, now: datetime) -> bool:
    """Returns whether work of beat that was due at `due_at` is overdue. None: nothing is due."""
    return due_at is not None and now - due_at > OVERDUE_AFTER


def liveness(now: datetime) -> Liveness:
    """Returns the liveness. Every query uses an index. Does not catch database errors.

    `now`: the database's, read just now.
    """
    seen = clock_of(now)
    last = {
        row["kind"]: row["last"]
        for row in SchedulerProcess.objects.values("kind").annotate(last=Max("heartbeat_at"))
    }
    alive = alive_processes(now)
    waiting = JobExecution.objects.filter(status=RunStatus.PENDING)
    return Liveness(
        beat_age_seconds=_seconds_since(last.get(ProcessKind.BEAT), now),
        beats_alive=alive.filter(kind=ProcessKind.BEAT).count(),
        workers_alive=alive.filter(kind=ProcessKind.WORKER).count(),
        oldest_waiting_seconds=_seconds_since(statistics.oldest_waiting_at(now), now),
        pending=waiting.order_by()[:COUNTED_UP_TO].count(),
        running=JobExecution.objects.filter(status=RunStatus.RUNNING)
        .order_by()[:COUNTED_UP_TO]
        .count(),
        clock=seen.state,
        clock_offset_seconds=seen.offset_seconds,
        clock_behind_seconds=seen.behind_seconds,
    )


# So many of the newest runs show what the database's clock has shown.
_NEWEST: Final = 100


def clock_of(
    now: datetime, *, host_now: datetime | None = None, latest: datetime | None = None
) -> DatabaseClockCheck:
    """Compares the database's `now`, read just now, with this host's clock and with rows.

    `latest`: a reading that the caller remembers. A clock that stands still soon differs from the
    host's.
    """
    offset = now - (host_now or clock.host_now())
    shown = [
        latest,
        statistics.newest_end(),
        *JobExecution.objects.order_by("-id").values_list("created_at", flat=True)[:_NEWEST],
        SchedulerProcess.objects.aggregate(latest=Max("heartbeat_at"))["latest"],
    ]
    behind = max((each - now for each in shown if each is not None), default=timedelta(0))
    if behind > CLOCK_TOLERANCE:
        state = ClockState.BEHIND
    else:
        state = ClockState.DIFFERS if abs(offset) > CLOCK_TOLERANCE else ClockState.OK
    return DatabaseClockCheck(
        state=state,
        offset_seconds=offset.total_seconds(),
        behind_seconds=max(0.0, behind.total_seconds()),
    )


def _seconds_since(then: datetime | None, now: datetime) -> float | None:
    return None if then is None else max(0.0, (now - then).total_seconds())
