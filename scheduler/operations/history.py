"""What a person did, as an entry in Django's own log: the act and its entry, both or neither.

An entry's time is the database's, taken after the row's own instants: the two can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet

from scheduler.models import CronJob, JobExecution
from scheduler.store.connection import database_now
from scheduler.store.executions import FailedRange
from scheduler.store.jobs import StaleEdit
from scheduler.transient import in_transaction

__all__ = [
    "ADDITION",
    "CHANGE",
    "DELETION",
    "TRIES",
    "Words",
    "act",
    "of",
    "remember",
    "remember_range",
    "tells_of",
]

T = TypeVar("T")
TRIES: Final = 3
# An entry follows its act in the same transaction, which may have waited for a lock.
_WRITTEN_WITHIN: Final = timedelta(seconds=10)

# For people; or the changes of a job, as job_history makes them.
Words = str | list[dict[str, Any]]


def act(
    work: Callable[[], T],
    remember: Callable[[T], object],
    *,
    again_when_stale: bool = True,
) -> T:
    """Do it and write the history. Again when beat moved the job in between."""

    def both() -> T:
        done = work()
        remember(done)
        return done

    for _again in range(TRIES - 1 if again_when_stale else 0):
        try:
            return in_transaction(both)
        except StaleEdit:
            continue
    return in_transaction(both)


def remember(user_id: int, target: Model, flag: int, words: Words) -> LogEntry:
    return _write(
        user_id,
        type(target),
        object_id=str(target.pk),
        object_repr=str(target),
        action_flag=flag,
        change_message=words if isinstance(words, str) else json.dumps(words),
    )


def remember_range(
    user_id: int, failed: FailedRange, retried: int, job: CronJob | None, *, shown: str
) -> LogEntry:
    """A range was retried; `shown` is the range in words. The entry is about no single row."""
    statuses = ", ".join(sorted(failed.statuses))
    words = f"Retried a range: {retried} of {statuses}, job {job or 'any'}"
    return _write(
        user_id, JobExecution, object_repr=shown, action_flag=CHANGE, change_message=words
    )


def of(target: Model) -> QuerySet[LogEntry]:
    """The entries about a row, the newest first."""
    kind = ContentType.objects.get_for_model(target)
    found = LogEntry.objects.filter(content_type=kind, object_id=str(target.pk))
    return found.select_related("user").order_by("-id")


def tells_of(entry: LogEntry, written_at: datetime) -> bool:
    """Whether it is the entry of what was written then, and not of something before or after."""
    return bool(written_at <= entry.action_time <= written_at + _WRITTEN_WITHIN)


def _write(user_id: int, about: type[Model], *, object_repr: str, **values: Any) -> LogEntry:
    entry = LogEntry(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(about, for_concrete_model=False),
        object_repr=object_repr[:200],
        action_time=database_now(),
        **values,
    )
    entry.save()
    return entry
