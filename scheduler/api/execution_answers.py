"""An execution as the API returns it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from ninja import Path

from scheduler.api.auth import Caller
from scheduler.api.schemas.base import utc_text
from scheduler.models import LARGEST_ID, JobExecution
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.masking import mask
from scheduler.operations.permissions import Action
from scheduler.operations.waiting_words import in_words
from scheduler.store import approvals
from scheduler.store.connection import database_now
from scheduler.store.shards import counts_of

ExecutionId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]
LISTED: Final = (
    "id", "job_id", "job_name", "handler_name", "scheduled_time", "logical_time", "status",
    "param_source", "requested_by", "backfill_id", "parent_id", "shard", "shard_count",
    "reason_code", "attempt", "failures", "max_retry",
    "started_at", "finished_at", "progress", "progress_message", "created_at",
)  # fmt: skip


def listed(execution: JobExecution) -> dict[str, Any]:
    values = {name: getattr(execution, name) for name in LISTED if name != "failures"}
    took = None
    if execution.started_at and execution.finished_at:
        took = max(0.0, (execution.finished_at - execution.started_at).total_seconds())
    values["slot_at"] = execution.slot_at
    return {**values, "retry_count": execution.failures, "duration_seconds": took}


def answered(execution: JobExecution, caller: Caller) -> dict[str, Any]:
    """Returns the body of the answer to a verb: only what the caller needs to know of its own act,
    unless it may see executions.
    """
    if caller.may(Action.VIEW_EXECUTIONS):
        return detail(execution, caller)
    return {"id": execution.pk, "status": execution.status}


def detail(execution: JobExecution, caller: Caller) -> dict[str, Any]:
    """Returns an execution as a body. Hides what the caller may not see."""
    may_see = caller.may(Action.VIEW_PARAMS)
    return {
        **listed(execution),
        "params": mask(execution.params) if may_see else None,
        "result": mask(execution.result) if may_see else None,
        "error_message": execution.error_message,
        "reason_facts": execution.reason_facts,
        "idempotency_key": execution.dedupe_key,
        "queue": execution.queue,
        "priority": execution.priority,
        "timeout_seconds": execution.timeout_seconds,
        "available_at": execution.available_at,
        "worker": execution.lease_owner,
        "lease_expires_at": execution.lease_expires_at,
        "deadline_at": execution.deadline_at,
        "cancel_requested_at": execution.cancel_requested_at,
        "overran": execution.overran,
        "shards": counts_of(execution.pk) if execution.shard_count is not None else {},
        "approval": _approval(execution),
        "explanation": in_words(execution, database_now(), utc_text),
    }


def _approval(execution: JobExecution) -> dict[str, Any] | None:
    found = approvals.of_run(execution.pk)
    if found is None:
        return None
    names = ("state", "expires_at", "decided_by", "decided_at", "note")
    known = {name: getattr(found, name) for name in names}
    return {**known, "digest": digest_of_params(execution)}
