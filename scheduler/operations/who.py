"""Who switched a job off, made it or cancelled a run: read from the entries of `jobu_activity`.

An entry says it by its verb and its facts, which operations have written (base.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.models import Activity, CronJob, JobExecution
from scheduler.operations.history import definitions_in, facts_in, instant_in
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity

# The most entries of a job that are read to find who switched it off.
_SEARCHED: Final = 100


def who_switched_off(job: CronJob) -> str:
    """Returns who switched `job` off. Empty: the history does not know.

    The entry of a change has the instant that the change wrote on the row. So the search finds the
    entry of the newest change, and from it the one before. A change without an entry (by SQL or by
    beat) ends the search.
    """
    written_at: datetime | None = job.updated_at
    for entry in activity.of_target(TargetKind.JOB, job.pk)[:_SEARCHED]:
        if entry.at != written_at:
            continue  # it changed nothing
        is_on = _switched(entry)
        if is_on is not None:
            return "" if is_on else entry.actor
        written_at = instant_in(facts_in(entry).get("since"))
    return ""


@dataclass(frozen=True, kw_only=True)
class Off:
    """A job was off. `until`: the end that a pause had; None: it had none."""

    since: datetime
    by: str
    reason: str = ""
    until: datetime | None = None


def off_at(job_id: int, at: datetime) -> Off | None:
    """Returns how the job was off at an instant of the past, by its history.

    None: it was on, or the history does not know.
    """
    entries = activity.of_target(TargetKind.JOB, job_id).filter(at__lte=at)
    for entry in entries[:_SEARCHED]:
        is_on = _switched(entry)
        if is_on is None:
            continue
        facts = facts_in(entry)
        until = instant_in(facts.get("until"))
        if is_on or (until is not None and until <= at):  # beat has ended the pause
            return None
        reason = facts.get("reason")
        return Off(
            since=entry.at,
            by=entry.actor,
            reason=reason if isinstance(reason, str) else "",
            until=until,
        )
    return None


def who_created(job_id: int) -> str:
    """Returns who made a job. Empty: the history does not know."""
    verbs = (ActivityVerb.CREATED.value, ActivityVerb.CLONED.value)
    entry = activity.of_target(TargetKind.JOB, job_id).filter(verb__in=verbs).first()
    return entry.actor if entry else ""


def who_cancelled(execution: JobExecution) -> str:
    """Returns who asked to cancel the execution. Empty: the history does not know."""
    return who_cancelled_at(execution.pk, execution.cancel_requested_at)


def who_cancelled_at(execution_id: int, asked_at: datetime | None) -> str:
    """The same by the id, and the instant at which it was asked for."""
    if asked_at is None:
        return ""
    entries = activity.of_target(TargetKind.EXECUTION, execution_id).filter(
        verb=ActivityVerb.CANCELLED.value, at=asked_at
    )
    entry = entries.first()
    return entry.actor if entry else ""


def _switched(entry: Activity) -> bool | None:
    """Returns True if the entry switched the job on, False if it switched it off, else None."""
    match entry.verb:
        case ActivityVerb.ENABLED:
            return True
        case ActivityVerb.DISABLED | ActivityVerb.PAUSED:
            return False
        case ActivityVerb.CHANGED:
            before, after = definitions_in(facts_in(entry))
            is_on: bool | None = after.get("is_enabled")
            return is_on if is_on != before.get("is_enabled") else None
        case _:
            return None
