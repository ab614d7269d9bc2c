"""Rules about how runs end: failed, failed in a row, missed, skipped, and recovered.

Each look reads the ends since the last one. The windows overlap, because a worker's `now` is older
than its commit, and the cursor keeps which ends of the overlap were counted. It moves in the
transaction that writes the alerts: whatever ends a beat in between, nothing is repeated or lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from scheduler import failpoints
from scheduler.alert_rules import AlertRules
from scheduler.alert_states import CLOSED_BY_SUCCESS, AlertEnd, AlertKind
from scheduler.alerts.episodes import close_alerts, job_key, new_job_alert, open_alerts
from scheduler.alerts.rules import JobRules, jobs_with_rules, rules_of
from scheduler.conf import AlertSettings
from scheduler.models import Alert, AlertCursor
from scheduler.states import ReasonCode, RunStatus
from scheduler.store import alert_findings, alerts
from scheduler.store.alert_findings import Ended
from scheduler.store.recent_runs import RecentRun, recent_runs
from scheduler.transient import in_transaction

CURSOR: Final = "ended_runs"
#: Troubles of one look. What is left is read by the next one.
LIMIT: Final = 1000
_OVERLAP: Final = timedelta(seconds=10)
# After an outage of all beats a look reads about so many ends, however long the outage was.
_MOST_ENDS: Final = 20_000
_LONG: Final = timedelta(minutes=1)
_INSTANT: Final = timedelta(microseconds=1)
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
    is_full = False
    if now - start > _LONG and (end := alert_findings.nth_end(start, now, _MOST_ENDS)):
        is_full, until = True, end
    # Rows of the overlap that were counted before must not crowd out the others.
    limit = LIMIT + len(known)
    troubles = alert_findings.troubles(since, until, jobs_with_rules(settings), limit)
    if len(troubles) == limit:
        # Others of the same instant are read by the next look, whose window overlaps.
        is_full, until = True, troubles[-1].finished_at
    # At most four of each trouble. Each further one closes an alert, so that another look finds
    # others, also where it reads the same seconds again.
    limit = LIMIT + 4 * len(troubles)
    good = alert_findings.successes(since, until, {end.job_id for end in troubles}, limit)
    if len(good) == limit:
        is_full, until = True, good[-1].finished_at
    told = [end for end in troubles if end.key in known or end.finished_at <= until]
    seen = {end.key for end in told if end.finished_at > until - _OVERLAP}
    if is_full:  # what was counted and not read now may be read by the next look
        seen |= known - {end.key for end in troubles}
    new = [end for end in told if end.key not in known]
    until = max(until, start)
    return Window(
        ends=sorted([*new, *good], key=lambda end: (end.finished_at, end.execution_id)),
        # Never where it was: another beat that has read there, too, would write the same.
        until=until if until != read.at else until + _INSTANT,
        seen=seen,
        is_full=is_full,
    )


def _streaks(ends: Sequence[Ended], jobs: Mapping[int, JobRules]) -> dict[int, int]:
    """How many runs had failed in a row when each run ended, where a rule asks for it. By run."""
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
    return {id_: streak for runs in found.values() for id_, streak in _counted(runs)}


def _counted(runs: Iterable[RecentRun]) -> Iterator[tuple[int, int]]:
    failures = 0
    for run in runs:
        if run.status == RunStatus.SUCCESS:
            failures = 0
        elif run.status in _FAILURES:
            failures += 1
            yield run.execution_id, failures


def _write(
    ends: Sequence[Ended], jobs: Mapping[int, JobRules], streaks: Mapping[int, int], now: datetime
) -> None:
    story = _Story(jobs, streaks)
    for alert in alerts.lock_open(job_ids={end.job_id for end in ends}, kinds=CLOSED_BY_SUCCESS):
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
        for kind in _kinds_of(end, job.rules, self.streaks.get(end.execution_id, 0)):
            alert = self.open.get(f"{kind.value}:{job_key(end.job_id)}")
            if alert is None:
                self._open(kind, job, end)
            else:
                self._see(alert, end)

    def success(self, end: Ended) -> None:
        for kind in CLOSED_BY_SUCCESS:
            key = f"{kind.value}:{job_key(end.job_id)}"
            alert = self.open.get(key)
            if alert is not None and end.finished_at > alert.last_seen_at:
                del self.open[key]
                alert.closed_at = end.finished_at
                alert.facts = {**alert.facts, "recovered_by": end.execution_id}
                self._close(alert)

    def _open(self, kind: AlertKind, job: JobRules, end: Ended) -> None:
        is_row = kind == AlertKind.FAILED_IN_A_ROW
        facts = {"runs": self.streaks[end.execution_id]} if is_row else {}
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
