"""What counts as alive, stale and overdue: one rule for pages, probes, metrics and commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Max, QuerySet

from scheduler.models import JobExecution, SchedulerProcess
from scheduler.states import ProcessKind, RunStatus

#: Beats and workers write a heartbeat every 5 seconds; a process silent for longer is not alive.
STALE_AFTER: Final = timedelta(seconds=30)
#: Work of beat (to write the row of a slot, to send a run) that is late by more than this is
#: overdue. Beat normally needs less than 2 seconds. A minute is twice STALE_AFTER, so that the
#: restart or replacement of a beat raises no alarm. `probe` and the documented alerts use it, too.
OVERDUE_AFTER: Final = timedelta(seconds=60)
#: Monitoring reads the counts every few seconds, so they stop here instead of reading all rows.
COUNTED_UP_TO: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class Liveness:
    """Which parts of jobu work. Ages are in seconds, or None if there is nothing to measure."""

    #: Since the newest heartbeat of any beat.
    beat_age_seconds: float | None
    beats_alive: int
    workers_alive: int
    #: The delay of the run that has been due to be published for the longest time. None: none is.
    oldest_unpublished_seconds: float | None
    #: Both are counted up to COUNTED_UP_TO.
    pending: int
    running: int


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
    """Returns the liveness. Every query uses an index. Does not catch database errors."""
    last = {
        row["kind"]: row["last"]
        for row in SchedulerProcess.objects.values("kind").annotate(last=Max("heartbeat_at"))
    }
    alive = alive_processes(now)
    waiting = JobExecution.objects.filter(status=RunStatus.PENDING)
    oldest = (
        waiting.filter(publish_at__lte=now)
        .order_by("publish_at")
        .values_list("publish_at", flat=True)
        .first()
    )
    return Liveness(
        beat_age_seconds=_seconds_since(last.get(ProcessKind.BEAT), now),
        beats_alive=alive.filter(kind=ProcessKind.BEAT).count(),
        workers_alive=alive.filter(kind=ProcessKind.WORKER).count(),
        oldest_unpublished_seconds=_seconds_since(oldest, now),
        pending=waiting.order_by()[:COUNTED_UP_TO].count(),
        running=JobExecution.objects.filter(status=RunStatus.RUNNING)
        .order_by()[:COUNTED_UP_TO]
        .count(),
    )


def _seconds_since(then: datetime | None, now: datetime) -> float | None:
    return None if then is None else max(0.0, (now - then).total_seconds())
