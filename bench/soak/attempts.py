"""How attempts began, ended and followed each other, by the ledger of the handlers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from bench.soak.findings import Broken, grouped
from bench.soak.history import Attempt, History

CHARGED = frozenset({"FAILED", "TIMEOUT", "LOST"})
# Another attempt may follow only after an attempt with one of these outcomes.
TRIED_AGAIN = CHARGED | {"RELEASED"}


def begins(history: History) -> Iterator[Broken]:
    begun = Counter((line.execution_id, line.attempt) for line in history.ledger if line.is_begin)
    for (execution_id, attempt), times in begun.items():
        if times > 1:
            yield Broken(
                what="started_twice",
                detail=f"attempt {attempt} of execution {execution_id} began {times} times",
            )


def repeats(history: History) -> Iterator[Broken]:
    ended = grouped(history.attempts, lambda attempt: attempt.execution_id)
    begun: dict[int, set[int]] = defaultdict(set)
    for line in history.ledger:
        if line.is_begin:
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


def fences(history: History) -> Iterator[Broken]:
    attempts = grouped(history.attempts, lambda attempt: attempt.execution_id)
    # A plan() that returns no shards ends its run.
    ends = grouped(
        [line for line in history.ledger if line.what in ("end", "planned 0")],
        lambda line: line.execution_id,
    )
    for row in history.executions:
        own = {attempt.token: attempt for attempt in attempts.get(row.id, [])}
        if row.final_token is not None:
            writer = own.get(row.final_token)
            # An execution that has lost too many workers ends FAILED, by an attempt that is LOST.
            verdict = {row.status, "LOST"} if row.status == "FAILED" else {row.status}
            if row.is_divided:  # it was the attempt that has divided the run
                verdict = {"SUCCESS"}
            if writer is None or writer.attempt != row.attempt or writer.outcome not in verdict:
                by = f"attempt {writer.attempt} ({writer.outcome})" if writer else "nobody"
                yield Broken(
                    what="unfenced",
                    detail=f"execution {row.id} is {row.status} at attempt {row.attempt}, but its"
                    f" outcome was written by {by}",
                )
        if row.status == "SUCCESS" and not row.is_divided:
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


def outcomes(history: History) -> Iterator[Broken]:
    """A handler of the soak writes its end only if it succeeds: FAILED is then not its outcome."""
    ended = {
        line.token for line in history.ledger if line.what == "end" or line.planned is not None
    }
    for attempt in history.attempts:
        if attempt.outcome == "FAILED" and attempt.token in ended:
            yield Broken(
                what="outcome_lost",
                detail=f"execution {attempt.execution_id} ended well at attempt {attempt.attempt},"
                " and FAILED was written",
            )


def losses(history: History) -> Iterator[Broken]:
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


def failures(history: History) -> Iterator[Broken]:
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
