"""Whether a worker slows down before a long queue: a million rows that may run, and retries.

Counted are the runs that end within some seconds, before few rows and before many.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence

from bench.asking import Asking, asking
from bench.crowd import multiply, refresh_statistics
from bench.environment import DATABASES, real_jobu
from bench.processes import until
from bench.rows import Goal, Row, emit
from bench.worker.runs import CONFIG, insert

#: More than a worker ends meanwhile.
FEW = 60_000
_FAR = "2099-01-01 00:00:00"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench backlog", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--runnable", type=int, default=1_000_000)
    parser.add_argument("--retries", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args(argv)
    emit(_rows(options.database, options.runnable, options.retries, options.seconds))
    return 0


def _rows(database: str, runnable: int, retries: int, seconds: float) -> Iterator[Row]:
    short = _rate(database, FEW, 0, seconds)
    long = _rate(database, runnable, retries, seconds)
    yield Row(
        row=f"before {runnable:,} rows that may run and {retries:,} retries: time of a run",
        database=database,
        unit="ms a run, all told",
        ours=1000 / long if long else None,
        peer=1000 / short if short else None,
        peer_name=f"jobu before {FEW:,} rows",
        goal=Goal(times_the_peer=round(1 / 1.2, 3)),
        less_is_better=True,
    )


def _rate(database: str, runnable: int, retries: int, seconds: float) -> float:
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        insert(ask, 1)
        first = int(ask.one("SELECT id FROM job_executions"))
        multiply(ask, "job_executions", first, runnable - 1, {})
        if retries:
            # Of the highest priority, so that they lie before all others in any order.
            far = {"available_at": f"'{_FAR}'", "priority": "9"}
            multiply(ask, "job_executions", first, retries, far)
        refresh_statistics(ask)
        jobu.start_beat()
        jobu.start_worker(pool="threads", concurrency=100)
        until(lambda: _ended(ask), 120, "the first run", details=jobu.logs)
        time.sleep(2)
        before, begun = _ended(ask), time.monotonic()
        time.sleep(seconds)
        return (_ended(ask) - before) / (time.monotonic() - begun)


def _ended(ask: Asking) -> int:
    """By the attempts: to count a million executions would cost more than the runs."""
    return int(ask.one("SELECT count(*) FROM job_attempts"))
