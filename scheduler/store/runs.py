"""An attempt keeps its lease. How it begins: claims.py. How it ends: endings.py.

Each write after the claim has the lease token in its WHERE.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.functions import Least

from scheduler.models import JobExecution
from scheduler.states import RunStatus


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


def not_before_start(now: datetime) -> Case:
    """`finished_at` of a run that may have had attempts: the clock may have gone back since."""
    return Case(When(started_at__gt=now, then=F("started_at")), default=Value(now))


@dataclass(frozen=True, kw_only=True)
class LeaseStates:
    """The runs of a process that are still its own, by token."""

    ours: frozenset[str]
    cancelled: frozenset[str]
    """Those of them that somebody wants cancelled."""


def renew_leases(leases: Collection[Lease], *, now: datetime, lease_seconds: float) -> LeaseStates:
    """Renew all leases of a process in one UPDATE, never past the deadline of a run; read them."""
    expires_at = now + timedelta(seconds=lease_seconds)
    rows_of(leases).update(lease_expires_at=Least(Value(expires_at), F("deadline_at")))
    return watch_leases(leases)


def watch_leases(leases: Collection[Lease]) -> LeaseStates:
    """Read which runs are still ours and which are to be cancelled. Changes nothing."""
    found = list(rows_of(leases).values_list("lease_token", "cancel_requested_at"))
    return LeaseStates(
        ours=frozenset(token for token, _ in found if token),
        cancelled=frozenset(token for token, asked_at in found if token and asked_at),
    )


def rows_of(leases: Collection[Lease]) -> QuerySet[JobExecution]:
    return JobExecution.objects.filter(
        id__in=sorted(lease.execution_id for lease in leases),
        status=RunStatus.RUNNING,
        lease_token__in=[lease.token for lease in leases],
    )
