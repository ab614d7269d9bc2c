"""Knowing what a run started, so that nothing of it outlives the run unnoticed.

All runs of a worker share one event loop. Every task made inside a run inherits its context
variable; the loop's task factory reads it and notes the task on the run's HandlerContext.
Something that must outlive the run (a pool's housekeeping task) is made in an empty context:
`loop.create_task(coro, context=contextvars.Context())`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

from handlers.call import resolve
from handlers.context import HandlerContext, running
from handlers.errors import TaskExit
from handlers.failure import summary

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 64
"""Calls of asyncio.to_thread that may run at once in one process."""


def prepare_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Make `loop` note the tasks and threads of runs. Cheap when it was done before."""
    factory = loop.get_task_factory()
    if isinstance(factory, _TaskFactory):
        return
    loop.set_task_factory(_TaskFactory(factory))
    if getattr(loop, "_default_executor", None) is None:
        loop.set_default_executor(_RunThreads(THREADS, thread_name_prefix="jobu-to-thread"))


async def end_tasks(context: HandlerContext, grace_seconds: float) -> None:
    """Cancel the tasks that the run left, and say so in its log. Waits twice the grace at most.

    A task that is born while the others are being cancelled (asyncpg asks the server to stop the
    query in one) gets the grace to finish before it is cancelled as well.
    """
    for _ in range(2):
        left = [task for task in context.tasks if not task.done()]
        if not left:
            return
        names = ", ".join(sorted(task.get_name() for task in left)[:5])
        context.log.warning("%s left running, cancelled: %s", _count(len(left), "task"), names)
        for task in left:
            task.cancel()
        await _wait_for_all(context, grace_seconds)
        for task in left:
            if task.done() and not task.cancelled() and (exc := task.exception()) is not None:
                context.log.warning("task %s failed: %s", task.get_name(), summary(exc))
    stuck = [task for task in context.tasks if not task.done()]
    if stuck:
        context.log.error("%s ignored cancellation", _count(len(stuck), "task"))


async def threads_left(context: HandlerContext, grace_seconds: float) -> bool:
    """True when a call of asyncio.to_thread is still running after the grace."""
    context.request_stop()
    loop = asyncio.get_running_loop()
    for call in tuple(context.thread_calls):
        if call.cancel() or call.done():
            continue
        ended: asyncio.Future[None] = loop.create_future()
        call.add_done_callback(functools.partial(_tell, loop, ended))
        await asyncio.wait({ended}, timeout=grace_seconds)
        if not call.done():
            return True
    return False


def _tell(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None], _: Future[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(resolve, ended)


async def _wait_for_all(context: HandlerContext, grace_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + grace_seconds
    while left := [task for task in context.tasks if not task.done()]:
        if (seconds := until - loop.time()) <= 0:
            return
        await asyncio.wait(left, timeout=seconds)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class _TaskFactory:
    """Makes tasks as the loop would, and notes those of a run on its context."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Future[Any]:
        context: Context | None = options.get("context")
        run = running.get(None) if context is None else context.get(running)
        if run is not None:
            coro = _ExitGuard(coro)
        if self._inner is not None:
            task = self._inner(loop, coro, **options)
        else:
            task = asyncio.Task(coro, loop=loop, **options)
        if run is not None:
            run.tasks.add(task)
            task.add_done_callback(run.tasks.discard)
        return task  # type: ignore[no-any-return]


class _ExitGuard(Coroutine[Any, Any, Any]):
    """A coroutine in which SystemExit and KeyboardInterrupt become TaskExit.

    asyncio re-raises those two out of Task.__step, which ends run_forever() and with it every
    other run of the process. A class and not an `async def`, because a task that is cancelled
    before its first step must close the inner coroutine, not leave it "never awaited".
    """

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except (SystemExit, KeyboardInterrupt) as exc:
            raise TaskExit(summary(exc)) from exc

    def throw(self, *args: Any) -> Any:
        try:
            return self._inner.throw(*args)
        except (SystemExit, KeyboardInterrupt) as exc:
            raise TaskExit(summary(exc)) from exc

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # cr_frame, cr_code, __qualname__: for reprs and stacks


class _RunThreads(ThreadPoolExecutor):
    """The loop's default executor, noting which run each call belongs to."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = super().submit(fn, *args, **kwargs)
        run = running.get(None)
        if run is not None:
            run.thread_calls.add(future)
            future.add_done_callback(run.thread_calls.discard)
        return future
