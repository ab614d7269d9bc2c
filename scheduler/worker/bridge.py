"""The only place where synchronous and asynchronous code meet: one event loop thread per process.

The thread starts with the first run, which under prefork is after the fork. The bridge remembers
the process id, so that a child never uses its parent's loop. Pools that handlers open live on this
loop and are closed with it.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from typing import Any, Generic, TypeVar

T = TypeVar("T")

CLOSE_SECONDS = 5.0


class Run(Generic[T]):
    """A coroutine on the loop, as a thread sees it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.name = name
        self._loop = loop
        self._future: Future[T] = Future()
        self._task: asyncio.Task[T] | None = None

    def wait(self, seconds: float) -> bool:
        """Block up to `seconds`; True when the coroutine has ended."""
        return bool(wait_for_futures([self._future], timeout=max(0.0, seconds)).done)

    def result(self) -> T:
        """Return what the coroutine returned, or raise what it raised. Blocks until then."""
        return self._future.result()

    def cancel(self) -> None:
        """Ask the coroutine to stop, without waiting. Does nothing when it has ended."""
        if not self._future.done():
            self._loop.call_soon_threadsafe(self._cancel)

    def stack(self) -> str:
        """Where the coroutine waits, while it is suspended."""
        return _where(self._task) if self._task is not None else ""

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._task = self._loop.create_task(coroutine, name=self.name)
        self._task.add_done_callback(self._done)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _done(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._future.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(task.result())


class Bridge:
    """Runs coroutines on this process's loop thread, from any thread."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def submit(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> Run[T]:
        """Start `coroutine` on the loop, in a copy of the caller's context variables."""
        loop = self._running_loop()
        run: Run[T] = Run(loop, name)
        loop.call_soon_threadsafe(run._start, coroutine, context=contextvars.copy_context())
        return run

    def run(self, coroutine: Coroutine[Any, Any, T], *, name: str = "bridge.run") -> T:
        """Run `coroutine` and return its result. Blocks, so never call it on the loop itself."""
        run = self.submit(coroutine, name=name)
        try:
            return run.result()
        except BaseException:
            run.cancel()
            raise

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Await `closer()` on the loop before the loop stops. Pools use it."""
        self._closers.append(closer)

    def answers(self, seconds: float) -> bool:
        """Whether the loop answers within `seconds`. True when there is no loop.

        Blocks the caller, not the loop.
        """
        loop = self._loop
        if loop is None or self._pid != os.getpid():
            return True
        answered = threading.Event()
        loop.call_soon_threadsafe(answered.set)
        return answered.wait(seconds)

    def loop_stack(self) -> str:
        """What the loop's thread does right now. It names the culprit when the loop is blocked."""
        thread = self._thread
        frame = sys._current_frames().get(thread.ident or 0) if thread else None
        return "".join(traceback.format_stack(frame)) if frame else ""

    def loop_task_name(self) -> str:
        """The name of the task that the loop runs right now. Empty between tasks."""
        task = asyncio.current_task(self._loop) if self._loop else None
        return task.get_name() if task else ""

    def task_stack(self, name: str) -> str:
        """Where the tasks called `name` wait, while they are suspended."""
        loop = self._loop
        tasks = asyncio.all_tasks(loop) if loop else set()
        return "".join(_where(task) for task in tasks if task.get_name() == name)

    def close(self) -> None:
        """Close what was opened on the loop, stop it, wait for its thread. Each wait is bounded."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None or self._pid != os.getpid():
            return
        closing = Run[None](loop, "bridge.close")
        loop.call_soon_threadsafe(closing._start, self._shut_down())
        closing.wait(CLOSE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_SECONDS)
        if not thread.is_alive():
            loop.close()

    async def _shut_down(self) -> None:
        for closer in reversed(self._closers):
            # One pool that fails to close must not keep the others open.
            try:
                await closer()
            except Exception:  # noqa: BLE001
                traceback.print_exc()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._pid != os.getpid():
                raise RuntimeError(
                    "a bridge belongs to the process that made it; make one after the fork"
                )
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name="jobu-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
            # asyncio ends the loop when a task raises these, but a handler must not end it.
            except (SystemExit, KeyboardInterrupt):
                continue
            return


def _where(task: asyncio.Task[Any]) -> str:
    """The frames of a suspended task, outermost first. task.get_stack() has only the outermost."""
    lines = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None)
        if frame is not None:
            lines += traceback.format_stack(frame, limit=1)
        awaited = getattr(awaited, "cr_await", None)
    return "".join(lines)
