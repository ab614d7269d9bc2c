"""What must be true after a soak. Pure functions: from a history to the broken promises.

The checker uses none of jobu's own code. The slots come from a brute-force implementation of cron
(tests/harness/oracles.py), the runs from the handlers' own ledger, and the status changes from
database triggers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from bench.soak.chains import out_of_order
from bench.soak.counting import miscounted
from bench.soak.delays import Bounds, delays
from bench.soak.freezes import violated
from bench.soak.history import (
    CLOCK_SLACK,
    FINAL,
    MISFIRE,
    Attempt,
    Execution,
    History,
    Job,
)
from bench.soak.limits import exceeded
from tests.harness.oracles import debian_slots

T = TypeVar("T")

# The promise of the README that each finding breaks: its number, and the promise in short.
PROMISES: Mapping[str, str] = {
    "missing": "2: no slot is lost",
    "extra": "1: every slot has exactly one row, and only slots have",
    "duplicate": "1: every slot has exactly one row",
    "watermark": "1: the watermark only goes forward",
    "miscounted": "8: what is not run is recorded",
    "not_final": "2: every row becomes final",
    "started_twice": "3: an attempt begins once",
    "unjustified_repeat": "3: a further attempt only after the one before has ended",
    "unfenced": "3: only the attempt that holds the lease writes the outcome",
    "outcome_lost": "2: what a run came to is kept through an outage",
    "lost_alive": "3: a run is taken away only from a worker that something happened to",
    "illegal_change": "3: only documented status changes happen",
    "miscounted_failures": "2: each charged attempt is counted once, within max_retry",
    "miscounted_ends": "8: metrics count each end once",
    "overlap": "3: runs of a job that must not overlap do not",
    "frozen": "8: no slot starts in a freeze, and each is recorded",
    "limit": "3: a limit of runs is never exceeded",
    "time": "7: time is right",
    "too_early": "7: a run waits for the success of its upstream job",
    "starved": "2: a run whose upstream job has succeeded starts",
    "slow": "2: within the bound that the settings give",
    "process_ended": "2: no process ends by itself",
    "gave_up": "2: within the bound that the settings give",
}

CHARGED = frozenset({"FAILED", "TIMEOUT", "LOST"})
# Another attempt may follow only after an attempt with one of these outcomes.
TRIED_AGAIN = CHARGED | {"RELEASED"}
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


@dataclass(frozen=True, kw_only=True)
class Broken:
    what: str  # a key of PROMISES
    detail: str

    def __str__(self) -> str:
        return f"{self.what} (promise {PROMISES[self.what]}): {self.detail}"


def check(history: History, bounds: Bounds | None = None) -> list[Broken]:
    """Returns everything that is wrong, the worst first. Empty if every promise was kept."""
    checks = [
        _completeness(history),
        _uniqueness(history),
        _finality(history),
        _begins(history),
        _repeats(history),
        _fences(history),
        _outcomes(history),
        _losses(history),
        _changes(history),
        _failures(history),
        _counters(history),
        _overlaps(history),
        (Broken(what="limit", detail=detail) for detail in exceeded(history)),
        (Broken(what="frozen", detail=detail) for detail in violated(history)),
        _times(history),
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


# --- slots ----------------------------------------------------------------------------------------


def expected_slots(job: Job, history: History) -> list[datetime]:
    """Returns every slot from the job's first watermark until its last one, by brute force."""
    if not job.watermarks:
        return []
    first, last = job.watermarks[0], job.watermarks[-1]
    # All jobs use the same span, because the oracle caches the minutes of a zone by span.
    ends = [end for other in history.jobs for end in (other.watermarks[:1] + other.watermarks[-1:])]
    begin, end = min(ends), max(ends)
    span = begin.replace(second=0, microsecond=0), end.replace(second=0) + timedelta(minutes=1)
    zone = job.timezone or history.default_timezone
    return [slot for slot in debian_slots(job.cron_expression, zone, *span) if first <= slot < last]


def _completeness(history: History) -> Iterator[Broken]:
    rows = _grouped(history.executions, lambda row: row.job_id)
    for job in history.jobs:
        yield from _completeness_of(job, rows.get(job.id, []), history)


def _completeness_of(job: Job, rows: Sequence[Execution], history: History) -> Iterator[Broken]:
    name = f"job {job.id} {job.name!r} ({job.cron_expression})"
    if not job.watermarks:
        yield Broken(what="missing", detail=f"{name} was never scheduled")
        return
    for before, after in zip(job.watermarks, job.watermarks[1:], strict=False):
        if after <= before:
            yield Broken(what="watermark", detail=f"{name} went back from {before} to {after}")
    if history.until is not None and job.watermarks[-1] <= history.until:
        yield Broken(what="missing", detail=f"{name} stood still at {job.watermarks[-1]:%H:%M:%S}")
    expected = expected_slots(job, history)
    runs = {row.slot for row in rows if row.reason_code != MISFIRE}
    skipped: Counter[datetime] = Counter()
    for row in rows:
        if row.reason_code == MISFIRE:
            facts = row.reason_facts
            first, last = (datetime.fromisoformat(facts[end]) for end in ("first", "last"))
            covered = [slot for slot in expected if first <= slot <= last]
            skipped.update(covered)
            if facts["count"] is not None and facts["count"] != len(covered):
                yield Broken(
                    what="miscounted",
                    detail=f"{name}: row {row.id} says {dict(facts)}, there are {len(covered)}",
                )
    for slot in expected:
        if slot not in runs and slot not in skipped:
            yield Broken(what="missing", detail=f"{name} has no row for {slot:%H:%M:%S}")
        elif skipped[slot] + (slot in runs) > 1:
            yield Broken(what="duplicate", detail=f"{name} ran and skipped {slot:%H:%M:%S}")
    for slot in sorted(runs - set(expected)):
        yield Broken(what="extra", detail=f"{name} has a row for {slot:%H:%M:%S}, which is no slot")


def _uniqueness(history: History) -> Iterator[Broken]:
    rows = Counter((row.job_id, row.slot) for row in history.executions)
    for (job_id, slot), count in rows.items():
        if count > 1:
            yield Broken(
                what="duplicate", detail=f"job {job_id} has {count} rows for {slot:%H:%M:%S}"
            )
    # The ledger also shows a row that was deleted and inserted again.
    ran: dict[tuple[int, datetime], set[int]] = defaultdict(set)
    for line in history.ledger:
        if line.what == "begin":
            ran[line.job_id, line.slot].add(line.execution_id)
    for (job_id, slot), ids in ran.items():
        if len(ids) > 1:
            yield Broken(
                what="duplicate",
                detail=f"job {job_id} ran {slot:%H:%M:%S} as executions {sorted(ids)}",
            )


# --- rows and attempts ----------------------------------------------------------------------------


def _finality(history: History) -> Iterator[Broken]:
    for row in history.executions:
        if row.status not in FINAL:
            yield Broken(
                what="not_final", detail=f"execution {row.id} is {row.status} (slot {row.slot})"
            )


def _begins(history: History) -> Iterator[Broken]:
    begun = Counter(
        (line.execution_id, line.attempt) for line in history.ledger if line.what == "begin"
    )
    for (execution_id, attempt), times in begun.items():
        if times > 1:
            yield Broken(
                what="started_twice",
                detail=f"attempt {attempt} of execution {execution_id} began {times} times",
            )


def _repeats(history: History) -> Iterator[Broken]:
    ended = _grouped(history.attempts, lambda attempt: attempt.execution_id)
    begun: dict[int, set[int]] = defaultdict(set)
    for line in history.ledger:
        if line.what == "begin":
            begun[line.execution_id].add(line.attempt)
    for execution_id, numbers in begun.items():
        outcomes = {attempt.attempt: attempt.outcome for attempt in ended.get(execution_id, [])}
        for number in sorted(numbers)[:-1]:
            if outcomes.get(number) not in TRIED_AGAIN:
                yield Broken(
                    what="unjustified_repeat",
                    detail=f"execution {execution_id} began again after attempt {number}"
                    f" ({outcomes.get(number, 'not ended')})",
                )


def _fences(history: History) -> Iterator[Broken]:
    attempts = _grouped(history.attempts, lambda attempt: attempt.execution_id)
    ends = _grouped(
        [line for line in history.ledger if line.what == "end"], lambda line: line.execution_id
    )
    for row in history.executions:
        own = {attempt.token: attempt for attempt in attempts.get(row.id, [])}
        if row.final_token is not None:
            writer = own.get(row.final_token)
            # An execution that has lost too many workers ends FAILED, by an attempt that is LOST.
            verdict = {row.status, "LOST"} if row.status == "FAILED" else {row.status}
            if writer is None or writer.attempt != row.attempt or writer.outcome not in verdict:
                by = f"attempt {writer.attempt} ({writer.outcome})" if writer else "nobody"
                yield Broken(
                    what="unfenced",
                    detail=f"execution {row.id} is {row.status} at attempt {row.attempt}, but its"
                    f" outcome was written by {by}",
                )
        if row.status == "SUCCESS":
            of_winner = [line for line in ends.get(row.id, []) if line.token == row.final_token]
            if len(of_winner) != 1:
                yield Broken(
                    what="unfenced",
                    detail=f"execution {row.id} is SUCCESS, and the attempt that says so ended"
                    f" {len(of_winner)} times",
                )
        for line in ends.get(row.id, []):
            attempt = own.get(line.token)
            if line.token != row.final_token and attempt and attempt.outcome == "SUCCESS":
                yield Broken(
                    what="unfenced",
                    detail=f"execution {row.id}: attempt {line.attempt} is SUCCESS beside the"
                    " final one",
                )


def _outcomes(history: History) -> Iterator[Broken]:
    """A handler of the soak writes "end" only if it succeeds: FAILED is then not its outcome."""
    ended = {line.token for line in history.ledger if line.what == "end"}
    for attempt in history.attempts:
        if attempt.outcome == "FAILED" and attempt.token in ended:
            yield Broken(
                what="outcome_lost",
                detail=f"execution {attempt.execution_id} ended well at attempt {attempt.attempt},"
                " and FAILED was written",
            )


def _losses(history: History) -> Iterator[Broken]:
    """A run may take ten leases. It may only be LOST if a fault happened while it ran."""
    for attempt in history.attempts:
        if attempt.outcome == "LOST" and not any(
            fault.began_at <= attempt.ended_at and fault.ended_at >= attempt.started_at
            for fault in history.faults
        ):
            yield Broken(
                what="lost_alive",
                detail=f"attempt {attempt.attempt} of execution {attempt.execution_id} was taken"
                f" from {attempt.worker}, to which nothing had happened",
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


def _failures(history: History) -> Iterator[Broken]:
    """Each failure counts. A lost attempt counts if it was alone in its process."""
    charged = Counter(
        attempt.execution_id for attempt in history.attempts if attempt.outcome in CHARGED
    )
    excused = Counter(
        attempt.execution_id
        for attempt in history.attempts
        if attempt.outcome == "LOST" and _had_neighbours(attempt, history)
    )
    for row in history.executions:
        most = charged[row.id]
        least = most - excused[row.id]
        if not least <= row.failures <= min(most, row.max_retry + 1):
            yield Broken(
                what="miscounted_failures",
                detail=f"execution {row.id} counts {row.failures} failures of at most"
                f" {row.max_retry + 1}, and {least} to {most} attempts were charged",
            )


def _had_neighbours(lost: Attempt, history: History) -> bool:
    """Returns whether another run of the same process may have ended that process."""
    return any(
        other.worker == lost.worker
        and other.token != lost.token
        and other.started_at <= lost.ended_at
        and other.ended_at >= lost.started_at
        for other in history.attempts
    )


def _counters(history: History) -> Iterator[Broken]:
    if history.counted is not None:
        for detail in miscounted(history.counted, history.executions):
            yield Broken(what="miscounted_ends", detail=detail)


def _overlaps(history: History) -> Iterator[Broken]:
    """Uses the order in which the database saw the changes, and therefore no clock."""
    alone = {job.id for job in history.jobs if job.overlap_policy != "allow"}
    job_of = {row.id: row.job_id for row in history.executions if row.job_id in alone}
    running: dict[int, int] = {}
    for change in history.changes:
        job_id = job_of.get(change.execution_id)
        if job_id is None:
            continue
        if change.after == "RUNNING":
            other = running.get(job_id, change.execution_id)
            if other != change.execution_id:
                yield Broken(
                    what="overlap",
                    detail=f"job {job_id}: execution {change.execution_id} began while {other} ran",
                )
            running[job_id] = change.execution_id
        elif change.before == "RUNNING" and running.get(job_id) == change.execution_id:
            del running[job_id]


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


def _grouped(items: Iterable[T], key: Callable[[T], int]) -> dict[int, list[T]]:
    groups: dict[int, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
