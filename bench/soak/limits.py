"""Limits of runs that go on at once, and of starts in a span: what a soak has exceeded.

What goes on is counted in the order in which the database saw the changes, so by no clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime

from bench.soak.history import History


def exceeded(history: History) -> Iterator[str]:
    """Yields what was over a limit: a text for each."""
    yield from _at_once(history)
    yield from _in_a_span(history)


def _at_once(history: History) -> Iterator[str]:
    limits = {job.id: job.limits for job in history.jobs if job.limits}
    of_run = {row.id: limits[row.job_id] for row in history.executions if row.job_id in limits}
    running: Counter[str] = Counter()
    for change in history.changes:
        for name, limit in of_run.get(change.execution_id, ()):
            if change.after == "RUNNING":
                running[name] += 1
                if running[name] > limit:
                    yield (
                        f"{name}: execution {change.execution_id} began as number"
                        f" {running[name]} of {limit}"
                    )
            elif change.before == "RUNNING":
                running[name] -= 1


def _in_a_span(history: History) -> Iterator[str]:
    rates = {job.id: job.rate for job in history.jobs if job.rate is not None}
    of_run = {row.id: rates[row.job_id] for row in history.executions if row.job_id in rates}
    starts: dict[tuple[str, int, int], list[datetime]] = defaultdict(list)
    for attempt in history.attempts:
        if attempt.execution_id in of_run:
            starts[of_run[attempt.execution_id]].append(attempt.started_at)
    for (name, count, seconds), instants in starts.items():
        ordered = sorted(instants)
        for first, too_early in zip(ordered, ordered[count:], strict=False):
            if (too_early - first).total_seconds() < seconds:
                yield f"{name}: more than {count} starts in {seconds} s from {first:%H:%M:%S.%f}"
