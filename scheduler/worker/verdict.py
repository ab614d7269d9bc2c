"""What becomes of a run when one of its attempts has ended.

Pure: no clock, no database. The worker asks when its handler has ended (executor.py), beat when a
lease has run out (beat/rescue.py), so that both follow one rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from handlers.errors import DatabaseNotConfiguredError, HandlerNotFoundError, InvalidParamsError
from handlers.fan_out import FanOut, InvalidShardsError
from handlers.json_safe import storable_text
from handlers.runner import Outcome, OutcomeKind
from scheduler.schedule.plan import backoff_seconds
from scheduler.states import AttemptOutcome, ReasonCode, RunStatus
from scheduler.store.endings import Ending
from scheduler.store.run_reports import Report
from scheduler.store.runs import Lease

# For runs without a job (events): the defaults of the jobs' table.
_BACKOFF_SECONDS = 30
_BACKOFF_MAX_SECONDS = 3600
_ERROR_BYTES = 16_384
_TRACEBACK_BYTES = 32_768
# A run that was lost so often, always with other runs beside it, ends.
LOSSES_LIMIT = 5
# Why no attempt was worth making: what the runner calls the error.
_CODES_OF_ERRORS = {
    HandlerNotFoundError.__name__: ReasonCode.HANDLER_NOT_FOUND,
    InvalidParamsError.__name__: ReasonCode.INVALID_PARAMS,
    DatabaseNotConfiguredError.__name__: ReasonCode.DATABASE_NOT_CONFIGURED,
}


class StopReason(StrEnum):
    """Why a worker stops a run before its end."""

    CANCELLED = "cancelled by a person"
    LOST = "the lease is no longer ours"
    ABANDONED = "the lease could not be renewed"
    DRAIN = "the worker is shutting down"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How often a run may fail, and how long it waits before the next attempt."""

    failures: int
    """Charged attempts before this one."""
    max_retry: int
    backoff_seconds: int | None = None
    backoff_max_seconds: int | None = None

    @property
    def is_used_up(self) -> bool:
        """True when one more failure is the last one."""
        return self.failures + 1 > self.max_retry

    def delay_seconds(self, random: Callable[[], float]) -> float:
        """The wait after one more failure."""
        base, longest = self.backoff_seconds, self.backoff_max_seconds
        return backoff_seconds(
            self.failures + 1,
            _BACKOFF_SECONDS if base is None else base,
            _BACKOFF_MAX_SECONDS if longest is None else longest,
            random,
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be written about an attempt and its run."""

    status: RunStatus
    """A final status; PENDING: the run gets another attempt after `delay_seconds`; FANNED_OUT."""
    outcome: AttemptOutcome
    error: str = ""
    traceback: str = ""
    exception_class: str = ""
    result: object = None
    overran: bool = False
    charged: bool = False
    """The attempt counts as a failure."""
    delay_seconds: float = 0.0
    reason_code: ReasonCode | None = None
    reason_facts: Mapping[str, Any] | None = None
    fan_out: FanOut | None = None


def of_attempt(
    outcome: Outcome,
    budget: Budget,
    *,
    timeout_seconds: int,
    stop_reason: StopReason | None,
    random: Callable[[], float],
) -> Verdict | None:
    """The verdict on an attempt whose handler has ended, or was given up.

    None: nothing may be written, because the attempt is no longer this worker's.
    """
    if outcome.kind == OutcomeKind.SUCCESS:
        return Verdict(
            status=RunStatus.SUCCESS if outcome.fan_out is None else RunStatus.FANNED_OUT,
            fan_out=outcome.fan_out,
            outcome=AttemptOutcome.SUCCESS,
            result=outcome.result,
            overran=outcome.overran,
        )
    if outcome.kind == OutcomeKind.CANCELLED:
        return _of_stopped(outcome, stop_reason)
    is_timeout = outcome.kind == OutcomeKind.TIMEOUT
    failed = Verdict(
        status=RunStatus.TIMEOUT if is_timeout else RunStatus.FAILED,
        outcome=AttemptOutcome.TIMEOUT if is_timeout else AttemptOutcome.FAILED,
        error=storable_text(outcome.error, _ERROR_BYTES),
        traceback=storable_text(outcome.traceback, _TRACEBACK_BYTES),
        exception_class=outcome.exception_class,
        charged=True,
        reason_code=_code_of(outcome),
        reason_facts={"timeout_seconds": timeout_seconds} if is_timeout else None,
    )
    if not outcome.retryable or budget.is_used_up:
        return replace(failed, result=outcome.result, overran=outcome.overran)
    again = _tried_again(failed, budget, random)
    if outcome.retry_after_seconds is not None:
        again = replace(again, delay_seconds=outcome.retry_after_seconds)
    return again


def _code_of(outcome: Outcome) -> ReasonCode:
    if outcome.kind == OutcomeKind.TIMEOUT:
        return ReasonCode.TIMEOUT
    if outcome.kind == OutcomeKind.INVALID:
        return _CODES_OF_ERRORS.get(outcome.error_class, ReasonCode.HANDLER_FAILED)
    # An exception of a handler that has this name has a path, too.
    is_plan = outcome.error_class == InvalidShardsError.__name__ and not outcome.exception_class
    return ReasonCode.INVALID_SHARDS if is_plan else ReasonCode.HANDLER_FAILED


def _of_stopped(outcome: Outcome, stop_reason: StopReason | None) -> Verdict | None:
    error = storable_text(outcome.error, _ERROR_BYTES)
    if stop_reason == StopReason.DRAIN:
        return Verdict(
            status=RunStatus.PENDING,
            outcome=AttemptOutcome.RELEASED,
            error=error,
            reason_code=ReasonCode.WORKER_DRAINED,
        )
    if stop_reason == StopReason.CANCELLED:
        return Verdict(
            status=RunStatus.CANCELLED,
            outcome=AttemptOutcome.CANCELLED,
            error=error,
            traceback=storable_text(outcome.traceback, _TRACEBACK_BYTES),
        )
    # The lease is lost or could not be renewed: rescue decides.
    return None


def of_lost_attempt(
    budget: Budget,
    *,
    worker: str,
    timeout_seconds: int,
    is_cancelled: bool,
    is_past_deadline: bool,
    neighbours: int,
    losses: int,
    random: Callable[[], float],
) -> Verdict:
    """The verdict on an attempt whose lease ran out.

    A run that was alone in its process is charged: one that always kills its worker ends, it does
    not loop. Of several (`neighbours`: the others) nobody knows which one ended the process, so
    none is charged, until a run has been lost so for LOSSES_LIMIT times (`losses`: before now).
    """
    if is_cancelled:
        return Verdict(
            status=RunStatus.CANCELLED,
            outcome=AttemptOutcome.CANCELLED,
            error="cancelled; the worker was lost",
        )
    if neighbours and losses + 1 < LOSSES_LIMIT:
        return Verdict(
            status=RunStatus.PENDING,
            outcome=AttemptOutcome.LOST,
            error=f"worker lost: {worker} ended with {neighbours + 1} runs; this does not count",
            delay_seconds=replace(budget, failures=losses).delay_seconds(random),
            reason_code=ReasonCode.WORKER_LOST,
            reason_facts={"worker": worker, "neighbours": neighbours},
        )
    if neighbours:
        return Verdict(
            status=RunStatus.FAILED,
            outcome=AttemptOutcome.LOST,
            error=f"worker lost: {worker} ended with this run, as {losses} others did before",
            charged=True,
            reason_code=ReasonCode.WORKER_LOST,
            reason_facts={"worker": worker, "losses": losses + 1},
        )
    if is_past_deadline:
        lost = Verdict(
            status=RunStatus.TIMEOUT,
            outcome=AttemptOutcome.TIMEOUT,
            # Not "timed out": nobody saw its end, and the clock may have jumped.
            error=(
                f"worker lost: {worker} has written no end, and by the database's clock the time "
                f"of {timeout_seconds} s is over"
            ),
            charged=True,
            reason_code=ReasonCode.TIMEOUT,
            reason_facts={"timeout_seconds": timeout_seconds, "worker": worker},
        )
    else:
        lost = Verdict(
            status=RunStatus.FAILED,
            outcome=AttemptOutcome.LOST,
            error=f"worker lost: {worker} stopped renewing its lease",
            charged=True,
            reason_code=ReasonCode.WORKER_LOST,
            reason_facts={"worker": worker},
        )
    return lost if budget.is_used_up else _tried_again(lost, budget, random)


def _tried_again(failed: Verdict, budget: Budget, random: Callable[[], float]) -> Verdict:
    delay = budget.delay_seconds(random)
    return replace(failed, status=RunStatus.PENDING, delay_seconds=delay)


def ending(verdict: Verdict, lease: Lease, now: datetime, report: Report | None = None) -> Ending:
    """What is to be written for a verdict. `report`: what nobody has saved yet."""
    goes_back = verdict.status == RunStatus.PENDING
    return Ending(
        lease=lease,
        outcome=verdict.outcome,
        status=verdict.status,
        again_at=now + timedelta(seconds=verdict.delay_seconds) if goes_back else None,
        error=verdict.error,
        traceback=verdict.traceback,
        exception_class=verdict.exception_class,
        result=verdict.result,
        overran=verdict.overran,
        charged=verdict.charged,
        reason_code=verdict.reason_code,
        reason_facts=verdict.reason_facts,
        fan_out=verdict.fan_out,
        report=report or Report(),
    )


def without_details(verdict: Verdict) -> Verdict:
    """The verdict without anything that the handler produced, for when the database refuses it."""
    is_failed = verdict.status in (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.FANNED_OUT)
    return Verdict(
        status=RunStatus.FAILED if is_failed else verdict.status,
        outcome=AttemptOutcome.FAILED if is_failed else verdict.outcome,
        error="the outcome could not be stored in the database",
        charged=verdict.charged or is_failed,
        delay_seconds=verdict.delay_seconds,
        reason_code=ReasonCode.OUTCOME_NOT_STORED,
    )
