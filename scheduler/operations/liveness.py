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
#: What beat should have done by now and has not: a slot without a row, a run that was not sent. It
#: is done within 2 seconds. A minute is twice STALE_AFTER: a beat that is restarted by a deploy, or
#: replaced by another one, is no reason for an alarm; `probe` and the documented alerts use it too.
OVERDUE_AFTER: Final = timedelta(seconds=60)
#: Machines ask every few seconds: a million waiting runs need not be counted exactly.
COUNTED_UP_TO: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class Liveness:
    """What of jobu is at work. Ages in seconds; None where there is nothing to measure."""

    #: Since the newest heartbeat of any beat.
    beat_age_seconds: float | None
    beats_alive: int
    workers_alive: int
    #: How late the publication is that has been due longest; None: none is due.
    oldest_unpublished_seconds: float | None
    #: Both are counted up to COUNTED_UP_TO.
    pending: int
    running: int


def is_alive(heartbeat_at: datetime, now: datetime) -> bool:
    """Whether a process with this heartbeat is alive."""
    return now - heartbeat_at <= STALE_AFTER


def alive_processes(now: datetime) -> QuerySet[SchedulerProcess]:
    """Returns the rows of the processes that are alive."""
    return SchedulerProcess.objects.filter(heartbeat_at__gte=now - STALE_AFTER)


def is_overdue(due_at: datetime | None, now: datetime) -> bool:
    """Whether beat should have done by now what was due then. None is never due."""
    return due_at is not None and now - due_at > OVERDUE_AFTER


def liveness(now: datetime) -> Liveness:
    """Reads the tables by their indexes. Database errors pass through."""
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
