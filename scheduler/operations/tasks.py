"""What a program does with tasks of `django.tasks`: enqueue a call, and read what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

from scheduler.models import JobAttempt, JobExecution
from scheduler.operations.base import Operations
from scheduler.operations.tracing import current_context
from scheduler.operations.validation import instant_problem, queue_problem
from scheduler.store import task_runs
from scheduler.transient import in_transaction
from scheduler.wakeups import became_runnable

#: Handler names of tasks begin so; the path of the task follows.
PREFIX: Final = "task:"
#: What the column takes after the prefix.
LONGEST_PATH: Final = 255 - len(PREFIX)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a task that was checked by the door."""

    path: str
    params: Mapping[str, Any]
    queue: str
    priority: int
    run_after: datetime | None
    max_retry: int
    timeout_seconds: int
    overlap_key: str | None = None
    """Calls with the same key run one after another, whichever tasks they call."""


@dataclass(frozen=True, kw_only=True)
class TaskOperations(Operations):
    """The operations on tasks. A program acts here, not a person: no entry in the history."""

    def enqueue(self, call: Call) -> tuple[int, datetime]:
        """Inserts the run on the caller's connection, in the caller's transaction if one is open.

        It starts when that is committed. Returns its id and the instant of its creation. Errors of
        the database are the caller's.
        """

        def work() -> tuple[int, datetime]:
            now = self.clock.now()
            # An instant that is over means "at once": "not before" is true of it.
            available_at = max(now, call.run_after) if call.run_after else now
            run = task_runs.NewRun(
                handler_name=PREFIX + call.path,
                params=call.params,
                now=now,
                available_at=available_at,
                max_retry=call.max_retry,
                timeout_seconds=call.timeout_seconds,
                queue=call.queue,
                priority=call.priority,
                overlap_key=None if call.overlap_key is None else _number_of(call.overlap_key),
                trace_context=current_context(),
            )
            execution_id = task_runs.create(run)
            if available_at <= now:
                became_runnable(run.queue)
            return execution_id, run.scheduled_time

        # No savepoint in the caller's transaction: thousands of them slow PostgreSQL down.
        return work() if connection.in_atomic_block else in_transaction(work)

    def run_of_task(self, execution_id: int) -> tuple[JobExecution, list[JobAttempt]] | None:
        """Returns the run of a task with its ended attempts, oldest first. None: there is none."""
        return task_runs.find(execution_id, prefix=PREFIX)


def _number_of(overlap_key: str) -> int:
    digest = hashlib.sha256(overlap_key.encode("utf-8", "surrogatepass")).digest()
    return -1 - (int.from_bytes(digest[:8], "big") >> 1)


def problem_of(path: str, queue: str, run_after: datetime | None) -> str | None:
    """Returns why no run of a task can be made with these values, or None."""
    if len(path) > LONGEST_PATH:
        return f"The path of the task has {len(path)} characters, at most {LONGEST_PATH} are kept."
    if problem := queue_problem(queue):
        return f"Queue {queue!r} {problem}."
    if problem := instant_problem(run_after):
        return f"run_after {problem}."
    return None
