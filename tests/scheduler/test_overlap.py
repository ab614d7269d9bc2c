"""What becomes of a run when another run of its job goes on: the rule alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler.states import OverlapPolicy, ParamSource, ReasonCode
from scheduler.store.claims import Candidate
from scheduler.store.overlap import Holder, Line, Step
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START

SECOND = timedelta(seconds=1)
RUNNING = Holder(id=5, started_at=START, param_source=ParamSource.CRON)
BACKFILL = Holder(id=5, started_at=START, param_source=ParamSource.BACKFILL)


def candidate(policy: OverlapPolicy | None, **values: Any) -> Candidate:
    defaults: dict[str, Any] = {
        "id": 9, "job_id": None if policy is None else 1, "job_name": "j", "handler_name": "h",
        "scheduled_time": START + SECOND, "logical_time": None, "param_source": ParamSource.CRON,
        "params": {}, "attempt": 0, "failures": 0, "max_retry": 3, "timeout_seconds": 60,
        "available_at": START, "created_at": START + SECOND, "in_line": None,
        "overlap_key": -7 if policy is None else None,
        "overlap_policy": policy,
    }  # fmt: skip
    return Candidate(**{**defaults, **values})


# Slots that are older than the run that goes on: recorded in time, or caught up.
DELAYED = {"scheduled_time": START - SECOND, "created_at": START - SECOND}
CAUGHT_UP = {"scheduled_time": START - 60 * SECOND, "created_at": START}
RETRIED = {"attempt": 1, "failures": 1}
OLD = {"id": 3}


@pytest.mark.parametrize(
    ("policy", "values", "holder", "line", "step", "code"),
    [
        ("skip", {}, None, (), Step.START, None),
        ("skip", {}, RUNNING, (), Step.SKIP, ReasonCode.OVERLAP_RUNNING),
        ("skip", {}, RUNNING, (7,), Step.SKIP, ReasonCode.OVERLAP_RUNNING),
        ("skip", {"param_source": ParamSource.MANUAL}, RUNNING, (), Step.SKIP, None),
        ("skip", DELAYED, RUNNING, (), Step.SKIP, ReasonCode.OVERLAP_RUNNING),
        ("skip", CAUGHT_UP, RUNNING, (), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("skip", DELAYED, BACKFILL, (), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("skip", RETRIED, RUNNING, (), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("skip", {"param_source": ParamSource.BACKFILL}, RUNNING, (), Step.WAIT, None),
        ("queue_one", {"param_source": ParamSource.BACKFILL}, RUNNING, (7,), Step.WAIT, None),
        ("skip", {}, BACKFILL, (), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("queue_one", {}, None, (7,), Step.START, None),
        ("queue_one", {}, RUNNING, (), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("queue_one", {}, RUNNING, (9,), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("queue_one", {}, RUNNING, (7,), Step.SKIP, ReasonCode.OVERLAP_WAITING),
        ("queue_one", RETRIED, RUNNING, (7,), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("replace", {}, RUNNING, (), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("replace", {}, RUNNING, (7,), Step.WAIT, ReasonCode.OVERLAP_HELD),
        ("replace", {}, RUNNING, (7, 11), Step.SKIP, ReasonCode.OVERLAP_NEWER),
        ("replace", OLD, RUNNING, (), Step.SKIP, ReasonCode.OVERLAP_NEWER),
        ("replace", {**OLD, **RETRIED}, RUNNING, (), Step.CANCEL, ReasonCode.OVERLAP_NEWER),
        # Calls that share a key have no policy.
        (None, {}, None, (), Step.START, None),
        (None, {}, RUNNING, (7,), Step.WAIT, ReasonCode.OVERLAP_HELD),
    ],
)
def test_what_becomes_of_a_run(
    policy: str | None,
    values: dict[str, Any],
    holder: Holder | None,
    line: tuple[int, ...],
    step: Step,
    code: ReasonCode | None,
):
    row = candidate(OverlapPolicy(policy) if policy else None, **values)
    waiting = Line(oldest=min(line), newest=max(line)) if line else Line()
    decision = decide(row, holder, waiting)
    assert decision.step == step
    assert code is None or decision.code == code
    assert (decision.replaces == 5) == (policy == "replace" and step == Step.WAIT)
