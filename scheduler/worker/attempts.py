"""The attempts of this process on its event loop: how they begin, and how it is noticed that one
has ended or cannot be stopped.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from typing import Any

from handlers.context import RunInfo, Shard
from handlers.fan_out import FanOut
from handlers.hooks import RunHooks
from handlers.runner import Outcome, OutcomeKind, run_handler
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.events import emit, lines_of_run
from scheduler.operations.redaction import Redactor
from scheduler.store.claims import Candidate, Claimed
from scheduler.worker import around_runs
from scheduler.worker.bridge import Bridge, Run
from scheduler.worker.lease import HeldRun, LeaseKeeper, RunReport
from scheduler.worker.tracing import NoTracing

_SLICE_SECONDS = 0.5
_STUCK = "StuckRun"


class Attempts:
    """Thread-safe; made after the fork.

    `on_begin` is called with each run before it starts. `on_end` is called with each one that has
    ended: on the loop, or where a stuck one is given up.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        bridge: Bridge,
        leases: LeaseKeeper,
        on_begin: Callable[[HeldRun], None],
        on_end: Callable[[HeldRun], None],
        hooks: RunHooks | None,
        tracing: NoTracing,
        settings: Callable[[], SchedulerSettings],
    ) -> None:
        self._clock = clock
        self._bridge = bridge
        self._leases = leases
        self._on_begin = on_begin
        self._on_end = on_end
        self._hooks = hooks
        self._tracing = tracing
        self._settings = settings

    def begin(self, started: Sequence[Claimed], since: float) -> list[HeldRun]:
        """Start the handlers. `since`: monotonic, from before the claim."""
        self._tracing.begin(started)
        begun = [self._held(claimed, since) for claimed in started]
        self._leases.hold(begun)
        # All that must know of a run knows it before its end can come.
        for held in begun:
            held.began_at = self._clock.monotonic()
            self._on_begin(held)
        self._bridge.start([held.run for held in begun if held.run is not None])
        return begun

    def _held(self, claimed: Claimed, since: float) -> HeldRun:
        row, lease = claimed.row, claimed.lease
        settings = self._settings()
        redactor = Redactor(row.params)
        report = RunReport(self._clock.estimate, settings.max_log_lines, redactor.text)
        held = HeldRun(claimed=claimed, report=report, claimed_at=since, redactor=redactor)
        facts: dict[str, Any] = {
            "execution_id": row.id,
            "job_id": row.job_id,
            "attempt": lease.attempt,
            "worker": lease.owner,
        }
        with lines_of_run(**facts):
            waited = lease.started_at - max(row.available_at, row.scheduled_time)
            emit(
                "execution.claimed",
                job=row.job_name or row.handler_name,
                handler=row.handler_name,
                waited_seconds=waited.total_seconds(),
                **facts,
            )
            context = contextvars.copy_context()
        self._tracing.enter(claimed, context)
        held.run = Run(
            self._attempt(held, settings),
            held.name,
            context=context,
            on_end=lambda run: self._ended(held, run),
        )
        return held

    async def _attempt(self, held: HeldRun, settings: SchedulerSettings) -> Outcome:
        row, lease = held.row, held.lease
        if row.parent_id is None and row.shard_count is not None:
            # A person retries it. It was divided before, and only its shards have work to do.
            return Outcome(kind=OutcomeKind.SUCCESS, fan_out=FanOut(count=None))
        await around_runs.before(row.handler_name)
        info = RunInfo(
            execution_id=row.id,
            job_id=row.job_of_run,
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
            shard=_shard(row),
            divide_into=row.divide_into,
        )
        return await run_handler(
            info,
            row.params,
            held.report,
            monotonic=self._clock.monotonic,
            max_result_bytes=settings.max_result_bytes,
            # The runner waits for leftovers up to six times, in all less than our own grace.
            grace_seconds=min(1.0, settings.grace_seconds / 7),
            hooks=self._hooks,
        )

    def _ended(self, held: HeldRun, run: Run[Outcome]) -> None:
        """The coroutine has ended. Called on the loop."""
        try:
            outcome = run.result()
        except asyncio.CancelledError:  # before its first step: the runner had no say
            outcome = Outcome(
                kind=OutcomeKind.CANCELLED, error="Execution was cancelled before it began"
            )
        self._end(held, outcome)

    def _end(self, held: HeldRun, outcome: Outcome) -> None:
        if held.end(outcome):
            self._tracing.end(held, outcome)
            self._on_end(held)

    def wait_for(self, held: HeldRun) -> None:
        """Block until the run has ended, or was given up."""
        while held.outcome is None:
            assert held.run is not None
            held.run.wait(_SLICE_SECONDS)
            self._give_up_if_stuck(held)

    def give_up_stuck(self) -> None:
        """Give up the runs that ignore their timeout or cancellation. Call it now and then."""
        for held in self._leases.held():
            self._give_up_if_stuck(held)

    def _give_up_if_stuck(self, held: HeldRun) -> None:
        if held.outcome is not None:
            return
        now = self._clock.monotonic()
        grace = self._settings().grace_seconds
        until = held.began_at + held.row.timeout_seconds + grace
        if held.stopped_at is not None:
            until = min(until, held.stopped_at + grace)
        if now >= until:
            self._end(held, self._stuck(held, ran_seconds=now - held.began_at))

    def _stuck(self, held: HeldRun, *, ran_seconds: float) -> Outcome:
        row = held.row
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
            else self._bridge.task_stack(held.task_name)
            or (held.run.stack() if held.run is not None else "")
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


def _shard(row: Candidate) -> Shard | None:
    if row.parent_id is None or row.shard is None:
        return None
    return Shard(index=row.shard, count=row.shard_count or row.shard + 1)


def cannot_be_stopped(held: HeldRun) -> bool:
    """Something of this run can still act. Only the end of the process stops it."""
    outcome = held.outcome
    return outcome is not None and (outcome.leaked or outcome.error_class == _STUCK)
