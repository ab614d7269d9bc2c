"""What a worker runs, and which runs were lost with it.

A run names the process that has claimed it. With prefork that is a child, whose name is that of the
worker with another pid: so runs are found by the worker's node, `worker@host`.
"""

from __future__ import annotations

from typing import Final

from django.db.models import QuerySet

from scheduler.models import JobAttempt, JobExecution, SchedulerProcess
from scheduler.states import AttemptOutcome, RunStatus

#: So many of the newest attempts are searched for lost ones: no index finds them.
ATTEMPTS_LOOKED_AT: Final = 20_000


def node_of(name: str) -> str:
    """The node of a process: `worker@host` of `worker@host:17`."""
    node, colon, pid = name.rpartition(":")
    return node if colon and pid.isascii() and pid.isdigit() else name


def processes_of(node: str) -> list[SchedulerProcess]:
    """Its main processes that have a row: one, or more while one ends and another begins."""
    rows = SchedulerProcess.objects.filter(name__startswith=f"{node}:").order_by("name")
    return [row for row in rows if node_of(row.name) == node]


def running_on(node: str) -> QuerySet[JobExecution]:
    """The runs of its processes, the oldest first. There are never many RUNNING rows."""
    rows = JobExecution.objects.filter(
        status=RunStatus.RUNNING.value, lease_owner__startswith=f"{node}:"
    )
    return rows.only(
        "id", "job_id", "job_name", "handler_name", "queue", "started_at", "lease_owner",
        "progress", "progress_message", "timeout_seconds", "cancel_requested_at",
    ).order_by("started_at", "id")  # fmt: skip


def losses_of(node: str) -> QuerySet[JobAttempt]:
    """Attempts that were lost with it, the newest first, among the newest of all attempts."""
    newest = JobAttempt.objects.order_by("-id").values_list("id", flat=True).first() or 0
    rows = JobAttempt.objects.filter(
        id__gt=newest - ATTEMPTS_LOOKED_AT,
        outcome=AttemptOutcome.LOST.value,
        worker__startswith=f"{node}:",
    )
    return rows.select_related("execution").only(
        "id", "attempt", "worker", "started_at", "ended_at", "error",
        "execution__id", "execution__job_name", "execution__handler_name",
    ).order_by("-id")  # fmt: skip
