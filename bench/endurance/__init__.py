"""What worker processes hold after many runs: it must be what they hold after the first few.

One prefork and one threads worker execute runs of handlers that use Django's ORM, the pools, child
processes and errors. The connections of the database, and the open files, threads and memory of
each worker with its children, are counted after the first runs and at the end. Prints one line of
JSON; exits with 1 if something has grown.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.environment import DATABASES, real_jobu
from bench.processes import Held, held_by
from tests.harness.system import Part, System

POOLS = ("prefork", "threads")
#: How often a handler occurs among 20 runs. A child process costs more than all the others.
MIX = {
    "endure_nothing": 6,
    "endure_orm_async": 4,
    "endure_orm_plain": 4,
    "endure_pool": 3,
    "endure_failing": 2,
    "endure_subprocess": 1,
}
CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {"poll_interval_seconds": 0.2},
    "worker": {"handler_packages": ["bench.endurance.handlers"]},
    "logging": {"level": "WARNING"},
}
#: What may come on top by chance: a connection that is being replaced, a thread of a pool.
ALLOWED_CONNECTIONS = 4
ALLOWED_FILES = ALLOWED_THREADS = 6
ALLOWED_MEMORY_SHARE = 0.15
_ROWS_PER_INSERT = 500
_SETTLE_SECONDS = 15.0
_LIMIT_SECONDS = 900.0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench endurance", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="sqlite")
    parser.add_argument("--runs", type=int, default=10_000, help="of each worker")
    parser.add_argument("--first", type=int, default=500, help="runs before the first count")
    options = parser.parse_args(argv)
    if not 0 < options.first < options.runs:
        parser.error("--first must be at least 1 and less than --runs")
    with real_jobu(options.database, CONFIG) as jobu:
        jobu.start_beat()
        workers = {
            pool: jobu.start_worker(pool=pool, concurrency=number, queues=[pool])
            for pool, number in zip(POOLS, (2, 16), strict=True)
        }
        started = time.monotonic()
        _run(jobu, 0, options.first)
        before, connections_before = _held(workers), _connections(jobu)
        _run(jobu, options.first, options.runs)
        after, connections_after = _held(workers), _connections(jobu)
        seconds = time.monotonic() - started
        states = {
            f"{row['handler_name']} {row['status']}": int(row["n"])
            for row in jobu.sql(
                "SELECT handler_name, status, count(*) AS n FROM job_executions"
                " GROUP BY handler_name, status ORDER BY handler_name, status"
            )
        }
        pids_stay = all(worker.is_alive for worker in workers.values())
    grown = [what for pool in POOLS for what in _growth(pool, before[pool], after[pool])]
    if connections_after > connections_before + ALLOWED_CONNECTIONS:
        grown.append(f"connections: {connections_before} -> {connections_after}")
    if not pids_stay:
        grown.append("a worker has ended")
    print(
        json.dumps(
            {
                "bench": "endurance",
                "database": options.database,
                "runs_of_each_worker": options.runs,
                "seconds": round(seconds, 1),
                "after_first": {pool: asdict(held) for pool, held in before.items()},
                "at_the_end": {pool: asdict(held) for pool, held in after.items()},
                "connections": [connections_before, connections_after],
                "states": states,
                "grown": grown,
                "cores": os.cpu_count(),
            }
        ),
        flush=True,
    )
    return int(bool(grown))


def _run(jobu: System, first: int, last: int) -> None:
    """Inserts the runs with these numbers for both workers and waits until they have ended."""
    mix = [name for name, number in MIX.items() for _ in range(number)]
    rows = [
        (mix[number % len(mix)], pool, f"2026-01-01 00:00:00.{number:06d}")
        for number in range(first, last)
        for pool in POOLS
    ]
    for begin in range(0, len(rows), _ROWS_PER_INSERT):
        part = rows[begin : begin + _ROWS_PER_INSERT]
        jobu.sql(
            "INSERT INTO job_executions"
            " (handler_name, queue, scheduled_time, param_source, max_retry) VALUES "
            + ", ".join(["(%s, %s, %s, 'event', 0)"] * len(part)),
            *[value for row in part for value in row],
        )
    jobu.wait_until(lambda: _unfinished(jobu) == 0, _LIMIT_SECONDS, "all runs to end")
    time.sleep(_SETTLE_SECONDS)


def _unfinished(jobu: System) -> int:
    time.sleep(0.5)
    [row] = jobu.sql(
        "SELECT count(*) AS n FROM job_executions WHERE status IN ('PENDING', 'RUNNING')"
    )
    return int(row["n"])


def _connections(jobu: System) -> int:
    """Returns the connections to the job database, without the one that asks. 0 on SQLite."""
    if jobu.database_url.startswith("sqlite"):
        return 0
    statement = (
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
        if jobu.database_url.startswith("postgresql")
        else "SELECT count(*) AS n FROM information_schema.processlist WHERE db = database()"
    )
    [row] = jobu.sql(statement)
    return int(row["n"]) - 1


def _held(workers: Mapping[str, Part]) -> dict[str, Held]:
    return {pool: held_by(worker.pid) for pool, worker in workers.items()}


def _growth(pool: str, before: Held, after: Held) -> Iterator[str]:
    allowed = {
        "processes": before.processes,
        "files": before.files + ALLOWED_FILES,
        "threads": before.threads + ALLOWED_THREADS,
        "memory_mb": before.memory_mb * (1 + ALLOWED_MEMORY_SHARE),
    }
    for what, most in allowed.items():
        if getattr(after, what) > most:
            yield f"{pool} {what}: {getattr(before, what)} -> {getattr(after, what)}"
