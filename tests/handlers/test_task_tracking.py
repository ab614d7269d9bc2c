"""Tasks and threads of a run end with it, and do not affect other runs."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys

import pytest

from handlers import BaseHandler, current, handler
from handlers.runner import run_handler
from handlers.task_tracking import prepare_loop
from tests.handlers.conftest import ListSink, register, run_info


async def test_task_left_by_a_handler_is_cancelled_and_logged(run, sink):
    seen = []

    async def forgotten():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def execute(self, params):
        self.kept = asyncio.create_task(forgotten(), name="heart")
        await asyncio.sleep(0)

    outcome = await run(execute)

    assert outcome.kind == "SUCCESS"
    assert seen == ["cancelled"]
    assert sink.lines == [("WARNING", "1 task left running, cancelled: heart")]


async def test_other_tasks_of_a_failed_gather_are_cancelled(run):
    lived = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            lived.append("ended")

    async def bad():
        await asyncio.sleep(0)
        raise ValueError("first")

    async def execute(self, params):
        await asyncio.gather(slow(), bad())

    outcome = await run(execute)

    assert (outcome.error, lived) == ("ValueError: first", ["ended"])


async def test_task_started_during_the_cancellation_may_finish(run):
    finished, kept = [], []

    async def goodbye():
        await asyncio.sleep(0.001)
        finished.append(True)

    async def forgotten():
        try:
            await asyncio.Event().wait()
        finally:
            kept.append(asyncio.create_task(goodbye()))

    async def execute(self, params):
        self.kept = asyncio.create_task(forgotten())
        await asyncio.sleep(0)

    await run(execute, grace_seconds=5)

    assert finished == [True]


async def test_task_that_ignores_cancellation_is_logged_and_not_awaited(run, sink):
    release, kept = asyncio.Event(), []

    async def stubborn():
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    async def execute(self, params):
        kept.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    outcome = await run(execute, grace_seconds=0.01)

    assert outcome.kind == "SUCCESS"
    assert sink.lines[-1] == ("ERROR", "1 task ignored cancellation")
    release.set()
    await kept[0]


async def test_tasks_of_other_runs_are_not_cancelled():
    first_done, second_task = asyncio.Event(), []

    @handler("second")
    class Second(BaseHandler):
        async def execute(self, params):
            second_task.append(asyncio.create_task(first_done.wait()))
            return await second_task[0]

    async def nothing(self, params):
        asyncio.create_task(asyncio.Event().wait())  # noqa: RUF006 - left running on purpose
        await asyncio.sleep(0)

    register(nothing)
    outside = asyncio.create_task(asyncio.sleep(0.01, "outside"))
    second = asyncio.create_task(run_handler(run_info("second"), {}, ListSink()))
    await asyncio.sleep(0)

    await run_handler(run_info(), {}, ListSink())
    first_done.set()

    assert (await second).result is True
    assert await outside == "outside"


async def test_task_in_an_empty_context_outlives_the_run(run):
    kept = []

    async def execute(self, params):
        loop = asyncio.get_running_loop()
        kept.append(loop.create_task(asyncio.sleep(0.01, "alive"), context=contextvars.Context()))
        await asyncio.sleep(0)

    await run(execute)

    assert await kept[0] == "alive"


@pytest.mark.parametrize("exc", [SystemExit(3), KeyboardInterrupt()])
async def test_exit_in_a_spawned_task_fails_the_run_and_not_the_loop(run, exc):
    async def leave():
        await asyncio.sleep(0)
        raise exc

    async def execute(self, params):
        await asyncio.create_task(leave())

    outcome = await run(execute)

    assert outcome.kind == "FAILED"
    assert outcome.error_class == type(exc).__name__


async def test_exit_in_a_task_group_is_named_in_the_error(run):
    async def leave():
        sys.exit(3)

    async def execute(self, params):
        async with asyncio.TaskGroup() as group:
            group.create_task(leave())

    outcome = await run(execute)

    assert outcome.error.endswith("SystemExit: 3")


async def test_exit_in_a_thread_of_to_thread_fails_the_run(run):
    async def execute(self, params):
        await asyncio.to_thread(sys.exit, 3)

    outcome = await run(execute)

    assert (outcome.kind, outcome.error_class) == ("FAILED", "SystemExit")


async def test_task_cancelled_before_its_first_step_is_not_reported_as_never_awaited(run):
    async def never():
        pytest.fail("must not run")

    async def execute(self, params):
        task = asyncio.create_task(never())
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    outcome = await run(execute)  # warnings are errors

    assert outcome.result is True


async def test_guarded_tasks_still_show_their_stack_and_name(run):
    async def worker():
        await asyncio.Event().wait()

    async def execute(self, params):
        task = asyncio.create_task(worker())
        await asyncio.sleep(0)
        frames = task.get_stack()
        shown = repr(task)
        task.cancel()
        return {"frames": [frame.f_code.co_name for frame in frames], "named": "worker" in shown}

    outcome = await run(execute)

    assert outcome.result == {"frames": ["worker"], "named": True}


async def test_current_works_in_tasks_and_threads(run):
    async def in_task():
        return current().execution_id

    async def execute(self, params):
        return [
            current().execution_id,
            await asyncio.create_task(in_task()),
            await asyncio.to_thread(lambda: current().execution_id),
        ]

    outcome = await run(execute)

    assert outcome.result == [7, 7, 7]


async def test_current_works_in_a_plain_execute(run):
    def execute(self, params):
        return [current() is self.context, current().attempt]

    outcome = await run(execute)

    assert outcome.result == [True, 2]


async def test_preparing_a_loop_keeps_its_task_factory():
    made = []

    def theirs(loop, coro, **options):
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(theirs)
    prepare_loop(loop)
    factory = loop.get_task_factory()
    prepare_loop(loop)

    await asyncio.create_task(asyncio.sleep(0))

    assert loop.get_task_factory() is factory
    assert len(made) == 1
