"""Switches of jobs between jobu and an old system: rows of `jobu_job_switches`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.models import CronJob, JobSwitch
from scheduler.states import OldSide, SwitchDirection, SwitchState

LONGEST_ERROR = 500


def of_job(job_id: int) -> JobSwitch | None:
    return JobSwitch.objects.filter(job_id=job_id).first()


def unfinished(limit: int) -> list[JobSwitch]:
    """Returns the switches that have not ended, the oldest first."""
    states = [state for state in SwitchState if state != SwitchState.DONE]
    return list(JobSwitch.objects.filter(state__in=states).order_by("since", "job_id")[:limit])


def left_alone(before: datetime, limit: int) -> list[JobSwitch]:
    """Returns the switches that jobu writes in the old system, and that have not moved since
    `before`. Those with an error come last: they must not hold up the others.
    """
    states = [state for state in SwitchState if state != SwitchState.DONE]
    rows = JobSwitch.objects.filter(
        state__in=states, old_side=OldSide.WRITTEN.value, at__lte=before
    )
    return list(rows.order_by("error", "at", "job_id")[:limit])


def unfinished_jobs(limit: int) -> list[tuple[int, str, datetime]]:
    """Returns id and name of the jobs whose switches have not ended, and since when."""
    found = {switch.job_id: switch.since for switch in unfinished(limit)}
    names = CronJob.objects.filter(id__in=found).values_list("id", "name") if found else ()
    return [(job_id, name, found[job_id]) for job_id, name in names]


def begin(
    job_id: int,
    *,
    direction: SwitchDirection,
    state: SwitchState,
    old_side: OldSide,
    source: str,
    who: str,
    now: datetime,
    last_run_at: datetime | None = None,
) -> None:
    """Write the row of a new switch. The job must be locked. An earlier switch is replaced."""
    values: dict[str, Any] = {
        "direction": direction,
        "state": state,
        "old_side": old_side,
        "source": source,
        "since": now,
        "at": now,
        "who": who[:150],
        "error": "",
        "last_run_at": last_run_at,
        "runs": None,
    }
    if not JobSwitch.objects.filter(job_id=job_id).update(**values):
        JobSwitch.objects.create(job_id=job_id, **values)


def move(switch: JobSwitch, to: SwitchState, *, now: datetime, **values: Any) -> bool:
    """Write the next state of a switch. False: somebody else has moved it meanwhile."""
    same = JobSwitch.objects.filter(
        job_id=switch.job_id, state=switch.state, since=switch.since, direction=switch.direction
    )
    return same.update(state=to, at=now, error="", **values) == 1


def set_old_side(switch: JobSwitch, old_side: OldSide) -> None:
    """Note who writes into the old system from the next step on."""
    switch.old_side = old_side.value
    JobSwitch.objects.filter(job_id=switch.job_id, since=switch.since).update(old_side=old_side)


def fail(switch: JobSwitch, error: str) -> None:
    """Note why a step has failed. The state stays."""
    rows = JobSwitch.objects.filter(job_id=switch.job_id, since=switch.since)
    rows.update(error=error[:LONGEST_ERROR])
