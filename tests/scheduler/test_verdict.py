"""What becomes of a run when an attempt has ended: a table of pure decisions."""

from __future__ import annotations

import pytest

from handlers.runner import Outcome, OutcomeKind
from scheduler.states import AttemptOutcome, ReasonCode, RunStatus
from scheduler.worker.verdict import (
    LOSSES_LIMIT,
    Budget,
    StopReason,
    Verdict,
    of_attempt,
    of_lost_attempt,
    without_details,
)

FRESH = Budget(failures=0, max_retry=2, backoff_seconds=10, backoff_max_seconds=15)
LAST_TRY = Budget(failures=2, max_retry=2, backoff_seconds=10, backoff_max_seconds=15)


def middle() -> float:
    """A random number that leaves back-off as it is configured."""
    return 0.5


def verdict_on(
    outcome: Outcome, budget: Budget = FRESH, stop_reason: StopReason | None = None
) -> Verdict | None:
    return of_attempt(outcome, budget, timeout_seconds=30, stop_reason=stop_reason, random=middle)


def verdict_on_lost(
    budget: Budget,
    *,
    is_cancelled: bool = False,
    is_past_deadline: bool = False,
    neighbours: int = 0,
    losses: int = 0,
) -> Verdict:
    return of_lost_attempt(
        budget,
        worker="w1",
        timeout_seconds=30,
        is_cancelled=is_cancelled,
        is_past_deadline=is_past_deadline,
        neighbours=neighbours,
        losses=losses,
        random=middle,
    )


def test_a_success_keeps_its_result_and_is_not_charged():
    found = verdict_on(Outcome(kind=OutcomeKind.SUCCESS, result={"n": 1}, overran=True))

    assert found == Verdict(
        status=RunStatus.SUCCESS, outcome=AttemptOutcome.SUCCESS, result={"n": 1}, overran=True
    )


@pytest.mark.parametrize(
    ("kind", "outcome", "code", "facts"),
    [
        (OutcomeKind.FAILED, AttemptOutcome.FAILED, ReasonCode.HANDLER_FAILED, None),
        (
            OutcomeKind.TIMEOUT,
            AttemptOutcome.TIMEOUT,
            ReasonCode.TIMEOUT,
            {"timeout_seconds": 30},
        ),
    ],
)
def test_a_failure_with_tries_left_waits_for_its_back_off(
    kind: OutcomeKind, outcome: AttemptOutcome, code: ReasonCode, facts: dict[str, int] | None
):
    found = verdict_on(Outcome(kind=kind, error="no", traceback="here", result={"n": 1}))

    assert found == Verdict(
        status=RunStatus.PENDING,
        outcome=outcome,
        error="no",
        traceback="here",
        charged=True,
        delay_seconds=10,
        reason_code=code,
        reason_facts=facts,
    )


def test_the_back_off_grows_with_the_failures_up_to_its_bound():
    once = Budget(failures=1, max_retry=2, backoff_seconds=10, backoff_max_seconds=15)

    found = verdict_on(Outcome(kind=OutcomeKind.FAILED), once)

    assert found is not None
    assert found.delay_seconds == 15


def test_a_run_without_a_job_waits_as_jobs_do_by_default():
    found = verdict_on(Outcome(kind=OutcomeKind.FAILED), Budget(failures=0, max_retry=1))

    assert found is not None
    assert found.delay_seconds == 30


@pytest.mark.parametrize(
    ("kind", "status"),
    [(OutcomeKind.FAILED, RunStatus.FAILED), (OutcomeKind.TIMEOUT, RunStatus.TIMEOUT)],
)
def test_the_last_failure_is_final_and_keeps_what_the_handler_returned(
    kind: OutcomeKind, status: RunStatus
):
    found = verdict_on(Outcome(kind=kind, result={"n": 1}, overran=True), LAST_TRY)

    assert found is not None
    assert (found.status, found.charged, found.result, found.overran) == (
        status, True, {"n": 1}, True
    )  # fmt: skip


def test_what_no_further_try_can_help_is_final_at_once():
    found = verdict_on(Outcome(kind=OutcomeKind.FAILED, retryable=False))

    assert found is not None
    assert (found.status, found.charged) == (RunStatus.FAILED, True)


@pytest.mark.parametrize(
    ("error_class", "code"),
    [
        ("HandlerNotFoundError", ReasonCode.HANDLER_NOT_FOUND),
        ("InvalidParamsError", ReasonCode.INVALID_PARAMS),
        ("DatabaseNotConfiguredError", ReasonCode.DATABASE_NOT_CONFIGURED),
    ],
)
def test_an_attempt_that_was_not_worth_making_says_why(error_class: str, code: ReasonCode):
    invalid = Outcome(kind=OutcomeKind.INVALID, error_class=error_class, retryable=False)

    found = verdict_on(invalid)

    assert found is not None
    assert (found.status, found.reason_code) == (RunStatus.FAILED, code)


def test_an_error_of_a_handler_that_is_named_like_ours_is_the_handlers():
    found = verdict_on(Outcome(kind=OutcomeKind.FAILED, error_class="InvalidParamsError"), LAST_TRY)

    assert found is not None
    assert found.reason_code == ReasonCode.HANDLER_FAILED


def test_a_cancelled_run_is_final_and_not_charged():
    cancelled = Outcome(kind=OutcomeKind.CANCELLED, error="stopped")

    found = verdict_on(cancelled, stop_reason=StopReason.CANCELLED)

    assert found == Verdict(
        status=RunStatus.CANCELLED, outcome=AttemptOutcome.CANCELLED, error="stopped"
    )


def test_a_drained_run_goes_back_uncharged_even_on_its_last_try():
    cancelled = Outcome(kind=OutcomeKind.CANCELLED, error="stopped")

    found = verdict_on(cancelled, LAST_TRY, stop_reason=StopReason.DRAIN)

    assert found == Verdict(
        status=RunStatus.PENDING,
        outcome=AttemptOutcome.RELEASED,
        error="stopped",
        reason_code=ReasonCode.WORKER_DRAINED,
    )


@pytest.mark.parametrize("reason", [StopReason.LOST, StopReason.ABANDONED, None])
def test_a_worker_without_its_lease_writes_nothing(reason: StopReason | None):
    assert verdict_on(Outcome(kind=OutcomeKind.CANCELLED), stop_reason=reason) is None


# --- leases that ran out --------------------------------------------------------------------------


def test_a_lost_run_is_charged_and_tried_again():
    assert verdict_on_lost(FRESH) == Verdict(
        status=RunStatus.PENDING,
        outcome=AttemptOutcome.LOST,
        error="worker lost: w1 stopped renewing its lease",
        charged=True,
        delay_seconds=10,
        reason_code=ReasonCode.WORKER_LOST,
        reason_facts={"worker": "w1"},
    )


def test_a_run_that_always_kills_its_worker_ends():
    found = verdict_on_lost(LAST_TRY)

    assert (found.status, found.outcome) == (RunStatus.FAILED, AttemptOutcome.LOST)


@pytest.mark.parametrize(
    ("budget", "status"), [(FRESH, RunStatus.PENDING), (LAST_TRY, RunStatus.TIMEOUT)]
)
def test_a_lost_run_past_its_deadline_has_timed_out(budget: Budget, status: RunStatus):
    found = verdict_on_lost(budget, is_past_deadline=True)

    assert (found.status, found.outcome, found.charged) == (status, AttemptOutcome.TIMEOUT, True)
    assert found.reason_code == ReasonCode.TIMEOUT


def test_a_lost_run_that_somebody_wants_cancelled_is_cancelled_and_not_charged():
    found = verdict_on_lost(FRESH, is_cancelled=True, is_past_deadline=True)

    assert (found.status, found.charged) == (RunStatus.CANCELLED, False)


# --- when the database refuses what the handler produced ------------------------------------------


def test_a_success_that_cannot_be_stored_is_a_charged_failure():
    success = Verdict(
        status=RunStatus.SUCCESS, outcome=AttemptOutcome.SUCCESS, result={"too": "much"}
    )

    assert without_details(success) == Verdict(
        status=RunStatus.FAILED,
        outcome=AttemptOutcome.FAILED,
        error="the outcome could not be stored in the database",
        charged=True,
        reason_code=ReasonCode.OUTCOME_NOT_STORED,
    )


def test_a_retry_that_cannot_be_stored_stays_a_retry():
    retried = verdict_on_lost(FRESH)

    found = without_details(retried)

    assert (found.status, found.outcome, found.charged, found.delay_seconds) == (
        RunStatus.PENDING, AttemptOutcome.LOST, True, 10
    )  # fmt: skip


@pytest.mark.parametrize("is_past_deadline", [False, True])
def test_runs_that_were_lost_together_are_not_charged_and_wait_longer_each_time(
    is_past_deadline: bool,
):
    found = [
        verdict_on_lost(LAST_TRY, neighbours=2, losses=losses, is_past_deadline=is_past_deadline)
        for losses in range(LOSSES_LIMIT - 1)
    ]

    assert {(v.status, v.outcome, v.charged) for v in found} == {
        (RunStatus.PENDING, AttemptOutcome.LOST, False)
    }
    assert [v.delay_seconds for v in found] == [10, 15, 15, 15]
    assert "ended with 3 runs" in found[0].error


def test_a_run_that_is_lost_with_its_process_again_and_again_ends():
    found = verdict_on_lost(FRESH, neighbours=1, losses=LOSSES_LIMIT - 1)

    assert (found.status, found.charged) == (RunStatus.FAILED, True)
    assert found.reason_facts == {"worker": "w1", "losses": LOSSES_LIMIT}
