"""What an event asked for, in one short text: the same event again has the same digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from scheduler.models import JobExecution
from scheduler.operations.start_time import AT_ONCE, StartTime


def digest_of(
    *, handler_name: str, job_id: int | None, params: Any, time: StartTime = AT_ONCE
) -> str:
    """Returns the digest of an event as it was sent.

    `handler_name` is empty if the sender left it to the job, and `params` are not merged into the
    job's: an edit of the job does not make another event of the same one. So it is with a time that
    counts from the arrival of the event: "in an hour" is the same text when it is sent again.
    """
    event: list[Any] = [handler_name, job_id, params]
    if time != AT_ONCE:  # without it, the digests of events without a time are those of 0.1
        event.append(time.as_text())
    asked = json.dumps(event, sort_keys=True, separators=(",", ":"))
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
