"""What must be true after a soak. Pure functions: from a history to the broken promises.

The checker uses none of jobu's own code. The slots come from a brute-force implementation of cron
(tests/harness/oracles.py), the runs from the handlers' own ledger, and the status changes from
database triggers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from bench.soak import approvals, attempts, shards
from bench.soak.chains import out_of_order
from bench.soak.counting import miscounted
from bench.soak.delays import Bounds, delays
from bench.soak.findings import PROMISES, Broken
from bench.soak.freezes import violated
from bench.soak.history import CLOCK_SLACK, FINAL, GOING_ON, History
from bench.soak.limits import exceeded, starvation
from bench.soak.slots import completeness, uniqueness

# Repeated from docs/architecture.md, so that the checker does not depend on the code's own table.
LEGAL = frozenset(
    {
        (None, "PENDING"),
        (None, "SKIPPED"),
        ("PENDING", "RUNNING"),
        ("PENDING", "CANCELLED"),
        ("PENDING", "SKIPPED"),
        ("PENDING", "FAILED"),
        ("RUNNING", "SUCCESS"),
        ("RUNNING", "FAILED"),
        ("RUNNING", "TIMEOUT"),
        ("RUNNING", "CANCELLED"),
        ("RUNNING", "PENDING"),
        ("RUNNING", "FANNED_OUT"),
        ("FANNED_OUT", "SUCCESS"),
        ("FANNED_OUT", "FAILED"),
        ("FANNED_OUT", "CANCELLED"),
    }
)


def check(history: History, bounds: Bounds | None = None) -> list[Broken]:
    """Returns everything that is wrong, the worst first. Empty if every promise was kept."""
    checks = [
        completeness(history),
        uniqueness(history),
        _finality(history),
        attempts.begins(history),
        attempts.repeats(history),
        attempts.fences(history),
        attempts.outcomes(history),
        attempts.losses(history),
        _changes(history),
        attempts.failures(history),
        _counters(history),
        _overlaps(history),
        (Broken(what="limit", detail=detail) for detail in exceeded(history)),
        (Broken(what="frozen", detail=detail) for detail in violated(history)),
        _times(history),
        shards.wrong(history),
        approvals.wrong(history),
        starvation(history),
        (Broken(what=what, detail=detail) for what, detail in out_of_order(history)),
    ]
    found = [broken for findings in checks for broken in findings]
    found += [Broken(what="process_ended", detail=death) for death in history.deaths]
    found += [Broken(what="gave_up", detail=what) for what in history.gave_up]
    if bounds is not None:
        found += [
            Broken(
                what="slow",
                detail=f"{delay.detail}: {delay.what} after {delay.seconds:.1f} s,"
                f" bound {delay.bound:.1f} s",
            )
            for delay in delays(history, bounds)
            if delay.seconds > delay.bound
        ]
    return sorted(found, key=lambda broken: list(PROMISES).index(broken.what))


def _finality(history: History) -> Iterator[Broken]:
    for row in history.executions:
        if row.status not in FINAL:
            yield Broken(
                what="not_final", detail=f"execution {row.id} is {row.status} (slot {row.slot})"
            )


def _changes(history: History) -> Iterator[Broken]:
    status: dict[int, str] = {}
    for change in history.changes:
        known = status.get(change.execution_id)
        if (change.before, change.after) not in LEGAL or change.before != known:
            yield Broken(
                what="illegal_change",
                detail=f"execution {change.execution_id}: {known} -> {change.after}",
            )
        status[change.execution_id] = change.after


def _counters(history: History) -> Iterator[Broken]:
    if history.counted is not None:
        for detail in miscounted(history.counted, history.executions):
            yield Broken(what="miscounted_ends", detail=detail)


def _overlaps(history: History) -> Iterator[Broken]:
    """Uses the order in which the database saw the changes, and therefore no clock.

    A divided run goes on from its start until its last shard has ended.
    """
    alone = {job.id for job in history.jobs if job.overlap_policy != "allow"}
    rows = {row.id: row for row in history.executions}
    # By job: the runs that go on, and of each the executions that do, itself and its shards.
    running: dict[int, dict[int, set[int]]] = defaultdict(dict)
    for change in history.changes:
        row = rows.get(change.execution_id)
        job = history.job_of(row) if row is not None else None
        if row is None or job is None or job.id not in alone:
            continue
        run = row.id if row.parent_id is None else row.parent_id
        going_on = running[job.id]
        if change.after == "RUNNING":
            for other in going_on.keys() - {run}:
                yield Broken(
                    what="overlap",
                    detail=f"job {job.id}: execution {row.id} began while {other} ran",
                )
        if change.after in GOING_ON:
            going_on.setdefault(run, set()).add(row.id)
        elif run in going_on:
            going_on[run].discard(row.id)
            if not going_on[run]:
                del going_on[run]


def _times(history: History) -> Iterator[Broken]:
    slots = {row.id: row.slot for row in history.executions}
    for row in history.executions:
        if row.slot.microsecond:
            yield Broken(what="time", detail=f"execution {row.id} has no whole second: {row.slot}")
        if row.slot > row.created_at + CLOCK_SLACK:
            yield Broken(
                what="time", detail=f"execution {row.id} was made at {row.created_at}, too early"
            )
        if row.started_at and row.finished_at and row.started_at > row.finished_at + CLOCK_SLACK:
            yield Broken(what="time", detail=f"execution {row.id} finished before it started")
    for attempt in history.attempts:
        slot = slots.get(attempt.execution_id)
        if slot is not None and attempt.started_at < slot - CLOCK_SLACK:
            yield Broken(what="time", detail=f"execution {attempt.execution_id} ran too early")
