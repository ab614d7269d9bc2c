"""Runs jobu for browser tests: web, beat and a worker, with users and a few jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.api.web import web_of
from tests.harness.system import System

LANGUAGES: Final = ("en", "ko")
PASSWORD: Final = "long enough for a browser"
CONFIG: Final[dict[str, dict[str, Any]]] = {
    "scheduler": {"min_cron_interval_seconds": 1},
    # Progress and log lines are on the page soon after they were written.
    "worker": {"cancel_poll_seconds": 0.5, "pool": "threads", "concurrency": 8},
}


@dataclass(frozen=True, kw_only=True)
class Site:
    system: System
    url: str

    def job(self, name: str) -> int:
        [row] = self.system.sql("SELECT id FROM cron_jobs WHERE name = %s", name)
        return int(row["id"])

    def executions(self, job_name: str) -> list[int]:
        """Returns the executions of one job, the oldest first."""
        rows = self.system.sql(
            "SELECT id FROM job_executions WHERE job_name = %s ORDER BY id", job_name
        )
        return [int(row["id"]) for row in rows]


@contextmanager
def running_site(place: Path, *, seed: str, handlers: str = "handlers.samples") -> Iterator[Site]:
    """`seed` is the `module.function` that fills the database; `handlers` is a package."""
    config = {**CONFIG, "worker": {**CONFIG["worker"], "handler_packages": [handlers]}}
    system = System(f"sqlite:///{place}/jobu.sqlite3", None, place, config=config)
    module = seed.split(".")[0]
    try:
        system.migrate()
        system.manage("shell", "-v", "0", "-c", f"from tests.browser import {module}; {seed}()")
        system.start_beat()
        worker = system.start_worker(pool="threads", concurrency=8)
        with web_of(system) as web:
            worker.wait_for_log("ready.")
            yield Site(system=system, url=web.url)
    finally:
        system.close()
