"""Rules about how runs end: failed, failed in a row, missed, skipped, and recovered.

Each look reads the ends since the last one. The windows overlap, because a worker's `now` is older
than its commit, and the cursor keeps which ends of the overlap were counted. It moves in the
transaction that writes the alerts: whatever ends a beat in between, nothing is repeated or lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from scheduler import failpoints
from scheduler.alert_rules import AlertRules
from scheduler.alerts.episodes import close_alerts, job_key, new_job_alert, open_alerts
from scheduler.alerts.rules import JobRules, jobs_with_rules, rules_of
from scheduler.conf import AlertSettings
from scheduler.models import Alert, AlertCursor
from scheduler.states import AlertEnd, AlertKind, ReasonCode, RunStatus
from scheduler.store import alert_findings, alerts
from scheduler.store.alert_findings import Ended
from scheduler.store.recent_runs import recent_runs
from scheduler.transient import in_transaction

CURSOR: Final = "ended_runs"
#: Troubles of one look. What is left is read by the next one.
LIMIT: Final = 1000
#: These end with the next success of the job.
KINDS: Final = (
    AlertKind.FAILED,
    AlertKind.FAILED_IN_A_ROW,
    AlertKind.MISSED,
    AlertKind.SKIPPED,
)
_OVERLAP: Final = timedelta(seconds=10)
_FAILURES: Final = frozenset({RunStatus.FAILED, RunStatus.TIMEOUT})


@dataclass(frozen=True, kw_only=True)
class Window:
    """The ends that one look has read, in order, and where the next one begins."""

    ends: Sequence[Ended]
    until: datetime
    seen: Collection[str]
    is_full: bool


def look(read: AlertCursor, settings: AlertSettings, *, now: datetime) -> bool:
    """One look, in a transaction of its own if there is anything to write.

    Returns whether there is more to read.
    """
    window = _read(read, settings, now)
    jobs = rules_of({end.job_id for end in window.ends}, settings)
    streaks = _streaks(window.ends, jobs)

    def work() -> None:
        if not alerts.advance(read, window.until, {"seen": sorted(window.seen)}):
            return  # another beat has read them
        failpoints.point("alerts.advanced")
        if window.ends:
            _write(window.ends, jobs, streaks, now)
            failpoints.point("alerts.written")

    in_transaction(work)
    if window.ends:
        failpoints.point("alerts.committed")
    return window.is_full


def _read(read: AlertCursor, settings: AlertSettings, now: datetime) -> Window:
    assert read.at is not None
    known = set(read.facts.get("seen", ()))
    start = min(read.at, now)  # a clock that was set back
    since, until = start - _OVERLAP, now
    # Rows of the overlap that were counted before must not crowd out the others.
    limit = LIMIT + len(known)
    troubles = alert_findings.troubles(since, until, jobs_with_rules(settings), limit)
    is_full = len(troubles) == limit
    if is_full:
        # Others of the same instant are read by the next look, whose window overlaps.
        until = troubles[-1].finished_at
    good = alert_findings.successes(since, until, {end.job_id for end in troubles}, limit)
    if len(good) == limit:
        is_full, until = True, good[-1].finished_at
        troubles = [end for end in troubles if end.finished_at <= until]
    new = [end for end in troubles if end.key not in known]
    return Window(
        ends=sorted([*new, *good], key=lambda end: (end.finished_at, end.execution_id)),
        until=max(until, start),
        seen={end.key for end in troubles if end.finished_at > until - _OVERLAP},
        is_full=is_full,
    )


def _streaks(ends: Sequence[Ended], jobs: Mapping[int, JobRules]) -> dict[int, int]:
    """How many of the newest runs of each job have failed in a row, where a rule asks for it."""
    wanted = {
        end.job_id: rows
        for end in ends
        if end.status in _FAILURES
        and (job := jobs.get(end.job_id)) is not None
        and (rows := job.rules.failed_in_a_row) is not None
    }
    if not wanted:
        return {}
    # Slots that were skipped or wait lie between them.
    found = recent_runs(sorted(wanted), max(wanted.values()) * 2 + 10)
    return {job_id: _streak([run.status for run in runs]) for job_id, runs in found.items()}


def _streak(statuses: Sequence[str]) -> int:
    failures = 0
    for status in reversed(statuses):
        if status == RunStatus.SUCCESS:
            break
        failures += status in _FAILURES
    return failures


def _write(
    ends: Sequence[Ended], jobs: Mapping[int, JobRules], streaks: Mapping[int, int], now: datetime
) -> None:
    story = _Story(jobs, streaks)
    for alert in alerts.lock_open(job_ids={end.job_id for end in ends}, kinds=KINDS):
        story.known(alert)
    for end in ends:
        if end.status == RunStatus.SUCCESS:
            story.success(end)
        else:
            story.trouble(end)
    # In this order: an episode that has ended frees its key for the next one.
    alerts.see_again(list(story.seen_again.values()))
    close_alerts(story.closed, AlertEnd.RECOVERED, jobs, now=now)
    for episodes in story.new:
        opened = open_alerts(episodes, jobs, now=now)
        over = [alert for alert in opened if alert.closed_at is not None]
        close_alerts(over, AlertEnd.RECOVERED, jobs, now=now)


@dataclass
class _Story:
    """What becomes of the alerts of some jobs, end by end."""

    jobs: Mapping[int, JobRules]
    streaks: Mapping[int, int]
    open: dict[str, Alert] = field(default_factory=dict)
    seen_again: dict[int, Alert] = field(default_factory=dict)
    closed: list[Alert] = field(default_factory=list)
    # The first new episode of each key, then the second ones, and so on.
    new: list[list[Alert]] = field(default_factory=list)
    turns: Counter[str] = field(default_factory=Counter)

    def known(self, alert: Alert) -> None:
        self.open[str(alert.open_key)] = alert

    def trouble(self, end: Ended) -> None:
        job = self.jobs.get(end.job_id)
        if job is None:
            return  # deleted meanwhile
        for kind in _kinds_of(end, job.rules, self.streaks.get(end.job_id, 0)):
            alert = self.open.get(f"{kind.value}:{job_key(end.job_id)}")
            if alert is None:
                self._open(kind, job, end)
            else:
                self._see(alert, end)

    def success(self, end: Ended) -> None:
        for kind in KINDS:
            key = f"{kind.value}:{job_key(end.job_id)}"
            alert = self.open.get(key)
            if alert is not None and end.finished_at > alert.last_seen_at:
                del self.open[key]
                alert.closed_at = end.finished_at
                alert.facts = {**alert.facts, "recovered_by": end.execution_id}
                self._close(alert)

    def _open(self, kind: AlertKind, job: JobRules, end: Ended) -> None:
        facts = {"runs": self.streaks[end.job_id]} if kind == AlertKind.FAILED_IN_A_ROW else {}
        alert = new_job_alert(
            kind, job, at=end.finished_at, execution_id=end.execution_id, facts=facts
        )
        alert.count = facts.get("runs", 1)
        key = str(alert.open_key)
        self.open[key] = alert
        turn, self.turns[key] = self.turns[key], self.turns[key] + 1
        if turn == len(self.new):
            self.new.append([])
        self.new[turn].append(alert)

    def _see(self, alert: Alert, end: Ended) -> None:
        alert.count += 1
        alert.last_execution_id = end.execution_id
        alert.last_seen_at = max(alert.last_seen_at, end.finished_at)
        if alert.pk is not None:
            self.seen_again[alert.pk] = alert

    def _close(self, alert: Alert) -> None:
        if alert.pk is not None:
            self.seen_again.pop(alert.pk, None)
            self.closed.append(alert)


def _kinds_of(end: Ended, rules: AlertRules, streak: int) -> list[AlertKind]:
    found = []
    if end.status in _FAILURES:
        if rules.failed:
            found.append(AlertKind.FAILED)
        if rules.failed_in_a_row is not None and streak >= rules.failed_in_a_row:
            found.append(AlertKind.FAILED_IN_A_ROW)
    elif end.status == RunStatus.SKIPPED:
        if rules.missed and end.reason_code == ReasonCode.MISFIRE:
            found.append(AlertKind.MISSED)
        elif end.reason_code is not None and end.reason_code.value in (rules.skipped or ()):
            found.append(AlertKind.SKIPPED)
    return found
