"""One attempt, from name and params to an Outcome. The place where user code runs.

Whatever a handler does, `run_handler` returns data: the scheduler writes it down.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from handlers.call import Call, call_handler
from handlers.context import HandlerContext, RunInfo, Sink, running
from handlers.databases import require_databases
from handlers.errors import CannotRunError, DatabaseNotConfiguredError
from handlers.failure import Failure, Severity, describe, summary, thread_stack
from handlers.json_safe import storable_result, storable_text
from handlers.task_tracking import end_tasks, prepare_loop, threads_left
from handlers.validation import ValidCall, validate_params

T = TypeVar("T")

MAX_RESULT_BYTES = 64 * 1024
GRACE_SECONDS = 1.0


class OutcomeKind(StrEnum):
    """How an attempt ended. INVALID: no attempt was worth making."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    INVALID = "INVALID"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one attempt; every text and value in it can be stored as it is."""

    kind: OutcomeKind
    result: Any = None
    """Strict JSON or None. Also set when the handler returned in spite of a timeout or cancel."""
    error: str = ""
    traceback: str = ""
    error_class: str = ""
    severity: Severity = "info"
    ran_seconds: float = 0.0
    overran: bool = False
    """It ended by itself, but after its timeout: the loop or the GIL was held meanwhile."""
    leaked_thread: bool = False
    """A thread of this run is still at work; until the process ends it can still act."""
    retryable: bool = True
    """False: trying again cannot help (INVALID, or the handler raised PermanentError)."""


async def run_handler(
    info: RunInfo,
    raw_params: object,
    sink: Sink,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    max_result_bytes: int = MAX_RESULT_BYTES,
    grace_seconds: float = GRACE_SECONDS,
) -> Outcome:
    """Run one attempt of `info.handler_name` and say what became of it. Never raises.

    Cancel the task that awaits this to cancel the run: the handler gets a CancelledError and may
    clean up, then Outcome(CANCELLED) is returned (not raised). So is a timeout. A handler that
    ignores cancellation keeps this call waiting: guarding against that is the bridge's part.
    Threads and stray tasks get `grace_seconds` to end before they are given up.
    """
    try:
        valid = validate_params(info.handler_name, raw_params)
        require_databases(*valid.handler.databases)
    except (CannotRunError, DatabaseNotConfiguredError) as exc:
        return _invalid(exc)
    except BaseException as exc:  # noqa: BLE001 - resolvers and validators are user code
        return _failed(describe(exc))
    try:
        prepare_loop(asyncio.get_running_loop())
        context = HandlerContext(info, sink, monotonic)
        run = _Run(valid, context, monotonic, grace_seconds)
        return await run.outcome(max_result_bytes)
    except BaseException as exc:  # noqa: BLE001 - user code: results are read, logs are written
        return _failed(describe(exc))


class _Run:
    """The handler in a task of its own, so that nothing it does to its task can reach ours."""

    def __init__(
        self,
        valid: ValidCall,
        context: HandlerContext,
        monotonic: Callable[[], float],
        grace_seconds: float,
    ) -> None:
        self.context = context
        self.monotonic = monotonic
        self.grace_seconds = grace_seconds
        self.call = Call()
        self.stopped: OutcomeKind | None = None
        self.started_at = monotonic()
        inside = contextvars.copy_context()
        inside.run(running.set, context)
        # Not loop.create_task: this task is ours, and is not to be noted as one of the run's.
        self.task = asyncio.Task(
            call_handler(
                valid.handler,
                valid.params,
                call=self.call,
                context=context,
                monotonic=monotonic,
                thread_grace_seconds=grace_seconds,
            ),
            loop=asyncio.get_running_loop(),
            name=f"jobu-run-{context.execution_id}",
            context=inside,
        )

    async def outcome(self, max_result_bytes: int) -> Outcome:
        await self._until_ended()
        ended_at = self.call.ended_at if self.call.ended_at is not None else self.monotonic()
        ran_seconds = max(0.0, ended_at - self.started_at)
        if any(not task.done() for task in self.context.tasks):
            await self._uninterrupted(end_tasks(self.context, self.grace_seconds))
        stopped = None if self.call.undisturbed else self.stopped
        leaked = False
        if stopped is not None or self.call.error is not None:
            leaked = await self._threads_left()
        facts: dict[str, Any] = {"ran_seconds": ran_seconds, "leaked_thread": leaked}
        if stopped is not None:
            return self._stopped_outcome(stopped, max_result_bytes, facts)
        facts["overran"] = ran_seconds > self.context.timeout_seconds
        if self.call.error is not None:
            return _failed(describe(self.call.error), **facts)
        return _returned(self.call.value, max_result_bytes, facts)

    async def _until_ended(self) -> None:
        """Wait for the handler; at the timeout, and at each cancellation of ours, cancel it."""
        seconds: float | None = max(0.0, self.context.timeout_seconds)
        while not self.task.done():
            try:
                await asyncio.wait({self.task}, timeout=seconds)
                reached = self.task.cancel()  # False: it has ended, there was no timeout
                kind = OutcomeKind.TIMEOUT
            except asyncio.CancelledError:
                # It may have ended in the same round of the loop; then the cancellation did not
                # reach it and it keeps its result. But a loop that goes down cancels both tasks.
                reached = self.task.cancel() or self._ended_cancelled()
                kind = OutcomeKind.CANCELLED
            if reached:
                self.stopped = self.stopped or kind
                self.context.request_stop()
                seconds = None
        if self.call.ended_at is None and self.stopped is None:
            self.call.error = asyncio.CancelledError()  # its task was cancelled behind our back

    def _ended_cancelled(self) -> bool:
        return self.call.ended_at is None or isinstance(self.call.error, asyncio.CancelledError)

    async def _threads_left(self) -> bool:
        if self.call.thread is not None and not self.call.thread.ended:
            return True
        if not self.context.thread_calls:
            return False
        return await self._uninterrupted(threads_left(self.context, self.grace_seconds))

    async def _uninterrupted(self, coro: Coroutine[Any, Any, T]) -> T:
        """Await `coro`, bounded by its own grace, although we may be cancelled meanwhile."""
        task = asyncio.get_running_loop().create_task(coro)
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        return task.result()

    def _stopped_outcome(
        self, kind: OutcomeKind, max_result_bytes: int, facts: dict[str, Any]
    ) -> Outcome:
        """TIMEOUT or CANCELLED, with what the handler still had to say about it."""
        if kind is OutcomeKind.TIMEOUT:
            error = f"Execution timed out after {_seconds(self.context.timeout_seconds)} s"
            severity: Severity = "error"
        else:
            error, severity = "Execution was cancelled", "info"
        result, tb, last = None, "", self.call.error
        if last is not None:
            # Where it stood when it was stopped, or where its thread still stands.
            thread = self.call.thread
            tb = (
                thread_stack(thread.ident)
                if thread is not None and not thread.ended and thread.ident is not None
                else describe(last).traceback
            )
            if not isinstance(last, asyncio.CancelledError):
                error = storable_text(f"{error}; cleaning up then raised {summary(last)}", 16384)
        elif self.call.ended_at is not None:
            result, _ = storable_result(self.call.value, max_result_bytes)
        return Outcome(
            kind=kind, result=result, error=error, error_class="", traceback=tb,
            severity=severity, **facts,
        )  # fmt: skip


def _returned(value: object, max_result_bytes: int, facts: dict[str, Any]) -> Outcome:
    result, problem = storable_result(value, max_result_bytes)
    if problem is not None:
        return Outcome(
            kind=OutcomeKind.FAILED, error=problem, error_class="UnstorableResult",
            severity="error", **facts,
        )  # fmt: skip
    # Look at both: a cut result may have lost the member, and a model may write it under an alias.
    if _success_of(value) is False or _success_of(result) is False:
        reason = (result.get("error") if isinstance(result, dict) else None) or "success is false"
        return Outcome(
            kind=OutcomeKind.FAILED, result=result, error_class="HandlerReportedFailure",
            error=storable_text(f"Handler reported failure: {reason}", 16384),
            severity="error", **facts,
        )  # fmt: skip
    return Outcome(kind=OutcomeKind.SUCCESS, result=result, **facts)


def _success_of(value: object) -> object:
    return value.get("success") if isinstance(value, Mapping) else getattr(value, "success", None)


def _failed(failure: Failure, **facts: Any) -> Outcome:
    return Outcome(
        kind=OutcomeKind.FAILED, error=failure.error, error_class=failure.error_class,
        traceback=failure.traceback, severity=failure.severity,
        retryable=not failure.permanent, **facts,
    )  # fmt: skip


def _invalid(exc: CannotRunError | DatabaseNotConfiguredError) -> Outcome:
    return Outcome(
        kind=OutcomeKind.INVALID, error=storable_text(str(exc), 16384),
        error_class=type(exc).__name__, severity="error", retryable=False,
    )  # fmt: skip


def _seconds(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"
