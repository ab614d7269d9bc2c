"""Jobs as a file would say them: only what differs from the defaults, in a stable order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from scheduler.models import CronJob
from scheduler.models.job_state import state_of
from scheduler.operations.definition import WITH_SECRETS, is_changed, values_of
from scheduler.operations.job_files.written import COLUMNS, ENABLED, JOBS, LONG
from scheduler.operations.masking import mask
from scheduler.states import JobState

# First what a reader looks for, then the others as the model has them.
_FIRST = ("cron_expression", "timezone", "handler_name", "handler_params")
_ORDER = (*_FIRST, *(name for name in COLUMNS if name not in _FIRST))


def document_of(jobs: Iterable[CronJob]) -> dict[str, Any]:
    """Returns a document that, applied to these jobs, changes nothing. Secrets are masked.

    A pause is left out, because it is for a time: the switch of such a job stays as it is.
    """
    return {JOBS: {job.name: _fields(job) for job in sorted(jobs, key=lambda job: job.name)}}


def _fields(job: CronJob) -> dict[str, Any]:
    values, defaults = values_of(job), values_of(CronJob())
    found = {}
    for name in _ORDER:
        if name == ENABLED:
            if state_of(job) == JobState.DISABLED:
                found[LONG[name]] = False
        elif is_changed(name, defaults[name], values[name]):
            value = mask(values[name]) if name in WITH_SECRETS else _plain(values[name])
            found[LONG.get(name, name)] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
