"""Limits of runs that go on at once, and of starts in a span: what a soak has exceeded.

A divided run counts while it divides itself, and each of its shards counts as a run of the job.
What goes on is counted in the order in which the database saw the changes, so by no clock, and once
more by what the handlers wrote into the ledger.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from bench.soak.findings import Broken
from bench.soak.history import Execution, History, Job

#: How many later runs under the same limits may begin before one that waits: a run that was let go
#: on keeps its place for 10 s, while its worker may be killed, and may be so more than once.
OVERTAKEN = 40
# The ledger has the clock of the process, the attempts that of the database.
_SLACK = timedelta(seconds=0.1)


def exceeded(history: History) -> Iterator[str]:
    """Yields what was over a limit: a text for each."""
    yield from _at_once(history)
    yield from _by_the_ledger(history)
    yield from _in_a_span(history)


def _at_once(history: History) -> Iterator[str]:
    of_run = _limits_of_runs(history)
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


def _by_the_ledger(history: History) -> Iterator[str]:
    """The same by the handlers themselves: how many of them were there at any instant.

    What a lost worker's handler does after its run was taken away is not counted: nobody can know.
    """
    of_run = _limits_of_runs(history)
    attempts = {attempt.token: attempt for attempt in history.attempts}
    left_at = {line.token: line.at for line in history.ledger if line.what == "out"}
    # An end comes before a begin at the same instant.
    events: list[tuple[datetime, int, str, int, int]] = []
    for line in history.ledger:
        attempt = attempts.get(line.token)
        if not line.is_begin or line.execution_id not in of_run or attempt is None:
            continue
        left = left_at.get(line.token)
        if left is None or attempt.outcome == "LOST":
            taken_away = attempt.ended_at - _SLACK
            left = taken_away if left is None else min(left, taken_away)
        for name, limit in of_run[line.execution_id]:
            if left > line.at:
                events.append((line.at, 1, name, limit, line.execution_id))
                events.append((left, -1, name, limit, line.execution_id))
    there: Counter[str] = Counter()
    for at, change, name, limit, execution_id in sorted(events):
        there[name] += change
        if change > 0 and there[name] > limit:
            yield (
                f"{name}: the handler of execution {execution_id} began at {at:%H:%M:%S.%f} as"
                f" number {there[name]} of {limit}"
            )


def _limits_of_runs(history: History) -> dict[int, list[tuple[str, int]]]:
    return {
        row.id: [(name.format(key=row.key), limit) for name, limit in job.limits]
        for row, job in _with_jobs(history)
        if job.limits
    }


def _in_a_span(history: History) -> Iterator[str]:
    of_run = {row.id: job.rate for row, job in _with_jobs(history) if job.rate is not None}
    starts: dict[tuple[str, int, int], list[datetime]] = defaultdict(list)
    for attempt in history.attempts:
        if attempt.execution_id in of_run:
            starts[of_run[attempt.execution_id]].append(attempt.started_at)
    for (name, count, seconds), instants in starts.items():
        ordered = sorted(instants)
        for first, too_early in zip(ordered, ordered[count:], strict=False):
            if (too_early - first).total_seconds() < seconds:
                yield f"{name}: more than {count} starts in {seconds} s from {first:%H:%M:%S.%f}"


def starvation(history: History) -> Iterator[Broken]:
    """Yields runs that need a place and were overtaken by too many that were made after them."""
    starts = {}
    for attempt in history.attempts:
        if attempt.attempt == 1:
            starts[attempt.execution_id] = attempt.started_at
    alike: dict[tuple[object, ...], list[tuple[int, datetime]]] = defaultdict(list)
    for row, job in _with_jobs(history):
        if row.id in starts and (job.limits or job.rate):
            names = tuple(name.format(key=row.key) for name, _ in job.limits)
            alike[names, job.rate].append((row.id, starts[row.id]))
    for some in alike.values():
        # From the newest one on, with the starts of all that were made later.
        later: list[datetime] = []
        for execution_id, started_at in sorted(some, reverse=True):
            overtaken = bisect_left(later, started_at)
            if overtaken > OVERTAKEN:
                yield Broken(
                    what="starved",
                    detail=f"execution {execution_id} waited for a place, and {overtaken} that"
                    " were made later began before it",
                )
            insort(later, started_at)


def _with_jobs(history: History) -> Iterator[tuple[Execution, Job]]:
    for row in history.executions:
        job = history.job_of(row)
        if job is not None:
            yield row, job
