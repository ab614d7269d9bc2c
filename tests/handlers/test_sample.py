"""The sample handler follows its params."""

from __future__ import annotations

import pytest

from handlers.runner import run_handler
from tests.handlers.conftest import run_info


async def test_sample_succeeds_and_reports_progress(sink):
    outcome = await run_handler(run_info("sample"), {"message": "hello"}, sink)

    assert outcome.kind == "SUCCESS"
    assert outcome.result["data"] == {"message": "hello"}
    assert sink.lines == [("INFO", "hello (attempt 2)")]
    assert sink.steps[0] == (0.0, "step 1 of 10")
    assert sink.steps[-1] == (100.0, "done")


async def test_sample_fails_with_should_fail(sink):
    outcome = await run_handler(run_info("sample"), {"should_fail": True, "message": "no"}, sink)

    assert (outcome.kind, outcome.error) == ("FAILED", "RuntimeError: told to fail: no")


async def test_sample_times_out_when_it_sleeps_too_long(sink):
    info = run_info("sample", timeout_seconds=0.02)

    outcome = await run_handler(info, {"sleep_seconds": 60}, sink)

    assert outcome.kind == "TIMEOUT"


@pytest.mark.parametrize("seconds", [-1, "soon", 86401])
async def test_sample_refuses_invalid_sleep_seconds(sink, seconds):
    outcome = await run_handler(run_info("sample"), {"sleep_seconds": seconds}, sink)

    assert outcome.kind == "INVALID"
    assert outcome.error.startswith("Invalid params: sleep_seconds: ")
