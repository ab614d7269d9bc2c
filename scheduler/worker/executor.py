"""One attempt: claimed -> context -> run -> verdict -> report -> tell.

Whatever the handler does comes back as data (handlers/runner.py). When the database is in trouble,
writing the verdict is tried again; user code never runs twice for it.
"""

from __future__ import annotations

import random as random_module
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import Error, connection

from handlers.hooks import RunHooks
from handlers.params import without_values
from handlers.runner import Outcome
from scheduler import failpoints
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings, current
from scheduler.events import emit
from scheduler.operations.redaction import Redactor
from scheduler.states import AttemptOutcome, ReasonCode, RunStatus
from scheduler.store import claims, endings, runs
from scheduler.worker import around_runs
from scheduler.worker import verdict as verdicts
from scheduler.worker.attempts import Attempts, cannot_be_stopped
from scheduler.worker.bridge import Bridge
from scheduler.worker.celery_view import NoView, View
from scheduler.worker.figures import Tally
from scheduler.worker.lease import HeldRun, LeaseKeeper
from scheduler.worker.overlap import decide
from scheduler.worker.reporting import Reporter
from scheduler.worker.tracing import NoTracing
from scheduler.worker.verdict import Budget, Verdict

# A claim that is under way has so long, before the process ends without its runs.
_CLAIM_SECONDS = 1.0
# A process that ends for a run that cannot be stopped has ended after so many seconds...
_PROCESS_ENDS_SECONDS = 1.5
# ... and none of its runs begins elsewhere before this, because it could still act.
_BEGINS_AGAIN_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What came of one claim."""

    runs: Sequence[HeldRun] = ()
    is_full: bool = False
    """There were as many rows as places, so there may be more."""


@dataclass(frozen=True, kw_only=True)
class _Unsure:
    """A claim whose COMMIT was not answered."""

    claim: claims.Claim
    since: float


class Executor:
    """Begins claimed runs on the loop and writes how they ended. Made after the fork.

    One thread claims, one reports; a process of one run does both in one. `on_end` is called with
    a run that has ended: on the loop, or in the thread that calls `give_up_stuck`. `on_runnable` is
    called with the queues of runs that may start because one has ended or was handed back: in the
    thread that reports, as `on_success` is with the ids of the jobs of runs that have succeeded.
    `tell` is called
    with each verdict that was written: the name of the handler, the execution's id, its status.
    `end_process(exit_reason)` is called when a handler cannot be stopped. It must not return: it
    ends this process, and the pool or a supervisor starts another one.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        bridge: Bridge,
        leases: LeaseKeeper,
        owner: str,
        end_process: Callable[[str], None],
        on_end: Callable[[HeldRun], None] = lambda held: None,
        on_runnable: Callable[[frozenset[str]], None] = lambda queues: None,
        on_success: Callable[[Collection[int]], None] = lambda job_ids: None,
        tell: Callable[[str, int, RunStatus], None] = around_runs.after,
        view: View | None = None,
        hooks: RunHooks | None = None,
        tally: Tally | None = None,
        settings: Callable[[], SchedulerSettings] = current,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._clock = clock
        self._leases = leases
        self._owner = owner
        self._end_process = end_process
        self._tell = tell
        self._view = view or NoView()
        self._settings = settings
        self._random = random
        self._tally = tally or Tally()
        self._on_runnable = on_runnable
        self._on_success = on_success
        self._reporter = Reporter(
            clock=clock,
            leases=leases,
            settings=settings,
            tally=self._tally,
            on_runnable=on_runnable,
            on_success=on_success,
        )
        self._unsure: _Unsure | None = None
        self._claiming = threading.Lock()
        self._attempts = Attempts(
            clock=clock,
            bridge=bridge,
            leases=leases,
            on_begin=self._view.began,
            on_end=on_end,
            hooks=hooks,
            tracing=_tracing(is_on=settings().tracing),
            settings=settings,
        )
        self.wait_for = self._attempts.wait_for
        self.give_up_stuck = self._attempts.give_up_stuck

    # --- claim ------------------------------------------------------------------------------------

    def claim(self, choice: claims.Choice) -> Begun:
        """Claim what may run and begin it. Blocks for the claim alone.

        After an error of the database the next call first asks what of this claim has become ours.
        """
        with self._claiming:
            return self._claim(choice)

    def _claim(self, choice: claims.Choice) -> Begun:
        if self._unsure is not None:
            return self._begin_what_is_ours(self._unsure)
        since, claim = self._clock.monotonic(), self._new_claim()
        try:
            taken = claim.take(choice, self._clock.now())
        except Error as error:
            return self._after_error(_Unsure(claim=claim, since=since), error)
        return self._begin(taken, since)

    def report_and_claim(self, ended: HeldRun, choice: claims.Choice) -> Begun:
        """The end of one run and the next claim in one transaction, for a process of one run."""
        verdict = self._verdict(ended)
        if verdict is None or cannot_be_stopped(ended) or self._unsure is not None:
            self.report([ended])
            return self.claim(choice)
        since, claim = self._clock.monotonic(), self._new_claim()
        try:
            written, taken = self._reporter.write_and_claim(ended, verdict, claim, choice)
        except Error as error:
            # Either both happened or nothing did: each asks for itself.
            connection.close()
            self._unsure = _Unsure(claim=claim, since=since)
            emit("report.failed", execution_id=ended.row.id, error=f"turn: {error}")
            self._settle([ended], self._reporter.write([(ended, verdict)], maybe_written=True))
            return self.claim(choice)
        self._settle([ended], [written])
        return self._begin(taken, since)

    def _new_claim(self) -> claims.Claim:
        return claims.Claim(
            owner=self._owner, lease_seconds=self._settings().lease_seconds, decide=decide
        )

    def _after_error(self, unsure: _Unsure, error: Error) -> Begun:
        """The COMMIT may have happened although its answer was lost. Ask on a new connection."""
        connection.close()
        self._unsure = unsure
        emit("claim.failed", error=f"{type(error).__name__}: {error}")
        return self._begin_what_is_ours(unsure)

    def _begin_what_is_ours(self, unsure: _Unsure) -> Begun:
        try:
            now = self._clock.now()
            taken = unsure.claim.taken_after_all(now)
            silent = self._clock.monotonic() - unsure.since
            seconds = self._settings().lease_seconds
            if taken.started and silent > seconds / 2:
                leases = [claimed.lease for claimed in taken.started]
                ours = runs.renew_leases(leases, now=now, lease_seconds=seconds).ours
                started = [one for one in taken.started if one.lease.token in ours]
                taken = replace(taken, started=started)
                unsure = replace(unsure, since=self._clock.monotonic())
        except Error:
            connection.close()
            raise
        self._unsure = None
        return self._begin(taken, unsure.since)

    def _begin(self, taken: claims.Claims, since: float) -> Begun:
        for row, decision in taken.held:
            emit(
                # A run in line looks again now and then; only what is new is worth a line.
                "execution.held" if row.in_line is None else "execution.still_held",
                execution_id=row.id,
                job=row.job_name or row.handler_name,
                job_id=row.job_id,
                reason=decision.reason,
            )
        if taken.queues_to_wake:
            self._on_runnable(taken.queues_to_wake)
        if not taken.started:
            return Begun(is_full=taken.is_full)
        failpoints.point("claim.committed")
        self._tally.claimed(len(taken.started))
        begun = self._attempts.begin(taken.started, since)
        failpoints.point("run.started")
        return Begun(runs=begun, is_full=taken.is_full)

    # --- what became of it ------------------------------------------------------------------------

    def report(self, ended: Sequence[HeldRun], *, maybe_written: bool = False) -> None:
        """Write how these runs ended. Blocks; tries again while the leases may still be ours.

        `maybe_written`: an earlier try may have reached the database.
        """
        judged = [(held, self._verdict(held)) for held in ended]
        given = [(held, verdict) for held, verdict in judged if verdict is not None]
        written: dict[str, Verdict | None] = {}
        try:
            verdicts_written = self._reporter.write(given, maybe_written=maybe_written)
            for (held, _), verdict in zip(given, verdicts_written, strict=True):
                written[held.lease.token] = verdict
        finally:  # whatever went wrong: their leases are no longer renewed, and rescue finds them
            self._settle(ended, [written.get(held.lease.token) for held in ended])
        for held in ended:
            if cannot_be_stopped(held):
                self._end_with_culprit(held)

    def report_if_held(self, ended: HeldRun) -> None:
        """`report` for a run whose end an error has prevented, or has not: asks the database."""
        if ended in self._leases.held():
            self.report([ended], maybe_written=True)

    def _settle(self, ended: Sequence[HeldRun], written: Sequence[Verdict | None]) -> None:
        """`written`: the verdict on each that is in the database."""
        self._leases.release(ended)
        for held, verdict in zip(ended, written, strict=True):
            held.written = verdict
            self._view.ended(held, verdict)
            self._log_end(held, verdict)
            if verdict is not None:
                self._tell(held.row.handler_name, held.row.id, verdict.status)
        returned = frozenset(
            held.row.queue
            for held, verdict in zip(ended, written, strict=True)
            if verdict is not None and verdict.status == RunStatus.PENDING
            if not verdict.delay_seconds
        )
        if returned:
            self._on_runnable(returned)
        succeeded = {
            held.row.job_id
            for held, verdict in zip(ended, written, strict=True)
            if verdict is not None and verdict.status == RunStatus.SUCCESS
        }
        if job_ids := {id_ for id_ in succeeded if id_ is not None}:
            self._on_success(job_ids)

    def _verdict(self, held: HeldRun) -> Verdict | None:
        row, outcome = held.row, held.outcome
        assert outcome is not None
        failpoints.point("run.ended")
        verdict = verdicts.of_attempt(
            _redacted(outcome, held.redactor),
            Budget(
                failures=row.failures,
                max_retry=row.max_retry,
                backoff_seconds=row.retry_backoff_seconds,
                backoff_max_seconds=row.retry_backoff_max_seconds,
            ),
            timeout_seconds=row.timeout_seconds,
            stop_reason=held.stop_reason,
            random=self._random,
        )
        if verdict is not None and cannot_be_stopped(held):
            delay = max(verdict.delay_seconds, _BEGINS_AGAIN_SECONDS)
            verdict = replace(verdict, delay_seconds=delay)
        return verdict

    def _log_end(self, held: HeldRun, verdict: Verdict | None) -> None:
        """Log how the run ended. `verdict`: what was written, if anything."""
        row, outcome = held.row, held.outcome
        assert outcome is not None
        facts: dict[str, Any] = {
            "execution_id": row.id,
            "job": row.job_name or row.handler_name,
            "job_id": row.job_id,
            "handler": row.handler_name,
            "attempt": held.lease.attempt,
            "worker": self._owner,
            "ran_seconds": outcome.ran_seconds,
        }
        if verdict is None:
            emit("execution.stale", **facts)
            return
        # An error text of a handler may quote a parameter, and everybody reads the log.
        error = without_values(verdict.error, row.params) if verdict.error else ""
        if verdict.status == RunStatus.PENDING and verdict.charged:
            emit("execution.retried", delay_seconds=verdict.delay_seconds, error=error, **facts)
        elif verdict.status == RunStatus.PENDING:
            emit("execution.handed_back", reason=error, **facts)
        elif verdict.status in (RunStatus.SUCCESS, RunStatus.CANCELLED, RunStatus.FANNED_OUT):
            emit("execution.finished", status=verdict.status.value, **facts)
        else:
            emit("execution.failed", status=verdict.status.value, error=error, **facts)

    def _end_with_culprit(self, culprit: HeldRun) -> None:
        """End this process, because something of the culprit's run can still act.

        The other runs of the process are handed back uncharged. Their handlers go on until the
        process ends, so they begin again after that. A database that is slow does not delay it.
        """
        row = culprit.row
        reason = (
            f"execution {row.id} ({row.handler_name}) could not be stopped and ended the process"
        )
        # A claim that is under way brings more runs. No further one begins.
        self._claiming.acquire(timeout=_CLAIM_SECONDS)
        others = self._leases.held()
        alarm = threading.Timer(_PROCESS_ENDS_SECONDS, self._end_process, (reason,))
        alarm.daemon = True
        if others:
            alarm.start()
        try:
            released = Verdict(
                status=RunStatus.PENDING,
                outcome=AttemptOutcome.RELEASED,
                error=reason,
                delay_seconds=_BEGINS_AGAIN_SECONDS,
                reason_code=ReasonCode.PROCESS_ENDED,
                reason_facts={"culprit": row.id},
            )
            self._hand_back(others, released, self._clock.now())
        except Error:
            connection.close()  # then their leases run out, and rescue charges them
        finally:
            alarm.cancel()
            self._end_process(reason)

    def _hand_back(self, others: Sequence[HeldRun], released: Verdict, now: datetime) -> None:
        """Those that have ended by themselves get their own verdict, also in this moment."""
        ends = []
        for other in others:
            verdict = self._verdict(other) if other.outcome is not None else released
            if verdict is not None:
                with other.report.taken() as report:
                    ends.append(verdicts.ending(verdict, other.lease, now, report))
        if ends:
            endings.end(ends, now=now)


def _redacted(outcome: Outcome, redactor: Redactor) -> Outcome:
    if redactor.has_nothing_to_do:
        return outcome  # most runs have no secrets, and a copy costs more than all else here
    return replace(
        outcome,
        error=redactor.text(outcome.error),
        traceback=redactor.text(outcome.traceback),
        result=redactor.value(outcome.result),
    )


def _tracing(*, is_on: bool) -> NoTracing:
    if not is_on:
        return NoTracing()
    from scheduler.worker.spans import Tracing  # imports OpenTelemetry

    return Tracing()
