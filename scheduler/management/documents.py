"""Jobs, executions and backfills as plain values, which `--json` prints. Secrets are masked.

The names are the same as in the REST API, so that a script can use either of the two.
"""

from __future__ import annotations

from typing import Any

from handlers import BaseHandler
from handlers.validation import json_schema
from scheduler.management.output import exact
from scheduler.models import LISTS, Activity, Backfill, CronJob, JobAttempt, JobExecution, JobLog
from scheduler.models.job_state import state_of
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.definition import WITH_SECRETS
from scheduler.operations.history import describe, facts_of
from scheduler.operations.masking import mask
from scheduler.operations.waiting_words import in_words
from scheduler.store import approvals
from scheduler.store.connection import database_now
from scheduler.store.shards import counts_of

# All columns of a job except those that only beat needs.
_JOB = [
    *(
        column.name
        for column in CronJob._meta.concrete_fields
        if column.name not in (*WITH_SECRETS, "missed_from")
    ),
    *LISTS,
]
_EXECUTION = (
    "id", "job_id", "job_name", "handler_name", "scheduled_time", "logical_time",
    "slot_at", "status", "reason_code", "param_source", "requested_by", "backfill_id", "parent_id",
    "shard", "shard_count", "attempt", "max_retry", "started_at", "finished_at", "progress",
    "progress_message", "created_at",
)  # fmt: skip
_EXECUTION_MORE = (
    "error_message", "reason_facts", "queue", "priority", "timeout_seconds", "available_at",
    "lease_expires_at", "deadline_at", "cancel_requested_at", "overran",
)  # fmt: skip
_BACKFILL = (
    "id", "job_id", "since", "until", "order", "parallelism", "only_missing", "ignores_overlap",
    "per_minute", "group_id", "state", "cursor", "total", "made", "error", "requested_by",
    "created_at", "ended_at",
)  # fmt: skip
_ACTIVITY = (
    "id", "at", "actor", "user_id", "door", "verb", "target_kind", "target_id", "target_name",
)  # fmt: skip
_ATTEMPT = (
    "attempt",
    "outcome",
    "worker",
    "started_at",
    "ended_at",
    "error",
    "exception_class",
    "traceback",
)

Facts = dict[str, Any]


def job_facts(job: CronJob) -> Facts:
    found = {name: getattr(job, name) for name in _JOB}
    # SQL may have written 1 instead of true.
    found["is_enabled"] = bool(job.is_enabled)
    masked = {name: mask(getattr(job, name)) for name in WITH_SECRETS}
    return {**found, "state": state_of(job), **masked}


def execution_facts(execution: JobExecution) -> Facts:
    found = {name: getattr(execution, name) for name in _EXECUTION}
    return {
        **found,
        "retry_count": execution.failures,
        "duration_seconds": duration(execution),
    }


def execution_details(execution: JobExecution) -> Facts:
    return {
        **execution_facts(execution),
        **{name: getattr(execution, name) for name in _EXECUTION_MORE},
        "explanation": in_words(execution, database_now(), exact),
        "shards": counts_of(execution.pk) if execution.shard_count is not None else {},
        "approval": approval_facts(execution),
        "worker": execution.lease_owner,
        "idempotency_key": execution.dedupe_key,
        "params": mask(execution.params),
        "result": mask(execution.result),
        "attempts": [
            attempt_facts(each)
            for each in JobAttempt.objects.filter(execution_id=execution.pk).order_by("attempt")
        ],
    }


def approval_facts(execution: JobExecution) -> Facts | None:
    found = approvals.of_run(execution.pk)
    if found is None:
        return None
    names = ("state", "expires_at", "decided_by", "decided_at", "note")
    known = {name: getattr(found, name) for name in names}
    return {**known, "digest": digest_of_params(execution)}


def duration(execution: JobExecution) -> float | None:
    if execution.started_at is None or execution.finished_at is None:
        return None
    return max(0.0, (execution.finished_at - execution.started_at).total_seconds())


def attempt_facts(attempt: JobAttempt) -> Facts:
    return {name: getattr(attempt, name) for name in _ATTEMPT}


def log_facts(line: JobLog) -> Facts:
    return {
        "execution_id": line.execution_id,
        "attempt": line.attempt,
        "seq": line.seq,
        "at": line.at,
        "level": line.level,
        "message": line.message,
    }


def backfill_facts(backfill: Backfill) -> Facts:
    return {
        **{name: getattr(backfill, name) for name in _BACKFILL},
        "params": mask(backfill.params),
    }


def activity_facts(entry: Activity) -> Facts:
    return {
        **{name: getattr(entry, name) for name in _ACTIVITY},
        "text": describe(entry, exact),
        "facts": facts_of(entry, sees_params=True),
    }


def handler_facts(name: str, cls: type[BaseHandler]) -> Facts:
    return {
        "name": name,
        "description": cls.description,
        "module": cls.__module__,
        "databases": list(cls.databases),
        "params": _params_of(cls),
    }


def _params_of(cls: type[BaseHandler]) -> list[Facts]:
    schema = json_schema(cls)
    required = schema.get("required", ())
    return [{"name": name, "required": name in required} for name in schema.get("properties", {})]


def handler_details(name: str, cls: type[BaseHandler]) -> Facts:
    return {
        **handler_facts(name, cls),
        "class": cls.__qualname__,
        "doc": (cls.__doc__ or "").strip(),
        "params_schema": json_schema(cls),
    }
