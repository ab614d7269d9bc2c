"""What of a run is still alive after its end, and ends what can be ended.

A retry must not begin while the attempt before it can still act. Child processes are ended here.
Tasks and threads are asked to stop; one that ignores this ends only with its process, which is the
decision of the caller.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from handlers import child_processes
from handlers.call import Call
from handlers.context import HandlerContext
from handlers.thread_tracking import threads_of

_LOOK_AGAIN_SECONDS = 0.05
_MOST_NAMES = 5


async def end_leftovers(context: HandlerContext, call: Call, grace_seconds: float) -> list[str]:
    """Returns the names of what cannot be stopped. Waits at most three times the grace."""
    context.request_stop()
    if child_processes.send(context.mark, signal.SIGTERM):
        await _until(lambda: not child_processes.alive(context.mark), grace_seconds)
        # Those that ignore SIGTERM.
        await _until(lambda: not child_processes.send(context.mark, signal.SIGKILL), grace_seconds)
    for future in tuple(context.thread_calls):
        future.cancel()  # it has not begun, or this does nothing
    # A thread may have waited for a process that has just ended. The thread of a plain `execute`
    # has had its own grace before.
    await _until(lambda: not _alive(context, call), grace_seconds)
    return _alive(context, call)[:_MOST_NAMES]


def _alive(context: HandlerContext, call: Call) -> list[str]:
    names = [f"task {task.get_name()}" for task in tuple(context.tasks) if not task.done()]
    if call.thread is not None and not call.thread.ended:
        names.append("its own thread")
    names += ["a call of to_thread" for future in tuple(context.thread_calls) if not future.done()]
    names += [f"thread {thread.name}" for thread in threads_of(context.mark)]
    if left := child_processes.send(context.mark, signal.SIGKILL):
        names.append(f"{left} child processes")
    return names


async def _until(is_over: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    # Threads and processes do not say when they end.
    while not is_over() and loop.time() < until:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
