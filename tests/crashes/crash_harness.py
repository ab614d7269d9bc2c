"""A migrated system whose beats and workers start at once, for tests of single instants."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import redis

from bench.soak.checker import check
from bench.soak.handlers import LEDGER_VARIABLE, gate
from bench.soak.history import (
    FINAL,
    Fault,
    History,
    instant,
    read_history,
    read_ledger,
)
from bench.soak.jobs import SoakJob
from bench.soak.recorders import install_recorders
from tests.harness.fork_server import ForkedProcess, ForkServer
from tests.harness.servers import MariaDB, Postgres, Redis
from tests.harness.system import System
from tests.harness.waiting import wait_until

CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {
        "min_cron_interval_seconds": 1,
        "poll_interval_seconds": 0.2,
        "sweep_interval_seconds": 0.2,
    },
    "worker": {
        "handler_packages": ["bench.soak.handlers"],
        "lease_seconds": 1.5,
        "heartbeat_seconds": 0.3,
        "cancel_poll_seconds": 0.2,
        "grace_seconds": 1,
    },
    "logging": {"style": "json", "loggers": {"scheduler": "DEBUG"}},
}
# Far more than a step takes: only a failing test waits this long.
WAIT_SECONDS = 60


class Place:
    """A migrated system for all crash points of a database, and the server that forks for it."""

    def __init__(self, url: str, broker_url: str, directory: Path) -> None:
        self.ledger = directory / "ledger"
        self.ledger.mkdir()
        self.broker = redis.Redis.from_url(broker_url, socket_timeout=5)
        self.system = System(
            url,
            broker_url,
            directory,
            config=CONFIG,
            environment={LEDGER_VARIABLE: str(self.ledger)},
        )
        self.system.migrate()
        install_recorders(self.system)
        self._fork_server = ForkServer(["tests.crashes.preload"], self.system.environment)
        self._started: list[ForkedProcess] = []
        self._output = directory / "processes.log"
        self._output.touch()
        self._numbers = count(1)
        self.jobs: list[SoakJob] = []

    # --- set-up -----------------------------------------------------------------------------------

    def clear(self) -> None:
        self.kill_all()
        self.broker.flushdb()
        for table in (
            "job_attempts",
            "job_logs",
            "job_executions",
            "jobu_backfills",
            "cron_jobs",
            "soak_changes",
            "soak_watermarks",
        ):
            self.system.sql(f"DELETE FROM {table}")
        for path in self.ledger.iterdir():
            path.unlink()
        self._output.write_bytes(b"")
        self.jobs = []

    def insert_due_job(self, *, slots: int = 1, **columns: Any) -> None:
        """Inserts a job with `slots` slots due now, a second apart, and no more until tomorrow."""
        newest = right_now().replace(microsecond=0)
        due = [newest - timedelta(seconds=back) for back in reversed(range(slots))]
        if len({slot.minute for slot in due}) > 1:
            due = [slot - timedelta(seconds=slots) for slot in due]
        seconds = ",".join(str(slot.second) for slot in due)
        job = SoakJob(
            name=f"job {next(self._numbers)}",
            cron_expression=f"{seconds} {due[0].minute} {due[0].hour} * * *",
            timezone="UTC",
            columns={
                "is_enabled": False,
                "retry_backoff_seconds": 0,
                "handler_params": {},
                **columns,
            },
        )
        self.jobs.append(job)
        first = due[0].strftime("%Y-%m-%d %H:%M:%S")
        # In two steps, because the trigger that records watermarks sees updates only. The job is
        # disabled in the first step, so that no beat sees it.
        names, values = ", ".join(job.row), job.row.values()
        marks = ", ".join(["%s"] * len(job.row))
        self.system.sql(f"INSERT INTO cron_jobs ({names}) VALUES ({marks})", *values)
        self.system.sql(
            "UPDATE cron_jobs SET next_run_at = %s, is_enabled = %s WHERE name = %s",
            first,
            True,
            job.name,
        )

    def open_gate(self, attempt: int) -> None:
        """Lets this attempt of every job with the parameter `"gated": true` end."""
        gate(self.ledger, attempt).touch()

    # --- processes --------------------------------------------------------------------------------

    def beat(self, *, crash: str = "", mutation: str = "") -> ForkedProcess:
        """Starts a beat. `crash`: where it kills itself, `point[:visit]`."""
        return self._start(["beat"], crash, mutation)

    def worker(
        self, name: str, *, crash: str = "", broken: str = "", mutation: str = ""
    ) -> ForkedProcess:
        """Starts a worker. Tests kill it and never ask it to end.

        `broken`: where its connection to the database breaks, once.
        """
        quick = [
            "--pool=solo",
            "--concurrency=1",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
        celery = ["worker", *quick, f"--hostname={name}@crashes"]
        return self._start([f"--broken={broken}", *celery], crash, mutation)

    def kill_all(self) -> None:
        """Sends SIGKILL to every beat and worker. Returns when they have ended."""
        for process in self._started:
            process.send_signal(signal.SIGKILL)
        for process in self._started:
            process.wait(WAIT_SECONDS)
        self._started = []

    def _start(self, arguments: list[str], crash: str, mutation: str) -> ForkedProcess:
        process = self._fork_server.start(
            ["-m", "tests.crashes.part", f"--crash={crash}", f"--mutation={mutation}", *arguments],
            environment=self.system.environment,
            output=self._output,
        )
        self._started.append(process)
        return process

    # --- what is there ----------------------------------------------------------------------------

    def crash(self, process: ForkedProcess) -> None:
        """Waits until the process has killed itself."""
        code = wait_until(process.poll, WAIT_SECONDS, "the crash", details=self.log)
        assert code == -signal.SIGKILL

    def logged(self, text: str) -> bool:
        return text in self._output.read_text()

    def rows(self) -> list[dict[str, Any]]:
        return self.system.sql("SELECT * FROM job_executions ORDER BY id")

    def states(self) -> list[str]:
        return [row["status"] for row in self.rows()]

    def messages(self) -> int:
        return int(self.broker.llen("celery"))

    def watermarks_moved(self) -> bool:
        rows = self.system.sql("SELECT next_run_at FROM cron_jobs")
        moved = {instant(row["next_run_at"]) > right_now() for row in rows}
        assert len(moved) == 1, "some watermarks moved, others did not"
        return moved.pop()

    def begun(self) -> Counter[int]:
        """Returns how many attempts of each number have begun."""
        return self._written("begin")

    def ended(self) -> Counter[int]:
        return self._written("end")

    def _written(self, what: str) -> Counter[int]:
        return Counter(line.attempt for line in read_ledger(self.ledger) if line.what == what)

    # --- what follows -----------------------------------------------------------------------------

    def recover(self, executions: int, *, beat: bool = True, worker: bool = True) -> History:
        """Lets healthy processes finish everything. Returns the history, with no broken promise."""
        if beat:
            self.beat()
        if worker:
            self.worker("healthy")
        history = self.finish(executions)
        broken = check(history)
        assert broken == [], broken
        assert self.watermarks_moved()
        return history

    def finish(self, executions: int, *, ends_processes: bool = True) -> History:
        """Returns the history once there are exactly `executions` executions, all of them final.

        `ends_processes`: the test has killed or stopped some, so that runs may be lost.
        """
        wait_until(
            lambda: [row["status"] in FINAL for row in self.rows()] == [True] * executions,
            WAIT_SECONDS,
            f"{executions} executions to become final",
            details=self.log,
        )
        recorded = read_history(self.system, self.jobs, self.ledger)
        recorded["counted"] = None  # beat counts ends later than these tests look
        faults = [self._all_along()] if ends_processes else []
        return History(**recorded, faults=faults, default_timezone="UTC")

    def _all_along(self) -> Fault:
        """Returns one fault for the whole test, because the test itself ends processes."""
        now = right_now()
        began_at = now - timedelta(minutes=5)
        return Fault(kind="test", target="", began_at=began_at, ended_at=now)

    def log(self) -> str:
        return f"{self.states()}\n{self._output.read_text()[-3000:]}"

    def close(self) -> None:
        self._fork_server.close()
        self.broker.close()


@contextmanager
def open_place(
    server: Postgres | MariaDB | None, broker: Redis, directory: Path
) -> Iterator[Place]:
    """Yields a place with its own database: on `server`, or without one in a SQLite file."""
    url = server.create_database("jobu") if server else f"sqlite:///{directory}/jobu.sqlite3"
    made = Place(url, broker.create_database(), directory)
    try:
        yield made
    finally:
        made.close()
        if server:
            server.drop_database(url)


def right_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - real processes use the real time
