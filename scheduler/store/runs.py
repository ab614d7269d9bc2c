"""An attempt keeps its lease. How it begins: claims.py. How it ends: endings.py.

Each write after the claim has the lease token in its WHERE.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Case, F, QuerySet, Value, When

from scheduler.concurrency import Place
from scheduler.models import JobExecution
from scheduler.states import RunStatus
from scheduler.store.connection import execute, fetch_all, marks


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to run one attempt and to write its end: the execution and this claim's token."""

    execution_id: int
    job_id: int | None
    attempt: int
    token: str
    owner: str
    started_at: datetime
    guard: int | None = None
    """Of a run that must not overlap: its row in job_guard."""
    places: tuple[Place, ...] = ()
    """What it has under limits (places.py)."""
    parent_id: int | None = None
    """Of a shard: the run that ends with the last one."""
    queue: str = ""


def not_before_start(now: datetime) -> Case:
    """`finished_at` of a run that may have had attempts: the clock may have gone back since."""
    return Case(When(started_at__gt=now, then=F("started_at")), default=Value(now))


@dataclass(frozen=True, kw_only=True)
class LeaseStates:
    """The runs of a process that are still its own, by token."""

    ours: frozenset[str]
    cancelled: frozenset[str]
    """Those of them that somebody wants cancelled."""


# Rows are locked by id, as the ends of runs lock them: else two of a process wait for each other.
_RENEW: Final = {
    "postgresql": """
        WITH ours AS (
            SELECT id FROM job_executions
             WHERE id IN ({ids}) AND status = %s AND lease_token IN ({tokens})
             ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE job_executions SET lease_expires_at = LEAST(%s, deadline_at)
         WHERE id IN (SELECT id FROM ours)
    """,
    "mysql": """
        UPDATE job_executions FORCE INDEX (PRIMARY) SET lease_expires_at = LEAST(%s, deadline_at)
         WHERE id IN ({ids}) AND status = %s AND lease_token IN ({tokens})
    """,
    "sqlite": """
        UPDATE job_executions SET lease_expires_at = MIN(%s, deadline_at)
         WHERE id IN ({ids}) AND status = %s AND lease_token IN ({tokens})
    """,
}
_WATCH: Final = """
SELECT lease_token, cancel_requested_at FROM job_executions
 WHERE id IN ({ids}) AND status = %s AND lease_token IN ({tokens})
"""
# SQLite takes 32,766 parameters in one statement.
_AT_ONCE: Final = 5000


def renew_leases(leases: Collection[Lease], *, now: datetime, lease_seconds: float) -> LeaseStates:
    """Renew all leases of a process, never past the deadline of a run, and read them."""
    expires_at = now + timedelta(seconds=lease_seconds)
    vendor = connection.vendor
    for some in _in_parts(leases):
        of_rows = [*some, RunStatus.RUNNING, *some.values()]
        execute(
            _RENEW[vendor].format(ids=marks(some), tokens=marks(some)),
            [*of_rows, expires_at] if vendor == "postgresql" else [expires_at, *of_rows],
        )
    return watch_leases(leases)


def watch_leases(leases: Collection[Lease]) -> LeaseStates:
    """Read which runs are still ours and which are to be cancelled. Changes nothing."""
    found: list[tuple[Any, ...]] = []
    for some in _in_parts(leases):
        statement = _WATCH.format(ids=marks(some), tokens=marks(some))
        found += fetch_all(statement, [*some, RunStatus.RUNNING, *some.values()])
    return LeaseStates(
        ours=frozenset(token for token, _ in found if token),
        cancelled=frozenset(token for token, asked_at in found if token and asked_at),
    )


def _in_parts(leases: Collection[Lease]) -> Iterator[dict[int, str]]:
    """Tokens by the ids of their executions, in the order of these."""
    ordered = sorted((lease.execution_id, lease.token) for lease in leases)
    for first in range(0, len(ordered), _AT_ONCE):
        yield dict(ordered[first : first + _AT_ONCE])


def rows_of(leases: Collection[Lease]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(
        id__in=sorted(lease.execution_id for lease in leases),
        status=RunStatus.RUNNING,
        lease_token__in=[lease.token for lease in leases],
    )
