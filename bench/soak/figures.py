"""The figures that a soak prints, besides the broken promises."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bench.soak.delays import RECORDED, RECOVERED, STARTED, Bounds, Delay, delays
from bench.soak.history import History
from bench.soak.slots import expected_slots


def figures(history: History, bounds: Bounds) -> dict[str, Any]:
    """Returns the figures of a soak, for its line of JSON."""
    outcomes = Counter(attempt.outcome for attempt in history.attempts)
    events = Counter(event["event"] for event in history.events)
    longest: dict[str, Delay] = {}
    for delay in delays(history, bounds):
        if delay.what not in longest or delay.seconds > longest[delay.what].seconds:
            longest[delay.what] = delay

    def seconds(what: str) -> float | None:
        return round(longest[what].seconds, 1) if what in longest else None

    return {
        "slots_expected": sum(len(expected_slots(job, history)) for job in history.jobs),
        "rows": sum(row.parent_id is None for row in history.executions),
        "divided": sum(row.is_divided for row in history.executions),
        "shards": sum(row.parent_id is not None for row in history.executions),
        "approved": sum(each.what == "approved" for each in history.decisions),
        "not_approved": sum(row.reason_code == "not_approved" for row in history.executions),
        "attempts": len(history.attempts),
        "statuses": dict(sorted(Counter(row.status for row in history.executions).items())),
        "rescued": outcomes["LOST"],
        "handed_back": outcomes["RELEASED"],
        "zombie_writes_refused": events["execution.stale"],
        "longest_recovery_seconds": seconds(RECOVERED),
        "recovery_bound_seconds": round(bounds.recovery, 1),
        "longest_row_delay_seconds": seconds(RECORDED),
        "row_bound_seconds": round(bounds.row, 1),
        "longest_start_delay_seconds": seconds(STARTED),
        "start_bound_seconds": round(bounds.start, 1),
    }
