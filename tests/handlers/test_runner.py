"""Whatever a handler raises or returns, the runner returns an outcome."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import BaseModel, field_validator

from dbpools.errors import ConnectionPoolExhaustedError, QueryExecutionError, TransactionError
from handlers import (
    BaseHandler,
    HandlerParams,
    HandlerResult,
    PermanentError,
    RetryLaterError,
    handler,
    registry,
)
from handlers.runner import OutcomeKind, run_handler
from tests.handlers.conftest import run_info


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class ExitingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(4)


def recurse() -> None:
    recurse()


EXCEPTIONS = [
    (Exception("x"), "Exception: x", "Exception"),
    (BaseException("x"), "BaseException: x", "BaseException"),
    (SystemExit(0), "SystemExit: 0", "SystemExit"),
    (SystemExit(3), "SystemExit: 3", "SystemExit"),
    (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
    (GeneratorExit(), "GeneratorExit", "GeneratorExit"),
    (asyncio.CancelledError(), "CancelledError", "asyncio.exceptions.CancelledError"),
    (MemoryError(), "MemoryError", "MemoryError"),
    (RecursionError("deep"), "RecursionError: deep", "RecursionError"),
    (TimeoutError("mine"), "TimeoutError: mine", "TimeoutError"),
    (
        ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
        "ExceptionGroup: two (2 sub-exceptions): ValueError: a; KeyError: 'b'",
        "ExceptionGroup",
    ),
    (
        UnreadableError(),
        "UnreadableError: (its message could not be read: RuntimeError)",
        "tests.handlers.test_runner.UnreadableError",
    ),
    (
        ExitingError(),
        "ExitingError: (its message could not be read: SystemExit)",
        "tests.handlers.test_runner.ExitingError",
    ),
]


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize(("exc", "error", "error_class"), EXCEPTIONS, ids=lambda v: str(type(v)))
async def test_every_exception_becomes_a_failed_outcome(run, kind, exc, error, error_class):
    async def execute(self, params):
        raise exc

    def plain(self, params):
        raise exc

    outcome = await run(execute if kind == "async" else plain)

    assert outcome.kind == OutcomeKind.FAILED
    assert outcome.error == error
    assert outcome.error_class == error_class
    assert outcome.severity == "error"
    assert outcome.retryable


async def test_stop_iteration_in_a_thread_keeps_its_name(run):
    def plain(self, params):
        raise StopIteration(5)

    outcome = await run(plain)

    assert (outcome.kind, outcome.error) == ("FAILED", "StopIteration: 5")


async def test_stop_iteration_in_a_coroutine_is_wrapped_by_python(run):
    async def execute(self, params):
        raise StopIteration

    outcome = await run(execute)

    assert outcome.error == "RuntimeError: coroutine raised StopIteration"
    assert "StopIteration" in outcome.traceback


async def test_recursion_error_has_a_short_traceback(run):
    async def execute(self, params):
        recurse()

    outcome = await run(execute)

    assert outcome.error_class == "RecursionError"
    assert len(outcome.traceback) <= 16 * 1024


async def test_a_message_of_five_megabytes_is_cut_and_keeps_both_ends(run):
    async def execute(self, params):
        raise ValueError("start" + "\x00\ud800x" * 1_000_000 + "end")

    outcome = await run(execute)

    assert len(outcome.error.encode()) <= 16 * 1024
    assert outcome.error.startswith("ValueError: start\\x00\\ud800x")
    assert outcome.error.endswith("end")
    assert "bytes cut" in outcome.error


async def test_traceback_shows_user_code_without_our_frames_or_locals(run):
    async def execute(self, params):
        password = "hunter2"  # noqa: F841
        try:
            raise KeyError("inner")
        except KeyError as exc:
            raise ValueError("outer") from exc

    outcome = await run(execute)

    assert "handlers/call.py" not in outcome.traceback
    assert outcome.traceback.count("in execute") == 2
    assert outcome.traceback.index("KeyError: 'inner'") < outcome.traceback.index("direct cause")
    assert outcome.traceback.endswith("ValueError: outer")


async def test_an_exception_that_is_its_own_cause_does_not_loop(run):
    async def execute(self, params):
        first, second = ValueError("a"), ValueError("b")
        first.__cause__, second.__cause__ = second, first
        raise first

    outcome = await run(execute)

    assert outcome.traceback.endswith("ValueError: a")


async def test_groups_inside_groups_keep_the_error_at_their_end(run):
    async def execute(self, params):
        error: Exception = ValueError("the real one")
        for _ in range(500):
            error = ExceptionGroup("outer", [error])
        raise error

    outcome = await run(execute)

    assert outcome.error == "ExceptionGroup: outer (1 sub-exception): ValueError: the real one"
    assert outcome.traceback.rstrip().endswith("ValueError: the real one")
    assert len(outcome.traceback) < 10_000


async def test_a_handler_says_when_to_try_again(run):
    async def execute(self, params):
        raise RetryLaterError("the shop is closed", seconds=900)

    outcome = await run(execute)

    assert (outcome.kind, outcome.retryable, outcome.retry_after_seconds) == ("FAILED", True, 900)


async def test_validation_inside_a_handler_does_not_quote_its_input(run):
    class Reply(BaseModel):
        number: int

    async def execute(self, params):
        Reply(number=params["token"])

    outcome = await run(execute, {"token": "s3cret"})

    assert outcome.error.startswith("ValidationError: Reply does not fit: number: Input should be")
    assert "s3cret" not in outcome.error + outcome.traceback


async def test_failing_constructor_is_a_failed_run(sink):
    @handler("tested")
    class Broken(BaseHandler):
        def __init__(self):
            raise SystemExit(9)

        async def execute(self, params):
            return None

    outcome = await run_handler(run_info(), {}, sink)

    assert (outcome.kind, outcome.error) == ("FAILED", "SystemExit: 9")


async def test_each_run_has_a_new_instance(sink):
    seen = []

    @handler("tested")
    class Counting(BaseHandler):
        async def execute(self, params):
            seen.append(self)

    await run_handler(run_info(), {}, sink)
    await run_handler(run_info(), {}, sink)

    assert seen[0] is not seen[1]


@pytest.mark.parametrize(
    ("returned", "stored"),
    [
        (None, None),
        ({"n": 1}, {"n": 1}),
        ([1, "a"], [1, "a"]),
        (5, 5),
        ("text", "text"),
    ],
)
async def test_returned_value_is_the_result(run, returned, stored):
    async def execute(self, params):
        return returned

    outcome = await run(execute)

    assert (outcome.kind, outcome.result, outcome.error) == ("SUCCESS", stored, "")


async def test_handler_result_keeps_extra_fields(run):
    async def execute(self, params):
        return HandlerResult(action="sync", count=2, synced=2)

    outcome = await run(execute)

    assert outcome.result["synced"] == 2
    assert outcome.result["success"] is True


@pytest.mark.parametrize("made_as", ["model", "dict"])
async def test_success_false_is_a_failure_that_keeps_its_result(run, made_as):
    async def execute(self, params):
        if made_as == "model":
            return HandlerResult(action="x", success=False, error="unknown action 'x'")
        return {"action": "x", "success": False, "error": "unknown action 'x'"}

    outcome = await run(execute)

    assert outcome.kind == OutcomeKind.FAILED
    assert outcome.error == "Handler reported failure: unknown action 'x'"
    assert outcome.error_class == "HandlerReportedFailure"
    assert outcome.result["action"] == "x"
    assert outcome.retryable


async def test_success_false_counts_even_if_it_is_cut_from_the_result(run):
    async def execute(self, params):
        return {**{f"step {n}": "x" * 100 for n in range(1000)}, "success": False}

    outcome = await run(execute, max_result_bytes=1000)

    assert outcome.kind == OutcomeKind.FAILED
    assert "success" not in outcome.result


async def test_permanent_error_is_not_retryable(run):
    async def execute(self, params):
        raise PermanentError("account closed")

    outcome = await run(execute)

    assert (outcome.kind, outcome.retryable) == ("FAILED", False)
    assert outcome.error == "PermanentError: account closed"


async def test_result_that_is_not_json_is_a_failure_with_the_place(run):
    async def execute(self, params):
        return {"data": [1, {"lock": object()}]}

    outcome = await run(execute)

    # The handler has done its work: it must not do it again.
    assert (outcome.kind, outcome.retryable) == (OutcomeKind.FAILED, False)
    assert outcome.error == (
        "Result cannot be stored: result.data[1].lock is of type 'object', which is not JSON"
    )


async def test_result_that_raises_when_read_is_a_failed_run(run):
    class Nasty(dict):
        def __iter__(self):
            raise SystemExit(1)

    async def execute(self, params):
        return Nasty()

    outcome = await run(execute)

    assert (outcome.kind, outcome.retryable) == (OutcomeKind.FAILED, False)


async def test_result_over_the_limit_is_cut_and_still_a_success(run):
    async def execute(self, params):
        return {"data": list(range(100_000)), "count": 100_000}

    outcome = await run(execute, max_result_bytes=1000)

    assert outcome.kind == OutcomeKind.SUCCESS
    assert outcome.result["count"] == 100_000
    assert "_cut" in outcome.result


async def test_unknown_handler_is_invalid_with_the_nearest_name(run, sink):
    async def execute(self, params):
        return None

    await run(execute)
    outcome = await run_handler(run_info("testde"), {}, sink)

    assert outcome.kind == OutcomeKind.INVALID
    assert outcome.error == "Handler not found: testde (did you mean 'tested'?)"
    assert not outcome.retryable


async def test_bad_params_are_invalid_and_execute_is_not_called(sink):
    class Params(HandlerParams):
        to: str

    @handler("tested", params=Params)
    class Mail(BaseHandler):
        async def execute(self, params):
            pytest.fail("must not run")

    outcome = await run_handler(run_info(), {"subject": "s3cret"}, sink)

    assert outcome.kind == OutcomeKind.INVALID
    assert outcome.error == "Invalid params: to: Field required"


async def test_validator_that_raises_an_unusual_error_means_invalid_params(sink):
    class Params(HandlerParams):
        to: str

        @field_validator("to")
        @classmethod
        def look(cls, value: str) -> str:
            raise LookupError(value)

    @handler("tested", params=Params)
    class Mail(BaseHandler):
        async def execute(self, params):
            return None

    outcome = await run_handler(run_info(), {"to": "s3cret"}, sink)

    assert outcome.error == "Invalid params: Params could not read them (LookupError)"


async def test_resolver_that_raises_is_a_failed_run(sink):
    def resolver(name: str) -> None:
        raise KeyboardInterrupt

    registry.add_resolver("odd:", resolver)

    outcome = await run_handler(run_info("odd:x"), {}, sink)

    assert (outcome.kind, outcome.error_class) == ("FAILED", "KeyboardInterrupt")


async def test_full_pool_is_a_warning_other_database_errors_are_errors(run):
    full = ConnectionPoolExhaustedError("main", waited_seconds=30, size=5, waiting=2)
    found = {}
    for exc in (full, TransactionError("t"), QueryExecutionError("q"), ExceptionGroup("g", [full])):

        async def execute(self, params, exc=exc):
            raise exc

        with registry.restored():
            found[type(exc).__name__] = (await run(execute)).severity

    assert found == {
        "ConnectionPoolExhaustedError": "warning",
        "TransactionError": "error",
        "QueryExecutionError": "error",
        "ExceptionGroup": "warning",
    }


async def test_late_finish_while_the_loop_was_blocked_is_a_success_that_overran(run):
    async def execute(self, params):
        time.sleep(0.05)  # noqa: ASYNC251, TID251 - blocking the loop is what is tested
        return {"n": 1}

    outcome = await run(execute, timeout_seconds=0.01)

    assert (outcome.kind, outcome.result) == ("SUCCESS", {"n": 1})
    assert outcome.overran
    assert outcome.ran_seconds >= 0.05


async def test_late_failure_while_the_loop_was_blocked_keeps_its_reason(run):
    async def execute(self, params):
        time.sleep(0.05)  # noqa: ASYNC251, TID251 - blocking the loop is what is tested
        raise ValueError("late")

    outcome = await run(execute, timeout_seconds=0.01)

    assert (outcome.kind, outcome.error) == ("FAILED", "ValueError: late")
    assert outcome.overran


async def test_duration_is_measured_with_the_given_clock(run):
    ticks = iter(range(100))

    async def execute(self, params):
        return None

    outcome = await run(execute, monotonic=lambda: float(next(ticks)))

    assert outcome.ran_seconds >= 1


async def test_async_method_behind_a_plain_wrapper_is_awaited(run):
    async def inner(self, params):
        await asyncio.sleep(0)
        return {"inner": True}

    def execute(self, params):
        return inner(self, params)

    outcome = await run(execute)

    assert outcome.result == {"inner": True}


async def test_hundreds_of_concurrent_runs_keep_their_own_context(sink):
    @handler("tested")
    class Echo(BaseHandler):
        async def execute(self, params):
            mine = self.context.execution_id
            for _ in range(3):
                await asyncio.sleep(0)
            return {"same": mine == self.context.execution_id == params["n"]}

    outcomes = await asyncio.gather(
        *(run_handler(run_info(execution_id=n), {"n": n}, sink) for n in range(300))
    )

    assert all(outcome.result == {"same": True} for outcome in outcomes)
