"""What a soak is asked to do, and what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.soak.checker import Broken
from bench.soak.jobs import SoakJob
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
)
BROKERS: dict[str, type[Redis] | type[RabbitMQ] | None] = {
    "redis": Redis,
    "rabbitmq": RabbitMQ,
    "files": None,
}

# Production's protocol with shorter times, so that minutes hold many rescues.
CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {
        "min_cron_interval_seconds": 1,
        "poll_interval_seconds": 0.5,
        "republish_seconds": 2,
        # Not much shorter: on a machine that cannot keep up, each doubled message is more work.
        "republish_max_seconds": 16,
        "sweep_interval_seconds": 1,
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


# What a small machine, loaded by the soak itself, adds to any wait; and to a process's start.
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
    # Tests bring their own.
    own_jobs: Sequence[SoakJob] = ()
    config: dict[str, dict[str, Any]] = field(default_factory=lambda: CONFIG)


@dataclass(kw_only=True)
class Report:
    """The line of JSON, what is broken, and where to look."""

    line: dict[str, Any]
    broken: list[Broken]
    place: Path | None = None  # kept only when something is wrong
