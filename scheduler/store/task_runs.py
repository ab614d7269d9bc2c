"""Runs of tasks: a row per call, and the row with its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scheduler.models import JobAttempt, JobExecution
from scheduler.states import ParamSource
from scheduler.store.connection import insert_one, to_json


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """A PENDING execution without a job."""

    handler_name: str
    params: Mapping[str, Any]
    now: datetime
    available_at: datetime
    max_retry: int
    timeout_seconds: int
    queue: str
    priority: int
    overlap_key: int | None = None
    trace_context: str | None = None

    @property
    def scheduled_time(self) -> datetime:
        # Slots are whole seconds. These never are.
        return self.now if self.now.microsecond else self.now + timedelta(microseconds=1)


_INSERT = """
INSERT INTO job_executions
       (handler_name, params, param_source, scheduled_time, created_at, available_at, max_retry,
        timeout_seconds, queue, priority, overlap_key, trace_context)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def create(run: NewRun) -> int:
    """One INSERT, in the transaction that is open. Returns the id.

    Without a job nothing is unique in the row, so unlike `create_execution` it needs no savepoint.
    """
    return insert_one(
        _INSERT,
        [
            run.handler_name,
            to_json(run.params),
            ParamSource.EVENT,
            run.scheduled_time,
            run.now,
            run.available_at,
            run.max_retry,
            run.timeout_seconds,
            run.queue,
            run.priority,
            run.overlap_key,
            run.trace_context,
        ],
    )


def find(execution_id: int, *, prefix: str) -> tuple[JobExecution, list[JobAttempt]] | None:
    """The execution, if its handler's name begins with `prefix`, and its ended attempts."""
    row = JobExecution.objects.filter(id=execution_id).first()
    if row is None or not row.handler_name.startswith(prefix):
        return None
    attempts = JobAttempt.objects.filter(execution_id=execution_id).order_by("attempt")
    return row, list(attempts)
