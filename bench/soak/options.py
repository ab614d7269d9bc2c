"""The options of a soak, and its report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.environment import DATABASES
from bench.soak.findings import Broken
from bench.soak.jobs import GROUPS, SoakJob
from bench.soak.sabotage.mutations import MUTATIONS
from tests.harness.servers import RabbitMQ, Redis

_ABOUT = """jobu under faults for some minutes. Prints one line of JSON; exits with 1 for a broken
promise. docs/reliability.md lists the faults and what is checked."""
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


def parsed(argv: Sequence[str]) -> Options:
    """Returns the options of a command line. Ends the process if they are impossible."""
    parser = argparse.ArgumentParser(prog="bench soak", description=_ABOUT)
    parser.add_argument("--database", choices=list(DATABASES), default="sqlite")
    parser.add_argument("--broker", choices=list(BROKERS), default="redis")
    parser.add_argument("--beats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="prefork and threads in turn")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of faults; the drain comes on top"
    )
    parser.add_argument("--seed", type=int, default=1, help="of jobs and faults")
    parser.add_argument(
        "--faults", default=",".join(FAULTS), help="comma separated, or none; default: all of them"
    )
    parser.add_argument(
        "--every", type=float, default=6.0, help="seconds between faults, on average"
    )
    parser.add_argument(
        "--mutation", choices=list(MUTATIONS), default="", help="break the protocol on purpose"
    )
    given = parser.parse_args(argv)
    faults = [] if given.faults == "none" else given.faults.split(",")
    if unknown := sorted(set(faults) - set(FAULTS)):
        parser.error(f"no fault {', '.join(unknown)}; there are {', '.join(FAULTS)}, or none")
    for name in ("beats", "workers", "jobs", "minutes", "every"):
        if getattr(given, name) <= 0:
            parser.error(f"--{name} must be more than 0")
    return Options(**{**vars(given), "faults": faults})
