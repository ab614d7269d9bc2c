"""Rules about what lasts: a run that waits, a run that goes on, a job that was switched off.

Each look compares what is so now with the open alerts: what is new opens one, what is over closes
it. So it needs no memory of the looks before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from scheduler.alert_states import AlertEnd, AlertKind
from scheduler.alerts.episodes import (
    CLOSED_BY_HAND_FOR,
    close_alerts,
    end_snoozes,
    new_job_alert,
    open_alerts,
)
from scheduler.alerts.rules import JobRules, jobs_with_rules, rules_of
from scheduler.conf import AlertSettings
from scheduler.models import Alert, AlertCursor
from scheduler.states import RunStatus
from scheduler.store import alert_findings, alerts
from scheduler.store.recent_runs import recent_runs
from scheduler.transient import in_transaction

CURSOR: Final = "standing"
#: How often beats look, all together.
EVERY: Final = timedelta(seconds=5)
#: Alerts that one look opens, and those that it closes. The next one goes on.
LIMIT: Final = 500
# Jobs that one look reads. One queue that stands must not hide the jobs of another.
_MOST_READ: Final = 10_000
_KINDS: Final = (
    AlertKind.NOT_STARTED,
    AlertKind.TOO_LONG,
    AlertKind.SWITCHED_OFF,
    AlertKind.AWAITS_APPROVAL,
)
# How many of a job's last runs are looked at for its p95, how many it needs, and how long it holds.
_P95_RUNS: Final = 200
P95_NEEDS: Final = 20
_P95_SECONDS: Final = 300.0


class Durations:
    """The p95 of jobs' successful runs, each read at most once in five minutes."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[int, tuple[float, float | None]] = {}

    def p95(self, job_ids: Collection[int]) -> dict[int, float]:
        """Returns the seconds by job. Jobs with too few successful runs are left out."""
        now = self._monotonic()
        self._known = {
            id_: known for id_, known in self._known.items() if now - known[0] < _P95_SECONDS
        }
        if missing := sorted(set(job_ids) - self._known.keys()):
            runs = recent_runs(missing, _P95_RUNS)
            for job_id in missing:
                took = sorted(
                    run.took_seconds
                    for run in runs.get(job_id, ())
                    if run.status == RunStatus.SUCCESS and run.took_seconds is not None
                )
                p95 = took[int(len(took) * 0.95)] if len(took) >= P95_NEEDS else None
                self._known[job_id] = now, p95
        found = {id_: self._known[id_][1] for id_ in job_ids}
        return {id_: p95 for id_, p95 in found.items() if p95 is not None}


@dataclass
class _Found:
    """What is so now, by the key of the alert."""

    jobs: dict[int, JobRules] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)

    def add(
        self, kind: AlertKind, job: JobRules, now: datetime, execution_id: int | None, **facts: Any
    ) -> None:
        alert = new_job_alert(kind, job, at=now, execution_id=execution_id, facts=facts)
        self.alerts.setdefault(str(alert.open_key), alert)  # the longest one comes first


def look(read: AlertCursor, settings: AlertSettings, durations: Durations, now: datetime) -> None:
    """One look. What it reads is read before its transaction, which is short."""
    found = _find(settings, durations, now)
    there = alerts.open_of(_KINDS, _MOST_READ)
    over = _over(there, found.alerts)
    known = {alert.open_key for alert in there}
    new = {key: alert for key, alert in found.alerts.items() if key not in known}
    moved = _moved(there, found.alerts)
    by_hand = alerts.closed_by_hand(new.keys(), now - CLOSED_BY_HAND_FOR) if new else set()
    gone = alerts.without_job(LIMIT)

    def work() -> None:
        if not alerts.advance(read, now, {}):
            return  # another beat looks
        closed = alerts.lock_open(ids=over[:LIMIT]) if over else []
        jobs = rules_of({alert.job_id for alert in closed if alert.job_id}, settings)
        close_alerts(closed, AlertEnd.CONDITION_GONE, jobs, now=now)
        if gone:
            close_alerts(alerts.lock_open(ids=gone), AlertEnd.JOB_DELETED, {}, now=now)
        _see_again(moved, now)
        episodes = [alert for key, alert in new.items() if key not in by_hand]
        open_alerts(episodes[:LIMIT], found.jobs, now=now)
        end_snoozes(lambda ids: rules_of(ids, settings), now=now, limit=LIMIT)

    in_transaction(work)


def _find(settings: AlertSettings, durations: Durations, now: datetime) -> _Found:
    found = _Found()
    if not settings.are_on:
        return found  # what is open still ends
    with_rules = jobs_with_rules(settings)
    waiting = alert_findings.waiting(now, with_rules, _MOST_READ)
    running = alert_findings.running(now, with_rules, _MOST_READ)
    errors = alert_findings.switched_off(with_rules, _MOST_READ)
    asking = alert_findings.awaiting_approval(with_rules, _MOST_READ)
    ids = {run.job_id for run, _jitter in waiting} | {run.job_id for run in (*running, *asking)}
    ids |= {*errors}
    found.jobs = rules_of(ids, settings)
    for run, jitter in waiting:
        job = found.jobs.get(run.job_id)
        seconds = (now - run.since).total_seconds()
        limit = job.rules.not_started_seconds if job else None
        if job and limit is not None and seconds - jitter > limit:
            found.add(AlertKind.NOT_STARTED, job, now, run.execution_id, seconds=seconds)
    p95 = durations.p95(
        {
            run.job_id
            for run in running
            if (job := found.jobs.get(run.job_id)) and job.rules.longer_than_p95_factor
        }
    )
    for run in running:
        job = found.jobs.get(run.job_id)
        seconds = (now - run.since).total_seconds()
        if job and (limits := _limits(job, p95.get(run.job_id))) and seconds > min(limits):
            facts = {"seconds": seconds, "limit_seconds": min(limits)}
            found.add(AlertKind.TOO_LONG, job, now, run.execution_id, **facts)
    for run in asking:
        if (job := found.jobs.get(run.job_id)) and job.rules.approval:
            seconds = (now - run.since).total_seconds()
            found.add(AlertKind.AWAITS_APPROVAL, job, now, run.execution_id, seconds=seconds)
    for job_id, error in errors.items():
        if (job := found.jobs.get(job_id)) and job.rules.switched_off:
            found.add(AlertKind.SWITCHED_OFF, job, now, None, error=error[:300])
    return found


def _limits(job: JobRules, p95: float | None) -> list[float]:
    factor = job.rules.longer_than_p95_factor
    by_history = p95 * factor if p95 is not None and factor is not None else None
    return [limit for limit in (job.rules.longer_than_seconds, by_history) if limit is not None]


def _over(there: Collection[Alert], found: Mapping[str, Alert]) -> list[int]:
    """The open alerts whose cause is gone. A rule that was switched off closes nothing early."""
    quiet = [alert for alert in there if alert.open_key not in found]
    runs = {
        kind: [alert.last_execution_id for alert in quiet if alert.kind == kind]
        for kind in (AlertKind.NOT_STARTED, AlertKind.TOO_LONG, AlertKind.AWAITS_APPROVAL)
    }
    lasting = {
        AlertKind.NOT_STARTED: alert_findings.still_waiting(_ids(runs[AlertKind.NOT_STARTED])),
        AlertKind.TOO_LONG: alert_findings.still_running(_ids(runs[AlertKind.TOO_LONG])),
        AlertKind.AWAITS_APPROVAL: alert_findings.still_asking(
            _ids(runs[AlertKind.AWAITS_APPROVAL])
        ),
    }
    off = [alert.job_id for alert in quiet if alert.kind == AlertKind.SWITCHED_OFF]
    still_off = alert_findings.still_switched_off(_ids(off)) if off else set()
    return [
        alert.pk
        for alert in quiet
        if (
            alert.job_id not in still_off
            if alert.kind == AlertKind.SWITCHED_OFF
            else alert.last_execution_id not in lasting[AlertKind(alert.kind)]
        )
    ]


def _ids(values: Collection[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _moved(there: Collection[Alert], found: Mapping[str, Alert]) -> dict[int, Alert]:
    """Open alerts that have another run to tell of now, by id."""
    moved = [
        (alert.pk, run)
        for alert in there
        if (run := found.get(str(alert.open_key))) is not None
        and run.last_execution_id != alert.last_execution_id
    ]
    return dict(moved[:LIMIT])


def _see_again(moved: Mapping[int, Alert], now: datetime) -> None:
    locked = alerts.lock_open(ids=moved.keys()) if moved else []
    for alert in locked:
        alert.count += 1
        alert.last_execution_id = moved[alert.pk].last_execution_id
        alert.last_seen_at = now
    alerts.see_again(locked)
