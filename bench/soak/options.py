"""The options of a soak, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.soak.checker import Broken
from bench.soak.jobs import GROUPS, SoakJob
from tests.harness.servers import RabbitMQ, Redis

FAULTS = (
    "kill-beat",
    "kill-worker",
    "stop-worker",
    "flush-broker",
    "restart-broker",
    "restart-database",
    "pause-beat",
    "drain-worker",
    "crash-beat",
    "crash-worker",
    "freeze-beat",
    "mute-broker",
)
BROKERS: dict[str, type[Redis] | type[RabbitMQ] | None] = {
    "redis": Redis,
    "rabbitmq": RabbitMQ,
    "files": None,
}

# The settings of production with shorter times, so that a soak of minutes has many rescues.
CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {
        "min_cron_interval_seconds": 1,
        "poll_interval_seconds": 0.5,
        "sweep_interval_seconds": 1,
        "concurrency_groups": {name: dict(limits) for name, limits in GROUPS.items()},
    },
    "worker": {
        "handler_packages": ["bench.soak.handlers"],
        "lease_seconds": 4,
        "heartbeat_seconds": 1,
        "cancel_poll_seconds": 0.5,
        "grace_seconds": 2,
        "shutdown_timeout_seconds": 5,
    },
    "logging": {"style": "json", "level": "INFO", "loggers": {"scheduler": "DEBUG"}},
}


@dataclass(frozen=True, kw_only=True)
class Options:
    database: str = "sqlite"
    broker: str = "redis"
    beats: int = 3
    workers: int = 2
    jobs: int = 200
    minutes: float = 5.0
    seed: int = 1
    faults: Sequence[str] = FAULTS
    every: float = 6.0  # seconds between two faults, on average
    mutation: str = ""
    # Jobs of a test, instead of the generated ones.
    own_jobs: Sequence[SoakJob] = ()
    config: dict[str, dict[str, Any]] = field(default_factory=lambda: CONFIG)


@dataclass(kw_only=True)
class Report:
    """The line of JSON, the broken promises, and the directory with the logs."""

    line: dict[str, Any]
    broken: list[Broken]
    place: Path | None = None  # kept only if a promise is broken
