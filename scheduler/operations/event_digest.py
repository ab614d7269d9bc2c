"""What an event asked for, in one short text: the same event again has the same digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from scheduler.models import JobExecution


def digest_of(*, handler_name: str, job_id: int | None, params: Any) -> str:
    """Returns the digest of an event as it was sent.

    `handler_name` is empty if the sender left it to the job, and `params` are not merged into the
    job's: an edit of the job does not make another event of the same one.
    """
    asked = json.dumps([handler_name, job_id, params], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(asked.encode()).hexdigest()


def is_answered_by(
    execution: JobExecution, *, digest: str, handler_name: str, job_id: int | None
) -> bool:
    """Whether `execution`, which has the event's key, is the run of this very event.

    Rows of versions before 0.2, and rows that SQL has written, have no digest. Their job and, if
    the event names one, their handler are compared, and their params are not.
    """
    if execution.dedupe_digest is not None:
        return execution.dedupe_digest == digest
    return execution.job_id == job_id and handler_name in ("", execution.handler_name)
