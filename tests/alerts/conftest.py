"""Fixtures of the tests of alerts: those of the scheduler's tests."""

from tests.scheduler.conftest import own_registry, system

__all__ = ["own_registry", "system"]
