"""One run: claim the execution, run its handler over the bridge, write the verdict.

Whatever the handler does comes back as data (handlers/runner.py). When the database is in trouble,
writing the verdict is tried again; user code never runs twice for it.
"""

from __future__ import annotations

import asyncio
import random as random_module
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import DatabaseError, close_old_connections, connection

from handlers.context import RunInfo
from handlers.hooks import RunHooks
from handlers.params import without_values
from handlers.runner import Outcome, OutcomeKind, run_handler
from scheduler import failpoints
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings, current
from scheduler.events import emit, lines_of_run
from scheduler.models import LARGEST_ID
from scheduler.operations.redaction import Redactor
from scheduler.states import AttemptOutcome, ReasonCode, RunStatus
from scheduler.store import claims, endings, publishing, runs
from scheduler.worker import around_runs
from scheduler.worker import verdict as verdicts
from scheduler.worker.bridge import Bridge, Run
from scheduler.worker.lease import HeldRun, LeaseKeeper, RunReport
from scheduler.worker.overlap import decide
from scheduler.worker.reporting import Reporter
from scheduler.worker.verdict import Budget, Verdict

_SLICE_SECONDS = 0.5
# A process that ends for a run that cannot be stopped has ended after so many seconds...
_PROCESS_ENDS_SECONDS = 1.5
# ... and none of its runs begins elsewhere before this, because it could still act.
_BEGINS_AGAIN_SECONDS = 2.0
# What handlers/runner.py calls the task of the handler itself.
_HANDLER_TASK = "jobu-run-{}"


class Executor:
    """Executes claimed runs in this process. Thread-safe; made after the fork.

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
        hooks: RunHooks | None = None,
        settings: Callable[[], SchedulerSettings] = current,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._clock = clock
        self._bridge = bridge
        self._leases = leases
        self._owner = owner
        self._end_process = end_process
        self._hooks = hooks
        self._settings = settings
        self._random = random
        self._reporter = Reporter(clock=clock, leases=leases, settings=settings)

    def execute(self, message: object) -> RunStatus | None:
        """Run the execution that a message names. Blocks until the run has ended.

        Returns the status that was written. None: nothing was, because the execution could not be
        claimed or was taken away.
        """
        execution_id = _execution_id(message)
        if execution_id is None:
            emit("hint.junk", reason=f"{type(message).__name__} is no execution id")
            return None
        close_old_connections()
        if self._leases.is_draining:
            now = self._clock.now()
            if not publishing.publish_now(execution_id, now=now):
                publishing.publish_when_available(execution_id, now=now)
            return None
        claimed_at = self._clock.monotonic()
        claimed = self._claim(execution_id)
        if claimed is None:
            return None
        row, lease = claimed.row, claimed.lease
        with lines_of_run(
            execution_id=row.id, job_id=row.job_id, attempt=lease.attempt, worker=self._owner
        ):
            return self._run(row, lease, claimed_at)

    # --- claim ------------------------------------------------------------------------------------

    def _claim(self, execution_id: int) -> claims.Claimed | None:
        now = self._clock.now()
        claim = claims.Claim(
            owner=self._owner, lease_seconds=self._settings().lease_seconds, decide=decide
        )
        try:
            taken = claim.take(claims.ByIds([execution_id]), now)
        except DatabaseError as error:
            # The COMMIT may have happened although its answer was lost. Ask on a new connection.
            connection.close()
            taken = claim.taken_after_all(now)
            emit("report.failed", execution_id=execution_id, error=f"claim: {error}")
        for row, decision in taken.held:
            emit(
                # A run in line looks again now and then; only what is new is worth a line.
                "execution.held" if row.in_line is None else "execution.still_held",
                execution_id=row.id,
                job=row.job_name or row.handler_name,
                job_id=row.job_id,
                reason=decision.reason,
            )
        if not taken.started:
            if not taken.held:
                self._not_claimed(execution_id, now)
            return None
        failpoints.point("claim.committed")
        claimed = taken.started[0]
        row = claimed.row
        waited = (now - max(row.available_at, row.scheduled_time)).total_seconds()
        emit(
            "execution.claimed",
            execution_id=row.id,
            job=row.job_name or row.handler_name,
            job_id=row.job_id,
            handler=row.handler_name,
            attempt=claimed.lease.attempt,
            worker=self._owner,
            waited_seconds=waited,
        )
        return claimed

    def _not_claimed(self, execution_id: int, now: datetime) -> None:
        reason = claims.why_not(execution_id, now) or "somebody else was first"
        publishing.publish_when_available(execution_id, now=now)
        emit("execution.not_claimed", execution_id=execution_id, reason=reason)

    # --- run --------------------------------------------------------------------------------------

    def _run(self, row: claims.Candidate, lease: runs.Lease, claimed_at: float) -> RunStatus | None:
        settings = self._settings()
        redactor = Redactor(row.params)
        report = RunReport(self._clock.estimate, settings.max_log_lines, redactor.text)
        info = RunInfo(
            execution_id=row.id,
            job_id=row.job_id,
            job_name=row.job_name,
            handler_name=row.handler_name,
            # The handler of a run that stands for a slot sees that slot.
            scheduled_time=row.logical_time or row.scheduled_time,
            logical_time=row.logical_time,
            attempt=lease.attempt,
            max_attempts=lease.attempt + max(0, row.max_retry - row.failures),
            timeout_seconds=row.timeout_seconds,
            lease_token=lease.token,
            worker=lease.owner,
            started_at=lease.started_at,
        )
        around_runs.before(row.handler_name)
        coroutine = run_handler(
            info,
            row.params,
            report,
            monotonic=self._clock.monotonic,
            max_result_bytes=settings.max_result_bytes,
            # The runner waits for leftovers up to six times, in all less than our own grace.
            grace_seconds=min(1.0, settings.grace_seconds / 7),
            hooks=self._hooks,
        )
        started = self._clock.monotonic()
        run = self._bridge.submit(coroutine, name=f"execution {row.id} ({row.handler_name})")
        held = HeldRun(
            lease=lease,
            report=report,
            name=run.name,
            task_name=_HANDLER_TASK.format(row.id),
            cancel=run.cancel,
            claimed_at=claimed_at,
        )
        self._leases.hold(held)
        failpoints.point("run.started")
        try:
            outcome = _redacted(self._await(run, held, row, started), redactor)
            failpoints.point("run.ended")
            verdict = self._verdict(row, held, outcome)
            cannot_be_stopped = outcome.leaked or outcome.error_class == _STUCK
            if cannot_be_stopped and verdict is not None:
                delay = max(verdict.delay_seconds, _BEGINS_AGAIN_SECONDS)
                verdict = replace(verdict, delay_seconds=delay)
            written = None if verdict is None else self._reporter.report(held, verdict)
        finally:
            self._leases.release(held)
        self._log_end(row, lease, outcome, written)
        if written is not None:
            around_runs.after(row.handler_name, row.id, written.status)
        if cannot_be_stopped:
            self._end_with_culprit(row, held)
        return None if written is None else written.status

    def _await(
        self, run: Run[Outcome], held: HeldRun, row: claims.Candidate, started: float
    ) -> Outcome:
        """Wait for the outcome. A coroutine that ignores its timeout or cancellation is given up,
        and the outcome says so.
        """
        grace = self._settings().grace_seconds
        while not run.wait(_SLICE_SECONDS):
            now = self._clock.monotonic()
            limit = started + row.timeout_seconds + grace
            if held.stopped_at is not None:
                limit = min(limit, held.stopped_at + grace)
            if now >= limit:
                return self._stuck(run, held, row, ran_seconds=now - started)
        try:
            return run.result()
        except asyncio.CancelledError:  # before its first step: the runner had no say
            return Outcome(
                kind=OutcomeKind.CANCELLED, error="Execution was cancelled before it began"
            )

    def _stuck(
        self, run: Run[Outcome], held: HeldRun, row: claims.Candidate, *, ran_seconds: float
    ) -> Outcome:
        emit(
            "execution.stuck",
            execution_id=row.id,
            job=row.job_name or row.handler_name,
            handler=row.handler_name,
        )
        asked = held.stop_reason is not None
        what = "was cancelled" if asked else f"timed out after {row.timeout_seconds} s"
        # A suspended coroutine has a stack of its own. One that blocks the loop is on its thread's.
        blocking = not self._bridge.answers(0.2)
        stack = (
            self._bridge.loop_stack()
            if blocking
            else self._bridge.task_stack(held.task_name) or run.stack()
        )
        how = "blocked the event loop" if blocking else "ignored its cancellation"
        return Outcome(
            kind=OutcomeKind.CANCELLED if asked else OutcomeKind.TIMEOUT,
            error=f"Execution {what}; handler {row.handler_name} {how}, its process was ended",
            traceback=stack,
            error_class=_STUCK,
            severity="error",
            ran_seconds=ran_seconds,
        )

    # --- what became of it ------------------------------------------------------------------------

    def _verdict(self, row: claims.Candidate, held: HeldRun, outcome: Outcome) -> Verdict | None:
        budget = Budget(
            failures=row.failures,
            max_retry=row.max_retry,
            backoff_seconds=row.retry_backoff_seconds,
            backoff_max_seconds=row.retry_backoff_max_seconds,
        )
        return verdicts.of_attempt(
            outcome,
            budget,
            timeout_seconds=row.timeout_seconds,
            stop_reason=held.stop_reason,
            random=self._random,
        )

    def _log_end(
        self,
        row: claims.Candidate,
        lease: runs.Lease,
        outcome: Outcome,
        verdict: Verdict | None,
    ) -> None:
        """Log how the run ended. `verdict`: what was written, if anything."""
        facts: dict[str, Any] = {
            "execution_id": row.id,
            "job": row.job_name or row.handler_name,
            "job_id": row.job_id,
            "handler": row.handler_name,
            "attempt": lease.attempt,
            "worker": self._owner,
            "ran_seconds": outcome.ran_seconds,
        }
        if verdict is None:
            emit("execution.stale", **facts)
            return
        # An error text of a handler may quote a parameter, and everybody reads the log.
        error = without_values(verdict.error, row.params)
        if verdict.status == RunStatus.PENDING and verdict.charged:
            emit("execution.retried", delay_seconds=verdict.delay_seconds, error=error, **facts)
        elif verdict.status == RunStatus.PENDING:
            emit("execution.handed_back", reason=error, **facts)
        elif verdict.status in (RunStatus.SUCCESS, RunStatus.CANCELLED):
            emit("execution.finished", status=verdict.status.value, **facts)
        else:
            emit("execution.failed", status=verdict.status.value, error=error, **facts)

    def _end_with_culprit(self, row: claims.Candidate, held: HeldRun) -> None:
        """End this process, because something of `row`'s run can still act.

        The other runs of the process are handed back uncharged. Their handlers go on until the
        process ends, so they begin again after that. A database that is slow does not delay it.
        """
        reason = (
            f"execution {row.id} ({row.handler_name}) could not be stopped and ended the process"
        )
        others = self._leases.others(held)
        alarm = threading.Timer(_PROCESS_ENDS_SECONDS, self._end_process, (reason,))
        alarm.daemon = True
        if others:
            alarm.start()
        try:
            now = self._clock.now()
            released = Verdict(
                status=RunStatus.PENDING,
                outcome=AttemptOutcome.RELEASED,
                error=reason,
                delay_seconds=_BEGINS_AGAIN_SECONDS,
                reason_code=ReasonCode.PROCESS_ENDED,
                reason_facts={"culprit": row.id},
            )
            for other in others:
                self._hand_back(other, released, now)
        except DatabaseError:
            connection.close()
        finally:
            alarm.cancel()
            self._end_process(reason)

    def _hand_back(self, other: HeldRun, released: Verdict, now: datetime) -> None:
        try:
            self._leases.save_report(other)
            endings.end([verdicts.ending(released, other.lease, now)], now=now)
        except DatabaseError:
            connection.close()  # then its lease runs out, and rescue charges it


_STUCK = "StuckRun"


def _redacted(outcome: Outcome, redactor: Redactor) -> Outcome:
    return replace(
        outcome,
        error=redactor.text(outcome.error),
        traceback=redactor.text(outcome.traceback),
        result=redactor.value(outcome.result),
    )


def _execution_id(message: object) -> int | None:
    """The id that a message carries. None: it carries none, anybody may write to a broker."""
    if isinstance(message, int) and not isinstance(message, bool) and 0 < message <= LARGEST_ID:
        return message
    return None
