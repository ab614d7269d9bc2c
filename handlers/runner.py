"""Runs one attempt of a handler, from its name and params to an Outcome.

Whatever the handler does, `run_handler` returns data, which the scheduler stores.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from handlers import child_processes
from handlers.base import BaseHandler
from handlers.call import Call, call_handler
from handlers.context import HandlerContext, RunInfo, Sink, running
from handlers.databases import require_databases
from handlers.errors import CannotRunError, DatabaseNotConfiguredError
from handlers.failure import Failure, Severity, describe, path_of, summary, thread_stack
from handlers.fan_out import FanOut, InvalidShardsError, has_plan, planned
from handlers.hooks import RunHooks
from handlers.json_safe import storable_result, storable_text
from handlers.leftovers import end_leftovers
from handlers.named_frame import awaited_in_frame
from handlers.task_tracking import end_tasks, prepare_loop
from handlers.validation import ValidCall, validate_params

T = TypeVar("T")

MAX_RESULT_BYTES = 64 * 1024
GRACE_SECONDS = 1.0


class OutcomeKind(StrEnum):
    """How an attempt ended. INVALID: the handler was not called."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    INVALID = "INVALID"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one attempt; its texts and values can be stored without further checks."""

    kind: OutcomeKind
    result: Any = None
    """Strict JSON or None. Also set if the handler returned after a timeout or cancellation."""
    error: str = ""
    traceback: str = ""
    error_class: str = ""
    exception_class: str = ""
    """The path by which the class of the exception is imported; "" if there was none."""
    severity: Severity = "info"
    ran_seconds: float = 0.0
    overran: bool = False
    """It ended by itself, but after its timeout, because something blocked the loop or the GIL."""
    leaked: bool = False
    """A task, thread or process of this run is still alive; it can act until the process ends."""
    retryable: bool = True
    """False: a retry cannot help or would repeat work that is done.

    INVALID, the handler raised PermanentError, or it returned what cannot be stored.
    """
    retry_after_seconds: float | None = None
    """When the next attempt begins, if the handler has said so."""
    fan_out: FanOut | None = None
    """Of a SUCCESS: the run becomes these shards, and ends when they have ended."""


async def run_handler(
    info: RunInfo,
    raw_params: object,
    sink: Sink,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    max_result_bytes: int = MAX_RESULT_BYTES,
    grace_seconds: float = GRACE_SECONDS,
    hooks: RunHooks | None = None,
) -> Outcome:
    """Run one attempt of `info.handler_name` and return its outcome. Never raises.

    To cancel the run, cancel the task that awaits this call: the handler receives a CancelledError
    and may clean up, then this call returns an outcome of kind CANCELLED. After a timeout it
    returns one of kind TIMEOUT in the same way. It waits as long as a handler ignores the
    cancellation; the caller must limit that. Threads and tasks that the handler left running have
    `grace_seconds` to end. `hooks`: what the caller does around the handler, see hooks.py.
    """
    try:
        valid = validate_params(info.handler_name, raw_params)
        require_databases(*valid.handler.databases)
        plans = has_plan(valid.handler) and info.shard is None
        if info.divide_into is not None and not plans:
            return Outcome(kind=OutcomeKind.SUCCESS, fan_out=FanOut(count=info.divide_into))
    except (CannotRunError, DatabaseNotConfiguredError) as exc:
        return _invalid(exc)
    except BaseException as exc:  # noqa: BLE001 - resolvers and validators are user code
        return _failed(describe(exc))
    try:
        prepare_loop(asyncio.get_running_loop())
        context = HandlerContext(info, sink, monotonic, hooks)
        run = _Run(valid, context, monotonic, grace_seconds, plans=plans)
        return await run.outcome(max_result_bytes)
    except BaseException as exc:  # noqa: BLE001 - reading a result calls user code
        return _failed(describe(exc))


class _Run:
    """Runs the handler in a separate task, so that it cannot cancel the task of the runner."""

    def __init__(
        self,
        valid: ValidCall,
        context: HandlerContext,
        monotonic: Callable[[], float],
        grace_seconds: float,
        *,
        plans: bool,
    ) -> None:
        self.context = context
        self.planner = valid.handler if plans else None
        self.monotonic = monotonic
        self.grace_seconds = grace_seconds
        self.call = Call()
        self.stopped: OutcomeKind | None = None
        self.started_at = monotonic()
        if context.attempt > 1 and context.hooks.installation:
            # The process of the last attempt may have been killed, without those that it started.
            child_processes.kill_marked(context.mark_of_execution)
        child_processes.expect(context.mark)
        inside = contextvars.copy_context()
        inside.run(running.set, context)
        self.end_hooks = inside.run(context.hooks.begin_run)
        # Not loop.create_task: that would track this task as one that the handler started.
        call = partial(
            call_handler,
            valid.handler,
            valid.params,
            call=self.call,
            context=context,
            monotonic=monotonic,
            thread_grace_seconds=grace_seconds,
            plans=plans,
        )
        self.task = asyncio.Task(
            awaited_in_frame(f"execution_{context.execution_id}", call),
            loop=asyncio.get_running_loop(),
            name=f"jobu-run-{context.execution_id}",
            context=inside,
        )

    async def outcome(self, max_result_bytes: int) -> Outcome:
        try:
            return await self._outcome_and_leftovers(max_result_bytes)
        finally:
            child_processes.forget(self.context.mark)

    async def _outcome_and_leftovers(self, max_result_bytes: int) -> Outcome:
        await self._until_ended()
        ended_at = self.call.ended_at if self.call.ended_at is not None else self.monotonic()
        ran_seconds = max(0.0, ended_at - self.started_at)
        if any(not task.done() for task in self.context.tasks):
            await self._shielded(end_tasks(self.context, self.grace_seconds))
        self.end_hooks()
        outcome = self._outcome(ran_seconds, max_result_bytes)
        if outcome.kind is not OutcomeKind.SUCCESS:
            outcome = replace(outcome, leaked=await self._leaves_something())
        return outcome

    async def _leaves_something(self) -> bool:
        left = await self._shielded(end_leftovers(self.context, self.call, self.grace_seconds))
        if left:
            self.context.log.error("still running after the end of the run: %s", ", ".join(left))
        return bool(left)

    def _outcome(self, ran_seconds: float, max_result_bytes: int) -> Outcome:
        stopped = None if self.call.ended_before_stop else self.stopped
        facts: dict[str, Any] = {"ran_seconds": ran_seconds}
        if stopped is not None:
            return self._stopped_outcome(stopped, max_result_bytes, facts)
        facts["overran"] = ran_seconds > self.context.timeout_seconds
        if self.call.error is not None:
            return _failed(describe(self.call.error), **facts)
        try:
            if self.planner is not None:
                return _planned(self.planner, self.call.value, facts)
            return _returned(self.call.value, max_result_bytes, facts)
        except BaseException as exc:  # noqa: BLE001 - reading a result calls user code
            # The handler has done its work. It must not do it again because of its result.
            return replace(_failed(describe(exc), **facts), retryable=False)

    async def _until_ended(self) -> None:
        """Wait for the handler. Cancel it at the timeout, and whenever this task is cancelled."""
        seconds: float | None = max(0.0, self.context.timeout_seconds)
        while not self.task.done():
            try:
                await asyncio.wait({self.task}, timeout=seconds)
                reached = self.task.cancel()  # False: it has ended, so there was no timeout
                kind = OutcomeKind.TIMEOUT
            except asyncio.CancelledError:
                # If the handler ended in the same round of the loop, the cancellation did not
                # reach it and its result counts. But a loop that shuts down cancels both tasks.
                reached = self.task.cancel() or self._ended_cancelled()
                kind = OutcomeKind.CANCELLED
            if reached:
                self.stopped = self.stopped or kind
                self.context.request_stop()
                seconds = None
        if self.call.ended_at is None and self.stopped is None:
            self.call.error = asyncio.CancelledError()  # other code cancelled the handler's task

    def _ended_cancelled(self) -> bool:
        return self.call.ended_at is None or isinstance(self.call.error, asyncio.CancelledError)

    async def _shielded(self, coro: Coroutine[Any, Any, T]) -> T:
        """Await `coro` to its end, even if this task is cancelled. `coro` limits its own time."""
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
        """Returns TIMEOUT or CANCELLED, with the result or the error of the handler's cleanup."""
        if kind is OutcomeKind.TIMEOUT:
            error = f"Execution timed out after {_seconds(self.context.timeout_seconds)} s"
            severity: Severity = "error"
        else:
            error, severity = "Execution was cancelled", "info"
        result, tb, last = None, "", self.call.error
        if last is not None:
            # Where the handler was stopped, or where its thread still is.
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
            severity="error", retryable=False, **facts,
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


def _planned(handler: type[BaseHandler], value: object, facts: dict[str, Any]) -> Outcome:
    try:
        fan_out = planned(handler, value)
    except InvalidShardsError as exc:
        return Outcome(
            kind=OutcomeKind.FAILED, error=storable_text(str(exc), 16384),
            error_class=InvalidShardsError.__name__, severity="error", retryable=False, **facts,
        )  # fmt: skip
    if not fan_out.count:
        return Outcome(kind=OutcomeKind.SUCCESS, result={"shards": {"count": 0}}, **facts)
    return Outcome(kind=OutcomeKind.SUCCESS, fan_out=fan_out, **facts)


def _success_of(value: object) -> object:
    return value.get("success") if isinstance(value, Mapping) else getattr(value, "success", None)


def _failed(failure: Failure, **facts: Any) -> Outcome:
    return Outcome(
        kind=OutcomeKind.FAILED, error=failure.error, error_class=failure.error_class,
        exception_class=failure.exception_class,
        traceback=failure.traceback, severity=failure.severity,
        retryable=not failure.permanent, retry_after_seconds=failure.retry_after_seconds, **facts,
    )  # fmt: skip


def _invalid(exc: CannotRunError | DatabaseNotConfiguredError) -> Outcome:
    return Outcome(
        kind=OutcomeKind.INVALID, error=storable_text(str(exc), 16384),
        error_class=type(exc).__name__, exception_class=path_of(type(exc)),
        severity="error", retryable=False,
    )  # fmt: skip


def _seconds(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"
