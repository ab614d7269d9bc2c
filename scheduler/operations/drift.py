"""Whether a job is still as its file has set it, and who has edited it since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.models import AppliedJob, CronJob
from scheduler.operations.definition import WITH_SECRETS, definition_of, values_of
from scheduler.operations.history import Change, changes_between
from scheduler.operations.masking import mask
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity, applied

# What changes a definition, or its switch.
_EDITS: Final = (
    ActivityVerb.CHANGED,
    ActivityVerb.ENABLED,
    ActivityVerb.DISABLED,
    ActivityVerb.PAUSED,
    ActivityVerb.RESUMED,
)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A job that a file keeps. `changes`: how it differs from the file; empty if it does not.

    `edited_by` and `edited_at`: the newest edit since then. None: the history has none, as after
    an UPDATE by SQL.
    """

    source: str
    applied_at: datetime
    applied_by: str
    changes: list[Change]
    edited_by: str | None = None
    edited_at: datetime | None = None


def drift_of(job: CronJob, *, sees_params: bool, longest: int | None = None) -> Drift | None:
    """Returns how a job differs from what its file has set last. None: no file keeps it."""
    row = applied.of_job(job.pk)
    if row is None:
        return None
    return drift_from(row, job, sees_params=sees_params, longest=longest)


def drift_from(
    row: AppliedJob, job: CronJob, *, sees_params: bool, longest: int | None = None
) -> Drift:
    """As `drift_of`, for a caller that has read the row."""
    kept = row.definition if isinstance(row.definition, Mapping) else {}
    # An older release may have kept what is a secret for this one.
    was = {name: mask(value) if name in WITH_SECRETS else value for name, value in kept.items()}
    # The file does not decide the other fields.
    now = {name: value for name, value in definition_of(values_of(job)).items() if name in was}
    changes = changes_between(was, now, sees_params=sees_params, longest=longest)
    drift = Drift(
        source=row.source, applied_at=row.applied_at, applied_by=row.applied_by, changes=changes
    )
    if not changes:
        return drift
    edits = activity.of_target(TargetKind.JOB, job.pk).filter(
        verb__in=[verb.value for verb in _EDITS], at__gt=row.applied_at
    )
    edit = edits.first()
    if edit is None:
        return drift
    return Drift(
        source=row.source, applied_at=row.applied_at, applied_by=row.applied_by, changes=changes,
        edited_by=edit.actor, edited_at=edit.at,
    )  # fmt: skip
