"""Runs a handler in a test: one real attempt, without Celery, tables or a worker.

    tried = await try_handler("greet", {"to": "Ann"})
    assert tried.outcome.kind == "SUCCESS"

The runner is the same as in a worker: it checks the params, timeouts and cancellation work, and the
result is what would be stored. The databases are those that the test has registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from handlers.context import RunInfo
from handlers.runner import Outcome, run_handler

SLOT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TryReport:
    """The outcome of the attempt, and what it logged and reported."""

    outcome: Outcome
    log: list[str]
    """The lines of its log, such as "INFO hello"."""
    progress: list[tuple[float | None, str]]


@dataclass(frozen=True)
class _ListSink:
    lines: list[str] = field(default_factory=list)
    steps: list[tuple[float | None, str]] = field(default_factory=list)

    def log(self, level: str, message: str) -> None:
        self.lines.append(f"{level} {message}")

    def progress(self, percent: float | None, message: str) -> None:
        self.steps.append((percent, message))


async def try_handler(
    name: str, params: Mapping[str, Any] | None = None, **facts: Any
) -> TryReport:
    """Make one attempt of the handler registered under `name`. Never raises: see `outcome`.

    `facts` replace the facts of the run in its context: `attempt=2`, `timeout_seconds=0.1`,
    `scheduled_time=...` and the other fields of RunInfo.
    """
    known: dict[str, Any] = {
        "execution_id": 1,
        "job_id": 1,
        "job_name": f"try {name}",
        "handler_name": name,
        "scheduled_time": SLOT,
        "logical_time": None,
        "attempt": 1,
        "max_attempts": 1,
        "timeout_seconds": 30.0,
        "lease_token": "a test",
    }
    sink = _ListSink()
    outcome = await run_handler(RunInfo(**{**known, **facts}), params or {}, sink)
    return TryReport(outcome, sink.lines, sink.steps)
