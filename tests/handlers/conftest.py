"""Fixtures for tests of handlers: a separate registry, and runs without a scheduler."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from handlers import BaseHandler, discover, handler, registry
from handlers.context import RunInfo
from handlers.runner import Outcome, run_handler


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    # Imported before the snapshot: a handler that a test imports first is removed after the test.
    discover(["handlers.samples"])
    with registry.restored():
        yield


@dataclass
class ListSink:
    """Records what a run reports, and from which threads."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    steps: list[tuple[float | None, str]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def log(self, level: str, message: str) -> None:
        self.lines.append((level, message))
        self.threads.add(threading.get_ident())

    def progress(self, percent: float | None, message: str) -> None:
        self.steps.append((percent, message))

    @property
    def text(self) -> str:
        return "\n".join(message for _, message in self.lines)


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


def run_info(name: str = "tested", **changes: Any) -> RunInfo:
    facts: dict[str, Any] = {
        "execution_id": 7,
        "job_id": 3,
        "job_name": "nightly",
        "handler_name": name,
        "scheduled_time": datetime(2025, 1, 10, 10, 0, tzinfo=UTC),
        "logical_time": None,
        "attempt": 2,
        "max_attempts": 4,
        "timeout_seconds": 30.0,
        "lease_token": "token",
    }
    return RunInfo(**{**facts, **changes})


@pytest.fixture
def run(sink: ListSink) -> Callable[..., Any]:
    """`await run(execute, params, timeout_seconds=...)`: one attempt with this `execute`."""

    async def run_one(
        execute: Callable[..., Any], params: object = None, **changes: Any
    ) -> Outcome:
        register(execute)
        options = {key: changes.pop(key) for key in tuple(changes) if key in OPTIONS}
        options.setdefault("grace_seconds", 0.05)
        return await run_handler(run_info(**changes), params, sink, **options)

    return run_one


OPTIONS = {"monotonic", "max_result_bytes", "grace_seconds"}


def register(execute: Callable[..., Any], name: str = "tested") -> type[BaseHandler]:
    cls = type("Tested", (BaseHandler,), {"execute": execute, "__module__": __name__})
    return handler(name)(cls)
