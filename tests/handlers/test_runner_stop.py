"""Timeouts and cancellation: who caused it, and whether the handler could clean up."""

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


async def test_timeout_cancels_the_handler_which_may_clean_up(run):
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
    assert "in execute" in outcome.traceback  # where it was stopped
    assert cleaned == [True]
    assert not outcome.overran


async def test_whole_seconds_are_written_without_a_fraction(run):
    async def execute(self, params):
        await asyncio.Event().wait()

    outcome = await run(execute, timeout_seconds=0)

    assert outcome.error == "Execution timed out after 0 s"


async def test_handler_that_catches_the_cancellation_still_times_out(run):
    async def execute(self, params):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {"half": True}

    outcome = await run(execute, timeout_seconds=SOON)

    assert (outcome.kind, outcome.result) == ("TIMEOUT", {"half": True})


async def test_error_during_cleanup_is_reported_with_the_timeout(run):
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


async def test_timeout_inside_the_handler_is_a_failure_not_a_timeout(run):
    async def execute(self, params):
        async with asyncio.timeout(SOON):
            await asyncio.Event().wait()

    outcome = await run(execute)

    assert (outcome.kind, outcome.error) == ("FAILED", "TimeoutError")


async def test_cancel_from_outside_returns_an_outcome_after_cleanup(run):
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


async def test_second_cancel_interrupts_the_cleanup_and_returns_an_outcome(run):
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


async def test_cancel_after_the_last_step_keeps_the_success(run):
    finished = asyncio.Event()

    async def execute(self, params):
        finished.set()
        return {"done": True}

    # The event wakes this task in the round of the loop in which the handler ends.
    outcome = await cancel_when(finished, asyncio.create_task(run(execute)))

    assert (outcome.kind, outcome.result) == ("SUCCESS", {"done": True})


async def test_shutdown_of_the_loop_before_the_first_step_is_a_cancellation(run):
    called = []

    async def execute(self, params):
        called.append(True)

    task = asyncio.create_task(run(execute))
    await asyncio.sleep(0)  # the runner has created the handler's task, which has not started
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        each.cancel()
    outcome = await task

    assert (outcome.kind, called) == ("CANCELLED", [])


async def test_shutdown_of_the_loop_during_the_run_is_a_cancellation(run):
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


async def test_handler_task_cancelled_by_other_code_is_a_failure(run):
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


async def test_handler_that_cancels_itself_is_a_failure(run):
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


async def test_uncancel_in_the_handler_does_not_undo_the_timeout(run):
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


async def test_plain_execute_that_checks_stop_requested_leaves_no_thread(run):
    def execute(self, params):
        while not self.context.stop_requested:
            threading.Event().wait(0.001)
        return "stopped in time"

    outcome = await run(execute, timeout_seconds=SOON, grace_seconds=5)

    assert (outcome.kind, outcome.leaked) == ("TIMEOUT", False)
    assert outcome.result == "stopped in time"


async def test_plain_execute_that_ignores_stop_requested_is_reported_as_leaked(run):
    release = threading.Event()

    def execute(self, params):
        release.wait(10)

    try:
        outcome = await run(execute, timeout_seconds=SOON, grace_seconds=SOON)
    finally:
        release.set()

    assert (outcome.kind, outcome.leaked) == ("TIMEOUT", True)
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
    # Block the loop on purpose: the thread ends, and its message waits in the loop's queue.
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

    assert (outcome.kind, outcome.leaked) == ("TIMEOUT", True)


async def test_call_of_to_thread_that_ends_within_the_grace_is_not_reported(run):
    async def execute(self, params):
        context = self.context

        def work():
            while not context.stop_requested:
                threading.Event().wait(0.001)

        await asyncio.to_thread(work)

    outcome = await run(execute, timeout_seconds=SOON, grace_seconds=5)

    assert (outcome.kind, outcome.leaked) == ("TIMEOUT", False)
