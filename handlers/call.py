"""Calling `execute`, async or plain, and keeping what came of it as data."""

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


@dataclass
class ThreadCall:
    """What a thread made of `execute`; written by that thread alone, `ended` last."""

    value: Any = None
    error: BaseException | None = None
    undisturbed: bool = False
    """True: it ended before it was told to stop."""
    ended: bool = False
    ident: int | None = None


@dataclass
class Call:
    """What happened to one call of `execute`. Filled in place: nothing is raised or returned,
    because StopIteration cannot leave a coroutine, and a task cancelled in its last step
    forgets its value.
    """

    value: Any = None
    error: BaseException | None = None
    ended_at: float | None = None
    """By the runner's monotonic clock; None: it has not ended."""
    undisturbed: bool = False
    """True: it was done in its thread when a cancellation came; the cancellation does not count."""
    thread: ThreadCall | None = None
    """Set for a plain `execute`; not `ended`: it is still at work."""


async def call_handler(
    cls: type[BaseHandler],
    argument: object,
    *,
    call: Call,
    context: HandlerContext,
    monotonic: Callable[[], float],
    thread_grace_seconds: float,
) -> None:
    """Make the handler, run it, put what came of it into `call`. Raises nothing."""
    try:
        instance = cls()
        instance.bind(context)
        if inspect.iscoroutinefunction(instance.execute):
            call.value = await instance.execute(argument)
        else:
            await _in_thread(instance.execute, argument, call, context, thread_grace_seconds)
            if call.error is None and inspect.isawaitable(call.value):
                # A plain wrapper around an async method: the work only begins now.
                call.undisturbed = False
                if context.stop_requested:
                    if inspect.iscoroutine(call.value):
                        call.value.close()
                    raise asyncio.CancelledError
                call.value = await call.value
    except BaseException as exc:  # noqa: BLE001 - user code: SystemExit and the like are data here
        call.error = exc
    finally:
        call.ended_at = monotonic()


def resolve(ended: asyncio.Future[None]) -> None:
    """Wake whoever waits for `ended`; called on its loop."""
    if not ended.done():
        ended.set_result(None)


async def _in_thread(
    execute: Callable[[Any], Any],
    argument: object,
    call: Call,
    context: HandlerContext,
    grace_seconds: float,
) -> None:
    """A daemon thread of its own: a stuck call neither starves other runs nor holds up the exit."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    call.thread = made = ThreadCall()

    def work() -> None:
        made.ident = threading.get_ident()
        try:
            made.value = execute(argument)
        except BaseException as exc:  # noqa: BLE001 - as above
            made.error = exc
        # Asked here, in its own thread: one that stops halfway because it was told to must not
        # pass for one that was done.
        made.undisturbed = not context.stop_requested
        made.ended = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(resolve, ended)

    thread = threading.Thread(
        target=contextvars.copy_context().run,
        args=(work,),
        name=f"jobu-run-{context.execution_id}",
        daemon=True,
    )
    try:
        thread.start()
    except BaseException:
        call.thread = None
        raise
    try:
        await asyncio.wait({ended})  # not `await ended`: a cancellation would cancel the future
    except asyncio.CancelledError:
        context.request_stop()
        if not made.ended:
            await asyncio.wait({ended}, timeout=grace_seconds)
        if not made.ended:
            raise
        call.undisturbed = made.undisturbed
    call.value, call.error = made.value, made.error
