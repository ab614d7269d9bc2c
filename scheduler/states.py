"""What an execution can be, and every way it may change. Plain values; nobody else writes a status
literal.

The CHECK constraints of the tables, the admin's choices and the diagram in the documentation come
from here or are tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class RunStatus(StrEnum):
    PENDING = "PENDING"  # waits to be claimed; `publish_at` says when beat looks at it again
    RUNNING = "RUNNING"  # a worker holds the lease; `lease_expires_at` says until when
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"  # by a person, or by a newer run under overlap policy `replace`
    SKIPPED = "SKIPPED"  # never ran, by misfire or overlap policy; the reason is in error_message


FINAL = frozenset(
    {
        RunStatus.SUCCESS,
        RunStatus.FAILED,
        RunStatus.TIMEOUT,
        RunStatus.CANCELLED,
        RunStatus.SKIPPED,
    }
)
UNFINISHED = frozenset(RunStatus) - FINAL
# A person may send these back to PENDING.
RETRYABLE = FINAL - {RunStatus.SUCCESS}

# None stands for "not there yet".
TRANSITIONS: Mapping[RunStatus | None, frozenset[RunStatus]] = {
    None: frozenset({RunStatus.PENDING, RunStatus.SKIPPED}),
    RunStatus.PENDING: frozenset(
        {
            RunStatus.RUNNING,
            RunStatus.CANCELLED,
            RunStatus.SKIPPED,
            RunStatus.FAILED,
        }
    ),
    # RUNNING -> PENDING: retry with back-off, rescue of a lost worker's run, hand-back on drain.
    RunStatus.RUNNING: frozenset(
        {
            RunStatus.SUCCESS,
            RunStatus.FAILED,
            RunStatus.TIMEOUT,
            RunStatus.CANCELLED,
            RunStatus.PENDING,
        }
    ),
    RunStatus.SUCCESS: frozenset(),
    **{status: frozenset({RunStatus.PENDING}) for status in RETRYABLE},
}


class AttemptOutcome(StrEnum):
    """How one attempt ended. LOST: its lease ran out. RELEASED: handed back, not charged."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    RELEASED = "RELEASED"


class OverlapPolicy(StrEnum):
    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    REPLACE = "replace"


class MisfirePolicy(StrEnum):
    LATEST = "latest"
    ALL = "all"
    SKIP = "skip"


class ParamSource(StrEnum):
    CRON = "cron"
    MANUAL = "manual"
    EVENT = "event"
    BACKFILL = "backfill"


class BackfillOrder(StrEnum):
    OLDEST_FIRST = "oldest_first"
    NEWEST_FIRST = "newest_first"


class BackfillState(StrEnum):
    ACTIVE = "active"  # beat makes its runs
    PAUSED = "paused"
    CANCELLED = "cancelled"  # by a person
    DONE = "done"  # every slot has its run; some may not have ended yet


class ProcessKind(StrEnum):
    BEAT = "beat"
    WORKER = "worker"
