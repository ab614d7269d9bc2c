"""The context of a running handler: its facts, its log and its progress."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from handlers import HandlerContext, current
from tests.handlers.conftest import run_info


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self) -> float:
            return self.now

    return Clock()


@pytest.fixture
def context(sink, clock) -> HandlerContext:
    return HandlerContext(run_info(), sink, clock)


def test_facts_of_the_run_are_attributes(context):
    assert (context.execution_id, context.job_id, context.job_name) == (7, 3, "nightly")
    assert (context.attempt, context.max_attempts) == (2, 4)
    assert context.scheduled_time == datetime(2025, 1, 10, 10, 0, tzinfo=UTC)
    assert context.logical_time is None


def test_idempotency_key_is_job_and_slot_in_utc():
    seoul = datetime(2025, 1, 10, 19, 0, tzinfo=timezone(timedelta(hours=9)))

    assert run_info(scheduled_time=seoul).idempotency_key == "3:2025-01-10T10:00:00Z"
    assert run_info(attempt=1).idempotency_key == run_info(attempt=2).idempotency_key


def test_idempotency_key_of_a_backfilled_or_replayed_slot_belongs_to_the_execution():
    slot = datetime(2025, 1, 10, 10, tzinfo=UTC)
    assert run_info(scheduled_time=slot, logical_time=slot).idempotency_key == "execution:7"


def test_idempotency_key_without_a_job_belongs_to_the_execution():
    assert run_info(job_id=None).idempotency_key == "execution:7"


def test_fencing_token_rises_with_the_attempt():
    assert run_info(attempt=3).fencing_token == 3


def test_seconds_left_count_down_and_stop_at_zero(context, clock):
    assert context.seconds_left() == 30.0
    clock.now += 12.5
    assert context.seconds_left() == 17.5
    clock.now += 1000
    assert context.seconds_left() == 0.0


def test_log_takes_logging_style_arguments(context, sink):
    context.log.debug("plain %")
    context.log.info("%s rows in %.1f s", 3, 1.25)
    context.log.warning("%(name)s", {"name": "x"})
    context.log.error("{} and %s", "{}")

    assert sink.lines == [
        ("DEBUG", "plain %"),
        ("INFO", "3 rows in 1.2 s"),
        ("WARNING", "x"),
        ("ERROR", "{} and {}"),
    ]


def test_a_mistake_in_a_log_line_does_not_fail_the_run(context, sink):
    context.log.info("%d rows", "three")

    assert sink.lines == [("INFO", "%d rows (could not be formatted: TypeError)")]


def test_log_of_an_exception_carries_its_traceback(context, sink):
    try:
        raise ValueError("boom")
    except ValueError:
        context.log.exception("row %s", 5)

    assert sink.lines[0][0] == "ERROR"
    assert sink.text.startswith("row 5\nTraceback")
    assert sink.text.endswith("ValueError: boom")


def test_log_messages_are_storable_and_at_most_four_kib(context, sink):
    context.log.info("a\x00\ud800%s", "\ud55c" * 10_000)

    assert sink.text.startswith("a\\x00\\ud800\ud55c")
    assert len(sink.text.encode()) <= 4096


@pytest.mark.parametrize(
    ("given", "shown"),
    [(50, 50.0), (-1, 0.0), (101, 100.0), (float("inf"), 100.0), (Decimal("1.5"), 1.5)],
)
def test_progress_is_limited_to_0_to_100(context, sink, given, shown):
    context.progress(given, "x")

    assert sink.steps == [(shown, "x")]


def test_progress_may_be_unknown(context, sink):
    context.progress(None, "y" * 1000)

    assert sink.steps[0][0] is None
    assert len(sink.steps[0][1]) <= 500


class Textless:
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


def deep_list():
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    return deep


@pytest.mark.parametrize("given", [Textless(), deep_list(), 10**5000], ids=["str", "deep", "huge"])
def test_no_object_makes_a_report_raise(context, sink, given):
    context.log.info(given)
    context.log.info(given, 1)
    context.log.info("%s rows", given)
    context.log.info("%(rows)s", {"rows": given})
    context.progress(50, given)
    context.progress(given, "x")

    assert len(sink.lines) == 4
    assert "without a text" in sink.lines[0][1]
    assert "could not be formatted" in sink.lines[2][1]
    assert sink.steps == [(50.0, sink.steps[0][1]), (None, "x")]


@pytest.mark.parametrize("given", [float("nan"), "half", [1]])
def test_progress_that_is_not_a_number_is_unknown(context, sink, given):
    context.progress(given)

    assert sink.steps == [(None, "")]


def test_current_raises_outside_of_a_run():
    with pytest.raises(RuntimeError, match="outside of a running handler"):
        current()


async def test_self_context_works_in_a_thread_without_the_context_variable(run):
    async def execute(self, params):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(self.context.execution_id))
        thread.start()
        thread.join()
        return seen

    outcome = await run(execute)

    assert outcome.result == [7]
