"""Fixtures of the scheduler's tests: a harness in one process (tests/harness)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from celery import Celery

from handlers import registry
from scheduler.beat import dispatcher
from scheduler.conf import SchedulerSettings
from tests.harness.memory_broker import memory_app
from tests.harness.scheduler_harness import SchedulerHarness, fail, ok


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """Handlers that a test registers end with it."""
    with registry.restored():
        yield


@cache
def _steady_settings() -> SchedulerSettings:
    """Made once: each check of a time zone's name lists all files of the time zones."""
    return SchedulerSettings(
        default_timezone="UTC", cancel_poll_seconds=30, heartbeat_seconds=15, grace_seconds=2
    )


@pytest.fixture
def system(
    settings: Any, own_registry: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SchedulerHarness]:
    # Nothing of a run may depend on how fast this host is just now.
    settings.JOBU = _steady_settings()
    # Beat leaves the processor to the workers that it wakes. Here it wakes none.
    monkeypatch.setattr(dispatcher, "WORKERS_FIRST_SECONDS", 0)
    harness = SchedulerHarness(settings)
    harness.handler("ok", ok)
    harness.handler("fail", fail)
    yield harness
    harness.close()


@pytest.fixture
def app() -> Iterator[Celery]:
    """A Celery app of its own, with a broker in memory."""
    with memory_app() as made:
        yield made
