"""Beat's step for check-ins: finds attempts that began or ended, and has them reported.

Each report is a row before it is sent, so a crash loses none, and UNIQUE, so that any number of
beats send it once. It is sent in a thread, and a service that is away delays nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from scheduler.alert_settings import CheckIn
from scheduler.alert_states import CheckInPhase, MessageState
from scheduler.alerts import outgoing
from scheduler.alerts.channels.base import DeliveryError
from scheduler.alerts.check_ins import services
from scheduler.alerts.check_ins.services import Report, services_of
from scheduler.alerts.errands import Errands
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.models import AlertCursor, CheckInPing
from scheduler.schedule.full_text import spread_text
from scheduler.states import AttemptOutcome
from scheduler.store import alerts, check_ins
from scheduler.store.check_ins import Attempt, ReportingJob
from scheduler.transient import in_transaction

CURSOR: Final = "check_ins"
#: A worker's commit may come later than those of larger ids: so far back ends are read again.
_OVERLAP: Final = timedelta(seconds=10)
_SEND_SECONDS: Final = 10.0
_AT_ONCE: Final = 20
# Ended attempts of one look. Further ones are read by the next look.
_MOST_READ: Final = 2000
# What is refused because its host is busy comes again after those of other hosts.
_LATER: Final = timedelta(seconds=3)
# All reports of one take, one after the other.
_LEASE: Final = timedelta(seconds=300)
_MOST_TRIES: Final = 10
_FIRST_WAIT_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 600.0
_PRUNE_BATCH: Final = 500
_KEPT: Final = timedelta(days=2)
_ENDS: Final[Mapping[AttemptOutcome, CheckInPhase]] = {
    AttemptOutcome.SUCCESS: CheckInPhase.SUCCESS,
    AttemptOutcome.FAILED: CheckInPhase.FAIL,
    AttemptOutcome.TIMEOUT: CheckInPhase.FAIL,
    AttemptOutcome.CANCELLED: CheckInPhase.FAIL,
    AttemptOutcome.LOST: CheckInPhase.FAIL,
    # RELEASED has neither failed nor succeeded: the next attempt begins anew.
}


class Reporting:
    """The step of one beat. It remembers nothing that another beat would need."""

    def __init__(self, clock: Clock, settings: Callable[[], SchedulerSettings]) -> None:
        self._clock = clock
        self._settings = settings
        self._errands = Errands(4)
        self._busy_hosts: set[str] = set()
        self._had_jobs = False

    def look(self, now: datetime) -> None:
        """One statement where no job reports anything, else a few. Waits for no service."""
        has_jobs = check_ins.any_jobs()
        if not has_jobs and not self._had_jobs:
            return
        # Once more after the last job has gone: what waits is dropped.
        self._had_jobs = has_jobs
        cursor = _cursor(now)
        ended = check_ins.ended(after=int(cursor.facts["after"]), limit=_MOST_READ)
        found = [*check_ins.running(), *ended]
        jobs = check_ins.reporting_jobs({attempt.job_id for attempt in found})
        check_ins.insert(list(_pings(found, jobs, now)))
        check_ins.end_divided(now, _MOST_READ)
        _advance(cursor, now, read_to=ended[-1].id if len(ended) == _MOST_READ else None)
        self._send(now)

    def prune(self, now: datetime) -> None:
        check_ins.prune(now - _KEPT, _PRUNE_BATCH)

    def _send(self, now: datetime) -> None:
        taken = check_ins.take(now, limit=_AT_ONCE, lease=_LEASE)
        jobs = check_ins.reporting_jobs({ping.job_id for ping in taken})
        by_host: defaultdict[str, list[tuple[CheckInPing, ReportingJob, CheckIn]]]
        by_host = defaultdict(list)
        for ping in taken:
            job = jobs.get(ping.job_id)
            service = services_of(job.rules).get(ping.service_key) if job else None
            if job is None or service is None:
                check_ins.settle(ping, MessageState.DROPPED, error="the job no longer has it")
            else:
                by_host[services.host_of(service)].append((ping, job, service))
        for host, waiting in by_host.items():
            if not self._go(host, partial(self._send_each, waiting)):
                check_ins.give_back([ping for ping, _, _ in waiting], now + _LATER)

    def _go(self, host: str, work: Callable[[], None]) -> bool:
        """One thread for a host: one that is away must not hold the threads of the others."""

        def send() -> None:
            try:
                work()
            finally:
                self._busy_hosts.discard(host)

        if host in self._busy_hosts:
            return False
        self._busy_hosts.add(host)
        if self._errands.go(send):
            return True
        self._busy_hosts.discard(host)
        return False

    def _send_each(self, waiting: Sequence[tuple[CheckInPing, ReportingJob, CheckIn]]) -> None:
        for ping, job, service in waiting:
            if check_ins.is_over(ping):
                check_ins.settle(ping, MessageState.DROPPED, error="its end is reported already")
                continue
            try:
                self._send_one(ping, job, service)
            except DeliveryError as error:
                self._failed(ping, error)
            else:
                check_ins.settle(ping, MessageState.SENT)

    def _send_one(self, ping: CheckInPing, job: ReportingJob, service: CheckIn) -> None:
        settings = self._settings()
        is_end = ping.phase != CheckInPhase.START
        report = Report(
            phase=CheckInPhase(ping.phase),
            attempt_key=ping.attempt_key,
            started_at=ping.started_at,
            ended_at=ping.ended_at,
            cron_expression=spread_text(job),
            timezone=job.timezone or settings.default_timezone,
            timeout_seconds=job.timeout_seconds,
            log=check_ins.log_tail(ping.execution_id, ping.attempt) if is_end else (),
        )
        request = services.request_of(service, report)
        outgoing.request(
            "POST",
            request.url,
            body=request.body,
            headers=request.headers,
            allow_private=settings.alerts.check_ins.allow_private,
            allow_http=settings.alerts.check_ins.allow_http,
            deadline_seconds=_SEND_SECONDS,
        )

    def _failed(self, ping: CheckInPing, error: DeliveryError) -> None:
        if error.permanent or ping.tries >= _MOST_TRIES:
            check_ins.settle(ping, MessageState.FAILED, error=error.reason)
            return
        wait = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** (ping.tries - 1))
        next_at = self._clock.now() + timedelta(seconds=wait)
        check_ins.settle(ping, MessageState.WAITING, error=error.reason, next_at=next_at)


def _pings(
    attempts: Iterable[Attempt], jobs: Mapping[int, ReportingJob], now: datetime
) -> Iterable[CheckInPing]:
    for attempt in attempts:
        phases = [CheckInPhase.START]
        if attempt.outcome is not None and attempt.outcome in _ENDS:
            phases.append(_ENDS[attempt.outcome])
        job = jobs.get(attempt.job_id)
        for service_key in services_of(job.rules) if job else ():
            for phase in phases:
                # The attempt has only made the shards: its run may fail yet.
                is_open = attempt.is_divided and phase != CheckInPhase.START
                yield CheckInPing(
                    job_id=attempt.job_id,
                    execution_id=attempt.execution_id,
                    attempt=attempt.number,
                    attempt_key=attempt.key,
                    service_key=service_key,
                    phase=phase,
                    started_at=attempt.started_at,
                    ended_at=None if phase == CheckInPhase.START else attempt.ended_at,
                    next_at=check_ins.END_UNKNOWN if is_open else now,
                    created_at=now,
                )


def _cursor(now: datetime) -> AlertCursor:
    """Up to which ended attempt all are reported. It begins at the newest one: none is older.

    `after`: attempts with a larger id are read. `newest`: the largest one when `at` was written.
    """
    cursor = alerts.cursor(CURSOR, now=now)
    if "after" not in cursor.facts:
        newest = check_ins.newest_attempt()
        cursor.facts = {"after": newest, "newest": newest}
        in_transaction(lambda: alerts.advance(cursor, now, cursor.facts))
        cursor.at = now
    return cursor


def _advance(cursor: AlertCursor, now: datetime, *, read_to: int | None) -> None:
    """Moves on to what was the newest attempt ten seconds ago. By then older ones are committed.

    `read_to`: the look has read no further, although there is more.
    """
    assert cursor.at is not None
    if read_to is not None and read_to < cursor.facts["newest"]:
        at, facts = cursor.at, {**cursor.facts, "after": read_to}
        in_transaction(lambda: alerts.advance(cursor, at, facts))
        return
    if now - cursor.at < _OVERLAP and now >= cursor.at:
        return
    facts = {"after": cursor.facts["newest"], "newest": check_ins.newest_attempt()}
    in_transaction(lambda: alerts.advance(cursor, now, facts))
