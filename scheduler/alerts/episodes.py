"""Alerts open and close, and people are told: within the transaction of whoever found it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from scheduler.alert_states import WATCHERS, AlertEnd, AlertEvent, AlertKind, AlertState
from scheduler.alerts.announcing import announce
from scheduler.alerts.condition import Condition
from scheduler.alerts.rules import JobRules
from scheduler.events import emit
from scheduler.models import Alert
from scheduler.operations.redaction import Redactor
from scheduler.store import alert_findings, alerts
from scheduler.store.alert_findings import Told

#: Whoever closes an alert by hand whose cause is still there is told again after this.
CLOSED_BY_HAND_FOR: Final = timedelta(hours=1)
_ERROR_LENGTH: Final = 300


def job_key(job_id: int) -> str:
    """Returns the subject of an alert about a job."""
    return f"job:{job_id}"


def new_job_alert(
    kind: AlertKind,
    job: JobRules,
    *,
    at: datetime,
    execution_id: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Alert:
    """Returns an episode that is not written yet."""
    subject = job_key(job.job_id)
    return Alert(
        kind=kind.value,
        subject_key=subject,
        open_key=f"{kind.value}:{subject}",
        job_id=job.job_id,
        job_name=job.name,
        queue=job.queue,
        owner=job.owner,
        execution_id=execution_id,
        last_execution_id=execution_id,
        opened_at=at,
        last_seen_at=at,
        facts=dict(facts or {}),
    )


def open_alerts(
    new: Sequence[Alert], jobs: Mapping[int, JobRules], *, now: datetime
) -> list[Alert]:
    """Writes new episodes of jobs and tells of those that nobody else has opened."""
    _add_what_runs_say(new)
    opened = alerts.open_all(new)
    _tell(opened, AlertEvent.OPENED, jobs, now)
    _log(opened, opened=True)
    return opened


def close_alerts(
    closed: Sequence[Alert], reason: AlertEnd, jobs: Mapping[int, JobRules], *, now: datetime
) -> None:
    """Closes locked alerts. Tells of the end where the job's rules ask for it."""
    alerts.close_all(closed, reason, default_at=now)
    _log(closed, opened=False)
    told = [alert for alert in closed if _tells_its_end(alert, jobs)]
    _tell(told, AlertEvent.CLOSED, jobs, now)


def end_snoozes(
    jobs_of: Callable[[Collection[int]], Mapping[int, JobRules]], *, now: datetime, limit: int
) -> None:
    """Alerts whose snooze is over are open again, and people are told.

    `jobs_of`: returns the rules of jobs, by id.
    """
    over = alerts.lock_open(ids=ids) if (ids := alerts.snoozes_over(now, limit)) else []
    for alert in over:
        alert.state, alert.snoozed_until, alert.snoozed_by = AlertState.OPEN.value, None, ""
        alerts.write(alert, "state", "snoozed_until", "snoozed_by")
    jobs = jobs_of({alert.job_id for alert in over if alert.job_id is not None})
    _tell(over, AlertEvent.REMINDED, jobs, now)


def _tells_its_end(alert: Alert, jobs: Mapping[int, JobRules]) -> bool:
    if alert.kind in WATCHERS:
        return True
    job = jobs.get(alert.job_id) if alert.job_id is not None else None
    return job is not None and bool(job.rules.recovered)


def _tell(
    told: Sequence[Alert], event: AlertEvent, jobs: Mapping[int, JobRules], now: datetime
) -> None:
    if not told:
        return
    channels = {
        alert.pk: names
        for alert in told
        if alert.job_id is not None
        and (job := jobs.get(alert.job_id)) is not None
        and (names := job.rules.channels)
    }
    announce(told, event, channels=channels, now=now)


def _log(told: Sequence[Alert], *, opened: bool) -> None:
    for alert in told:
        subject = alert.job_name or alert.subject_key
        emit(
            "alert.opened" if opened else "alert.closed",
            alert_id=alert.pk,
            kind=alert.kind,
            subject=subject,
        )


def _add_what_runs_say(new: Iterable[Alert]) -> None:
    """Adds what messages tell of the run: its error's first line, without secrets."""
    runs = {alert.last_execution_id for alert in new if alert.last_execution_id is not None}
    told = alert_findings.told(runs) if runs else {}
    for alert in new:
        run = told.get(alert.last_execution_id) if alert.last_execution_id is not None else None
        if run is not None:
            alert.queue = run.queue
            alert.facts = {**_facts_of(run), **alert.facts}


def _facts_of(run: Told) -> dict[str, Any]:
    lines = Redactor(run.params).text(run.error).strip().splitlines()
    return {
        "status": run.status,
        "scheduled_time": run.scheduled_time.isoformat(),
        "attempts": run.attempts,
        "reason_code": run.reason_code,
        "reason_facts": run.reason_facts,
        "error": lines[0][:_ERROR_LENGTH] if lines else "",
    }


# --- the scheduler itself -------------------------------------------------------------------------


def settle_conditions(seen: Collection[Condition], gone: Collection[int], *, now: datetime) -> None:
    """Opens an alert for each condition, and closes those with the ids `gone`, if they are open.

    To be called in a transaction.
    """
    keys = {condition.open_key for condition in seen}
    by_hand = alerts.closed_by_hand(keys, now - CLOSED_BY_HAND_FOR) if keys else set()
    new = [_of_condition(each, now) for each in seen if each.open_key not in by_hand]
    open_alerts(new, {}, now=now)
    closed = alerts.lock_open(ids=gone) if gone else []
    close_alerts(closed, AlertEnd.CONDITION_GONE, {}, now=now)


def _of_condition(condition: Condition, now: datetime) -> Alert:
    return Alert(
        kind=condition.kind.value,
        subject_key=condition.subject_key,
        open_key=condition.open_key,
        queue=condition.queue,
        opened_at=now,
        last_seen_at=now,
        facts=dict(condition.facts),
    )
