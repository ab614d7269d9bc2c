"""Timeouts and cancellation: whose was it, and did the handler get its chance?"""

from __future__ import annotations

import asyncio
import threading

from handlers.runner import OutcomeKind

SOON = 0.02


def this_task() -> asyncio.Task:
    task = asyncio.current_task()
    assert task is not None
    return task


async def cancel_when(started: asyncio.Event, task: asyncio.Task):
    await started.wait()
    task.cancel()
    return await task


async def test_timeout_is_delivered_and_cleaning_up_is_allowed(run):
    cleaned = []

    async def execute(self, params):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    outcome = await run(execute, timeout_seconds=SOON)

    assert outcome.kind == OutcomeKind.TIMEOUT
    assert outcome.error == "Execution timed out after 0.02 s"
    assert "in execute" in outcome.traceback  # where it stood
    assert cleaned == [True]
    assert not outcome.overran


async def test_whole_seconds_read_as_people_write_them(run):
    async def execute(self, params):
        await asyncio.Event().wait()

    outcome = await run(execute, timeout_seconds=0)

    assert outcome.error == "Execution timed out after 0 s"


async def test_handler_that_swallows_the_timeout_is_timed_out_all_the_same(run):
    async def execute(self, params):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {"half": True}

    outcome = await run(execute, timeout_seconds=SOON)

    assert (outcome.kind, outcome.result) == ("TIMEOUT", {"half": True})


async def test_trouble_while_cleaning_up_is_told_beside_the_timeout(run):
    async def execute(self, params):
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("socket already closed")

    outcome = await run(execute, timeout_seconds=SOON)

    assert outcome.kind == OutcomeKind.TIMEOUT
    assert outcome.error == (
        "Execution timed out after 0.02 s; "
        "cleaning up then raised ValueError: socket already closed"
    )


async def test_handlers_own_timeout_is_a_failure_not_a_timeout(run):
    async def execute(self, params):
        async with asyncio.timeout(SOON):
            await asyncio.Event().wait()

    outcome = await run(execute)

    assert (outcome.kind, outcome.error) == ("FAILED", "TimeoutError")


async def test_cancel_from_outside_is_returned_after_cleaning_up(run):
    started, cleaned = asyncio.Event(), []

    async def execute(self, params):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(self.context.stop_requested)

    outcome = await cancel_when(started, asyncio.create_task(run(execute)))

    assert (outcome.kind, outcome.error) == ("CANCELLED", "Execution was cancelled")
    assert outcome.severity == "info"
    assert cleaned == [True]


async def test_second_cancel_interrupts_the_cleaning_up_and_is_still_data(run):
    started, cleaning = asyncio.Event(), asyncio.Event()

    async def execute(self, params):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run(execute))
    await started.wait()
    task.cancel()
    await cleaning.wait()
    task.cancel()
    outcome = await task

    assert outcome.kind == OutcomeKind.CANCELLED


async def test_cancel_that_comes_after_the_last_step_does_not_undo_a_success(run):
    finished = asyncio.Event()

    async def execute(self, params):
        finished.set()
        return {"done": True}

    # The event wakes this task in the same round of the loop in which the handler ends.
    outcome = await cancel_when(finished, asyncio.create_task(run(execute)))

    assert (outcome.kind, outcome.result) == ("SUCCESS", {"done": True})


async def test_loop_going_down_before_the_first_step_is_a_cancel(run):
    called = []

    async def execute(self, params):
        called.append(True)

    task = asyncio.create_task(run(execute))
    await asyncio.sleep(0)  # the runner has made the handler's task; it has not had its turn
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        each.cancel()
    outcome = await task

    assert (outcome.kind, called) == ("CANCELLED", [])


async def test_loop_going_down_in_the_middle_is_a_cancel(run):
    started = asyncio.Event()

    async def execute(self, params):
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run(execute))
    await started.wait()
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        each.cancel()
    outcome = await task

    assert outcome.kind == OutcomeKind.CANCELLED


async def test_handlers_task_cancelled_by_a_stranger_has_failed(run):
    started = asyncio.Event()

    async def execute(self, params):
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run(execute))
    await started.wait()
    for each in asyncio.all_tasks() - {asyncio.current_task(), task}:
        each.cancel()
    outcome = await task

    assert (outcome.kind, outcome.error) == ("FAILED", "CancelledError")


async def test_handler_that_cancels_itself_has_failed(run):
    async def execute(self, params):
        this_task().cancel()
        await asyncio.sleep(0)

    outcome = await run(execute)

    assert (outcome.kind, outcome.error) == ("FAILED", "CancelledError")


async def test_handler_that_cancels_itself_and_returns_at_once_keeps_its_result(run):
    async def execute(self, params):
        this_task().cancel()
        return {"n": 1}

    outcome = await run(execute)

    assert (outcome.kind, outcome.result) == ("SUCCESS", {"n": 1})


async def test_handler_cannot_reach_the_runner_through_uncancel(run):
    async def execute(self, params):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            this_task().uncancel()
            return "fine"

    outcome = await run(execute, timeout_seconds=SOON)

    assert outcome.kind == OutcomeKind.TIMEOUT


async def test_cancelled_inner_task_is_a_failure_of_the_handler(run):
    async def execute(self, params):
        inner = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        inner.cancel()
        await inner

    outcome = await run(execute)

    assert (outcome.kind, outcome.error_class) == ("FAILED", "asyncio.exceptions.CancelledError")


async def test_plain_execute_that_listens_is_stopped_without_a_trace(run):
    def execute(self, params):
        while not self.context.stop_requested:
            threading.Event().wait(0.001)
        return "stopped in time"

    outcome = await run(execute, timeout_seconds=SOON, grace_seconds=5)

    assert (outcome.kind, outcome.leaked_thread) == ("TIMEOUT", False)
    assert outcome.result == "stopped in time"


async def test_plain_execute_that_does_not_listen_is_reported_as_leaked(run):
    release = threading.Event()

    def execute(self, params):
        release.wait(10)

    try:
        outcome = await run(execute, timeout_seconds=SOON, grace_seconds=SOON)
    finally:
        release.set()

    assert (outcome.kind, outcome.leaked_thread) == ("TIMEOUT", True)
    assert "release.wait(10)" in outcome.traceback
    assert "handlers/call.py" not in outcome.traceback


async def test_async_work_behind_a_plain_wrapper_can_be_stopped(run):
    async def inner():
        await asyncio.Event().wait()

    def execute(self, params):
        return inner()

    outcome = await run(execute, timeout_seconds=SOON)

    assert outcome.kind == OutcomeKind.TIMEOUT


async def test_plain_execute_runs_in_a_daemon_thread_named_after_the_run(run):
    def execute(self, params):
        thread = threading.current_thread()
        return [thread.name, thread.daemon, thread is not threading.main_thread()]

    outcome = await run(execute)

    assert outcome.result == ["jobu-run-7", True, True]


async def test_plain_execute_that_ended_before_the_cancel_arrived_is_a_success(run):
    ended = threading.Event()

    def execute(self, params):
        ended.set()
        return "done"

    task = asyncio.create_task(run(execute))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # Blocking the loop on purpose: the thread ends, its message waits in the loop's queue.
    ended.wait(10)
    threading.Event().wait(SOON)
    task.cancel()
    outcome = await task

    assert (outcome.kind, outcome.result) == ("SUCCESS", "done")


async def test_call_of_to_thread_that_survives_a_timeout_is_reported(run):
    release = threading.Event()

    async def execute(self, params):
        await asyncio.to_thread(release.wait, 10)

    try:
        outcome = await run(execute, timeout_seconds=SOON, grace_seconds=SOON)
    finally:
        release.set()

    assert (outcome.kind, outcome.leaked_thread) == ("TIMEOUT", True)


async def test_call_of_to_thread_that_ends_within_the_grace_is_not_reported(run):
    async def execute(self, params):
        context = self.context

        def work():
            while not context.stop_requested:
                threading.Event().wait(0.001)

        await asyncio.to_thread(work)

    outcome = await run(execute, timeout_seconds=SOON, grace_seconds=5)

    assert (outcome.kind, outcome.leaked_thread) == ("TIMEOUT", False)
