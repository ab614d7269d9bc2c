"""What a run costs in a worker, and how soon it starts, beside Celery's own tasks.

Parts: `noop` (runs a second and processor time of a handler that does nothing), `waits` (handlers
of 50 ms), `flight` (waits of a minute at once), `now` (from a commit to the handler's start),
`limits` (what limits of other jobs cost a job that has none).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.environment import DATABASES
from bench.rows import emit
from bench.worker import limits, noop, now, waits

PARTS = ("noop", "waits", "flight", "now", "limits")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench worker", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--runs", type=int, default=2000, help="of each shape, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all")
    options = parser.parse_args(argv)
    parts = options.part or PARTS
    if "noop" in parts:
        emit(noop.rows(options.database, options.runs, options.rounds))
    if "waits" in parts:
        emit(waits.rows(options.database, options.runs, options.rounds))
    if "flight" in parts:
        emit(waits.in_flight(options.database))
    if "now" in parts:
        emit(now.rows(options.database, max(20, options.runs // 20)))
    if "limits" in parts:
        emit(limits.rows(options.database, options.runs, options.rounds))
    return 0
