"""Tracks the tasks and calls in threads of a run, so that none outlives the run unnoticed.

All runs of a worker share one event loop. A task that is created inside a run inherits its
context variable; the loop's task factory reads it and adds the task to the run's HandlerContext.
A task that must outlive the run, such as the maintenance of a pool, is created in an empty
context: `loop.create_task(coro, context=contextvars.Context())`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

from handlers.child_processes import track_processes
from handlers.context import HandlerContext, running
from handlers.errors import TaskExit
from handlers.failure import summary
from handlers.thread_tracking import track_threads

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 64
"""How many calls of asyncio.to_thread run at the same time in one process."""


def prepare_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Make `loop` track the tasks and threads of runs. A repeated call costs next to nothing."""
    factory = loop.get_task_factory()
    if isinstance(factory, _TaskFactory):
        return
    loop.set_task_factory(_TaskFactory(factory))
    track_threads()
    track_processes()
    if getattr(loop, "_default_executor", None) is None:
        loop.set_default_executor(_RunThreads(THREADS, thread_name_prefix="jobu-to-thread"))


async def end_tasks(context: HandlerContext, grace_seconds: float) -> None:
    """Cancel the tasks that still run, and log their names. Waits at most twice the grace.

    A task that starts during the cancellation (asyncpg starts one to cancel the query on the
    server) has the first grace to finish before it is cancelled too.
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
    """Creates tasks as the loop would, and adds those of a run to its context."""

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

    asyncio raises those two out of Task.__step, which ends run_forever() and with it all other
    runs of the process. This is a class and not an `async def`: if a task is cancelled before its
    first step, the inner coroutine must be closed, or Python warns that it was never awaited.
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
        return getattr(self._inner, name)  # reprs and stacks read cr_frame, cr_code, __qualname__


class _RunThreads(ThreadPoolExecutor):
    """The default executor of the loop, which adds each call to the context of its run."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        run = running.get(None)
        if run is None:
            return super().submit(fn, *args, **kwargs)
        submit = super().submit
        # In an empty context: the threads of this executor belong to no run.
        future = Context().run(lambda: submit(_between_hooks, run, fn, *args, **kwargs))
        run.thread_calls.add(future)
        future.add_done_callback(run.thread_calls.discard)
        return future


def _between_hooks(
    run: HandlerContext, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    with run.hooks.around_shared_thread():
        return fn(*args, **kwargs)
