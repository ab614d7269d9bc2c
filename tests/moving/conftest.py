"""Fixtures for imports: a control with a fixed clock, tasks of Celery, and allowed programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import current_app

from handlers import command
from scheduler.moving.entries import Entry, Options
from scheduler.moving.mapping import Mapped, map_entries
from scheduler.operations.imports import ImportControl
from tests.harness.scheduler_harness import FakeClock
from tests.scheduler.conftest import own_registry

__all__ = ["own_registry"]

# A Thursday noon. The next clock changes of New York are on 1 November 2026 and 14 March 2027.
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
ALLOWED = ("/usr/bin/env", "/usr/bin/true", "/bin/sh", "/bin/bash", "/usr/bin/rsync")


@pytest.fixture
def control(own_registry: None) -> ImportControl:
    command.install(ALLOWED, shell=True)
    return ImportControl(clock=FakeClock(NOW))


@pytest.fixture
def tasks() -> Iterator[Any]:
    """Tasks of the project: shop.report(shop, day=None), shop.plain(), shop.retries."""
    made = []

    def report(shop: int, day: str | None = None) -> None: ...

    def plain() -> None: ...

    def many(*numbers: int) -> None: ...

    def retries(self: Any, order: int) -> None: ...

    for function in (report, plain, many, retries):
        name = f"shop.{function.__name__}"
        current_app.task(name=name, bind=function is retries, shared=False)(function)
        made.append(name)
        assert name in current_app.tasks
    yield made
    for name in made:
        current_app.tasks.pop(name, None)


def options(**given: Any) -> Options:
    return Options(**{"now": NOW, **given})


def mapped(
    control: ImportControl, entries: list[Entry], kind: str = "crontab"
) -> dict[str, Mapped]:
    """Maps entries of a source, by their names there."""
    found = map_entries(kind, entries, control=control, now=NOW)
    return {each.entry.name: each for each in found}


def reasons(found: Mapped) -> set[str]:
    return {finding.reason.value for finding in found.findings}
