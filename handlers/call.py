"""Calls `execute`, async or plain, and records the outcome as data."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handlers.base import BaseHandler
from handlers.context import HandlerContext
from handlers.named_frame import called_in_frame


@dataclass
class ThreadCall:
    """The outcome of `execute` in a thread. Only that thread writes it, `ended` last."""

    value: Any = None
    error: BaseException | None = None
    ended_before_stop: bool = False
    """True: it ended before a stop was requested."""
    ended: bool = False
    ident: int | None = None


@dataclass
class Call:
    """The outcome of one call of `execute`, filled in place.

    It is neither returned nor raised, because StopIteration cannot leave a coroutine and a task
    that is cancelled in its last step loses its value.
    """

    value: Any = None
    error: BaseException | None = None
    ended_at: float | None = None
    """By the runner's monotonic clock; None: it has not ended."""
    ended_before_stop: bool = False
    """True: it had ended in its thread when a cancellation came, so the cancellation is ignored."""
    thread: ThreadCall | None = None
    """Set for a plain `execute`; it still runs while `thread.ended` is False."""


async def call_handler(
    cls: type[BaseHandler],
    argument: object,
    *,
    call: Call,
    context: HandlerContext,
    monotonic: Callable[[], float],
    thread_grace_seconds: float,
    plans: bool = False,
) -> None:
    """Create the handler, run it, and write the outcome into `call`. Raises nothing.

    `plans`: the run is to be divided, so `plan` is called and not `execute`.
    """
    try:
        instance = cls()
        instance.bind(context)
        work: Callable[[Any], Any] = instance.plan if plans else instance.execute
        if inspect.iscoroutinefunction(work):
            call.value = await work(argument)
        else:
            await _in_thread(work, argument, call, context, thread_grace_seconds)
            if call.error is None and inspect.isawaitable(call.value):
                # `execute` is a plain wrapper around an async method: the work begins only now.
                call.ended_before_stop = False
                if context.stop_requested:
                    if inspect.iscoroutine(call.value):
                        call.value.close()
                    raise asyncio.CancelledError
                call.value = await call.value
    except BaseException as exc:  # noqa: BLE001 - user code; SystemExit and others become data
        call.error = exc
    finally:
        call.ended_at = monotonic()


def wake_waiter(ended: asyncio.Future[None]) -> None:
    """Wake the task that waits for `ended`. Must be called on its loop."""
    if not ended.done():
        ended.set_result(None)


async def _in_thread(
    execute: Callable[[Any], Any],
    argument: object,
    call: Call,
    context: HandlerContext,
    grace_seconds: float,
) -> None:
    """Run `execute` in a new daemon thread.

    With a thread of its own, a call that hangs takes no place from other runs; a daemon does not
    delay the exit of the process.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    call.thread = thread_call = ThreadCall()

    def work() -> None:
        thread_call.ident = threading.get_ident()
        try:
            with context.hooks.around_own_thread():
                thread_call.value = called_in_frame(
                    f"execution_{context.execution_id}", lambda: execute(argument)
                )
        except BaseException as exc:  # noqa: BLE001 - as above
            thread_call.error = exc
        # Read here, in this thread: a call that stops halfway because of the request must not
        # count as a call that was complete.
        thread_call.ended_before_stop = not context.stop_requested
        thread_call.ended = True
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nothing waits
            loop.call_soon_threadsafe(wake_waiter, ended)

    thread = threading.Thread(
        target=contextvars.copy_context().run,
        args=(work,),
        name=f"jobu-run-{context.execution_id}",
        daemon=True,
    )
    try:
        # In an empty context: it is no thread that the handler has started.
        contextvars.Context().run(thread.start)
    except BaseException:
        call.thread = None
        raise
    try:
        await asyncio.wait({ended})  # not `await ended`: a cancellation would cancel the future
    except asyncio.CancelledError:
        context.request_stop()
        if not thread_call.ended:
            await asyncio.wait({ended}, timeout=grace_seconds)
        if not thread_call.ended:
            raise
        call.ended_before_stop = thread_call.ended_before_stop
    call.value, call.error = thread_call.value, thread_call.error
