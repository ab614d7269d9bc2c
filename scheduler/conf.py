"""The scheduler's settings: one frozen value, `settings.JOBU`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

TASK_NAME = "scheduler.execute"
# Celery's own limit is the last ring, behind the runner's and the bridge's; it works under prefork
# only.
TIME_LIMIT_MARGIN_SECONDS = 45


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """What scheduler.yaml and worker.yaml in config/ say; each key and its unit: see there."""

    default_timezone: str = "Asia/Seoul"
    poll_interval_seconds: float = 1
    max_sleep_seconds: float = 300
    min_cron_interval_seconds: int = 60
    batch_size: int = 500
    republish_seconds: float = 30
    republish_max_seconds: float = 600
    sweep_interval_seconds: float = 5
    retention_days: int = 30
    calendars: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    handler_packages: tuple[str, ...] = ("handlers.samples",)
    # What handlers may open, as dbpools takes it; not in repr, because passwords stand in it.
    databases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    default_database: str = "default"
    pool_size: int = 500
    lease_seconds: float = 60
    heartbeat_seconds: float = 15
    cancel_poll_seconds: float = 2
    grace_seconds: float = 10
    shutdown_timeout_seconds: float = 30
    max_result_bytes: int = 65536
    max_log_lines: int = 1000


def current() -> SchedulerSettings:
    """The settings in force. Asked for anew each time, so that a test can replace them."""
    value = settings.JOBU
    assert isinstance(value, SchedulerSettings)
    return value
