"""Approvals in a soak: whether exactly those runs began that the soak, as a person, has approved.

approver.py writes each decision before it asks for it, and again when it is made. What lies
between is unknown: the database may have been restarted during the commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from bench.soak.findings import Broken
from bench.soak.history import MISFIRE, Execution, History

# The ledgers and the decisions have the clock of the machine.
_SLACK = timedelta(seconds=0.1)


def wrong(history: History) -> Iterator[Broken]:
    asking = {job.id for job in history.jobs if job.needs_approval}
    rows = {row.id: row for row in history.executions if row.job_id in asking}
    said: dict[int, set[str]] = defaultdict(set)
    asked_at: dict[int, datetime] = {}
    for decision in history.decisions:
        said[decision.execution_id].add(decision.what)
        if decision.what == "approving":
            asked_at.setdefault(decision.execution_id, decision.at)
    for attempt in history.attempts:
        if attempt.execution_id in rows and "approving" not in said[attempt.execution_id]:
            yield Broken(
                what="unapproved",
                detail=f"execution {attempt.execution_id} ran, and nobody has approved it",
            )
    for line in history.ledger:
        approved_at = asked_at.get(line.execution_id)
        if line.execution_id in rows and approved_at is not None and line.at + _SLACK < approved_at:
            yield Broken(
                what="unapproved",
                detail=f"execution {line.execution_id} began before it was approved",
            )
    for row in rows.values():
        yield from _of_row(row, said[row.id])


def _of_row(row: Execution, said: set[str]) -> Iterator[Broken]:
    if row.reason_code == MISFIRE:
        return
    if "approved" in said and row.status == "SKIPPED":
        yield Broken(
            what="starved",
            detail=f"execution {row.id} was approved, and skipped: {row.reason_code}",
        )
    right = None
    if "rejected" in said:
        right = "rejected"
    elif not said:
        right = "not_approved"
    if right is not None and (row.status, row.reason_code) != ("SKIPPED", right):
        yield Broken(
            what="unapproved",
            detail=f"execution {row.id} is {row.status} ({row.reason_code}), and must be {right}",
        )
