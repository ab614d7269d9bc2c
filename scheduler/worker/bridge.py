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
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")

CLOSE_SECONDS = 5.0


class Run(Generic[T]):
    """A coroutine that a bridge starts on its loop, as a thread sees it.

    `on_end` is called on the loop when the coroutine has ended; it must neither block nor raise.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        name: str,
        *,
        context: contextvars.Context | None = None,
        on_end: Callable[[Run[T]], None] | None = None,
    ) -> None:
        self.name = name
        self._coroutine = coroutine
        self._context = context or contextvars.copy_context()
        self._on_end = on_end
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None

    def wait(self, seconds: float) -> bool:
        """Block up to `seconds`; True when the coroutine has ended."""
        return self._ended.wait(max(0.0, seconds))

    def result(self) -> T:
        """Return what the coroutine returned, or raise what it raised. Blocks until then."""
        self._ended.wait()
        assert self._task is not None
        return self._task.result()

    def cancel(self) -> None:
        """Ask the coroutine to stop, without waiting. Does nothing when it has ended."""
        if self._loop is not None and not self._ended.is_set():
            self._loop.call_soon_threadsafe(self._cancel)

    def stack(self) -> str:
        """Where the coroutine waits, while it is suspended."""
        return _where(self._task) if self._task is not None else ""

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._coroutine, name=self.name, context=self._context)
        self._task.add_done_callback(self._done)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _done(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # else asyncio logs an error that nobody has asked for
        self._ended.set()
        if self._on_end is not None:
            self._on_end(self)


class Bridge:
    """Runs coroutines on this process's loop thread, from any thread."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def start(self, runs: Sequence[Run[Any]]) -> None:
        """Start the coroutines on the loop, in one step. Does not wait."""
        loop = self._running_loop()
        for run in runs:
            run._loop = loop
        if runs:
            loop.call_soon_threadsafe(_start_all, loop, runs)

    def run(self, coroutine: Coroutine[Any, Any, T], *, name: str = "bridge.run") -> T:
        """Run `coroutine` and return its result. Blocks, so never call it on the loop itself."""
        run = Run(coroutine, name)
        self.start([run])
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
        closing = Run(self._shut_down(), "bridge.close")
        loop.call_soon_threadsafe(closing._start, loop)
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


def _start_all(loop: asyncio.AbstractEventLoop, runs: Sequence[Run[Any]]) -> None:
    for run in runs:
        run._start(loop)


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
