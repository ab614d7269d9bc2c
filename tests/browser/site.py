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
# Jobs with a run that waits, by what it waits for, and one with a divided run.
IN_LINE: Final = "Pallet moves"
UNAPPROVED: Final = "Price release"
AWAITED: Final = "Morning figures"
FROZEN: Final = "Shelf labels"
DIVIDED: Final = "Statements"
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

    def running(self, job_name: str) -> bool:
        """Returns whether a run of the job goes on."""
        found = self.system.sql(
            "SELECT id FROM job_executions WHERE job_name = %s AND status = 'RUNNING'", job_name
        )
        return bool(found)

    def worker(self) -> str:
        """Returns the name of the worker."""
        [row] = self.system.sql("SELECT name FROM scheduler_process WHERE kind = 'worker'")
        return str(row["name"])

    def rows(self, *, job: str, paused: str, shadow: str) -> dict[str, int | str]:
        """Returns what the addresses of page_list.py name. Waits for what comes by itself.

        `job` has two runs and was changed.
        """

        def first(statement: str, *parameters: object) -> int:
            def number() -> Any:
                rows = self.system.sql(statement, *parameters)
                return rows[0]["id"] if rows else None

            return int(self.system.wait_until(number, 60, statement))

        def waiting(job_name: str, code: str) -> int:
            return first(
                "SELECT id FROM job_executions"
                " WHERE job_name = %s AND status = 'PENDING' AND reason_code = %s",
                job_name,
                code,
            )

        def newest(table: str) -> int:
            return first(f"SELECT max(id) AS id FROM {table}")

        job_id = self.job(job)
        run = first("SELECT max(id) AS id FROM job_executions WHERE job_id = %s", job_id)
        return {
            "job": job_id,
            "paused": self.job(paused),
            "shadow": self.job(shadow),
            "run": run,
            "other_run": first(
                "SELECT max(id) AS id FROM job_executions WHERE job_id = %s AND id < %s",
                job_id,
                run,
            ),
            "entry": first(
                "SELECT min(id) AS id FROM jobu_activity"
                " WHERE target_kind = 'job' AND target_id = %s",
                job_id,
            ),
            "failure": newest("jobu_failure_groups"),
            "limited": self.job(IN_LINE),
            "in_line": waiting(IN_LINE, "limit_reached"),
            "unapproved": waiting(UNAPPROVED, "awaits_approval"),
            "awaiting_job": self.job(AWAITED),
            "awaiting": waiting(AWAITED, "upstream_awaited"),
            "frozen": waiting(FROZEN, "frozen_held"),
            "frozen_job": self.job(FROZEN),
            "divided": first(
                "SELECT min(id) AS id FROM job_executions"
                " WHERE job_name = %s AND shard_count > 0 AND parent_id IS NULL",
                DIVIDED,
            ),
            "freeze": newest("jobu_freezes"),
            "backfill": newest("jobu_backfills"),
            "alert": newest("jobu_alerts"),
            "token": newest("jobu_api_tokens"),
            "user": newest("auth_user"),
            "group": newest("auth_group"),
            "result": newest("django_celery_results_taskresult"),
            "worker": self.worker(),
        }


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
