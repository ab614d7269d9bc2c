"""What a threads worker holds: idle, and after many runs. Memory, files, threads, connections.

The worker is started as an installation starts it, not as a fork, so its memory is all its own.
`bench endurance` looks at more kinds of runs, and at prefork.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence

from bench.asking import Asking, asking
from bench.environment import DATABASES, real_jobu
from bench.processes import Held, held_by, plain_process, until
from bench.rows import Goal, Row, emit
from bench.worker.runs import CONFIG, LIMIT_SECONDS, insert

_WORKER = ("-m", "celery", "-A", "jobu_project", "worker", "--pool=threads", "--concurrency=100")
_SETTLE_SECONDS = 5.0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench memory", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--runs", type=int, default=5000)
    options = parser.parse_args(argv)
    emit(_rows(options.database, options.runs))
    return 0


def _rows(database: str, runs: int) -> Iterator[Row]:
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        jobu.start_beat()
        with plain_process([*_WORKER, "--loglevel=WARNING"], jobu.environment) as worker:
            question = "SELECT count(*) FROM scheduler_process WHERE kind = 'worker'"
            until(lambda: ask.one(question), 60, "the worker to be ready", every=0.1)
            time.sleep(_SETTLE_SECONDS)
            idle = held_by(worker.pid)
            _run(ask, runs // 5)  # pools and caches reach their sizes
            first, connections = held_by(worker.pid), _connections(ask)
            _run(ask, runs)
            last, connections_after = held_by(worker.pid), _connections(ask)
    yield Row(
        row="threads worker, idle: memory",
        database=database,
        unit="MB",
        ours=idle.memory_mb,
        goal=Goal(at_most=100),
        less_is_better=True,
    )
    yield Row(
        row=f"threads worker: memory after {runs:,} runs, compared with after {runs // 5:,}",
        database=database,
        unit="times",
        ours=last.memory_mb / first.memory_mb,
        goal=Goal(at_most=1.05),
        less_is_better=True,
        more={
            "memory_mb": [first.memory_mb, last.memory_mb],
            **{name: _pair(first, last, name) for name in ("files", "threads")},
            "connections": [connections, connections_after],
        },
    )


def _pair(first: Held, last: Held, name: str) -> list[int]:
    return [getattr(first, name), getattr(last, name)]


def _run(ask: Asking, runs: int) -> None:
    ask.rows("DELETE FROM job_executions")
    insert(ask, runs)
    until(lambda: ask.count("status = 'SUCCESS'") >= runs, LIMIT_SECONDS, "all runs", every=0.3)
    time.sleep(_SETTLE_SECONDS)


def _connections(ask: Asking) -> int:
    """To the job database, without the one that asks. 0 on SQLite."""
    if ask.vendor == "sqlite":
        return 0
    question = (
        "SELECT count(*) FROM information_schema.processlist WHERE db = database()"
        if ask.vendor == "mysql"
        else "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    )
    return int(ask.one(question)) - 1
