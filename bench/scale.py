"""Curves: how figures move with the number of beats, workers, jobs and rows of history.

Each point is a short run of its own. `--seconds` bounds the whole: a curve that has no time left
ends earlier, and its later points are missing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

from bench.asking import asking
from bench.burst import burst
from bench.environment import DATABASES, real_jobu
from bench.idle import rows as idle_rows
from bench.lateness import ours as lateness
from bench.processes import until
from bench.rows import Row, emit, percentile
from bench.tick import recording
from bench.worker.runs import CONFIG, LIMIT_SECONDS, first_start, insert, last_end

COUNTS = (1, 2, 4)
JOBS = (1_000, 30_000, 1_000_000)
HISTORY = (0, 100_000, 1_000_000)
_RUNS = 2000
_DUE = 5000


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench scale", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--curve", action="append", choices=list(CURVES), help="default: all")
    parser.add_argument("--most", type=int, default=1_000_000, help="jobs and rows of history")
    options = parser.parse_args(argv)
    end = time.monotonic() + options.seconds
    for name in options.curve or CURVES:
        what, unit, points, measure = CURVES[name]
        for point in points:
            if point > options.most:
                continue
            if time.monotonic() > end:
                break
            emit(_rows(name, what, unit, options.database, point, measure))
    return 0


def _rows(
    curve: str,
    what: str,
    unit: str,
    database: str,
    point: int,
    measure: Callable[[str, int], float | None],
) -> Iterator[Row]:
    yield Row(
        row=f"scale: {what}, by {curve}: {point:,}",
        database=database,
        unit=unit,
        ours=measure(database, point),
        more={"curve": curve, "what": what, "point": point},
    )


def _runs_by_workers(database: str, workers: int) -> float:
    runs = _RUNS * min(workers, 2)
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        insert(ask, runs)
        jobu.start_beat()
        for _ in range(workers):
            jobu.start_worker(pool="threads", concurrency=100)
        until(
            lambda: ask.count("status = 'SUCCESS'") >= runs,
            LIMIT_SECONDS,
            "all runs",
            every=0.2,
            details=jobu.logs,
        )
        return runs / (last_end(ask) - first_start(ask))


def _slots_by_beats(database: str, beats: int) -> float:
    seconds, _ = recording(database, 2 * _DUE, _DUE, beats)
    return _DUE / seconds


def _end_by_workers(database: str, workers: int) -> float | None:
    return burst(database, _DUE, workers=workers).ended


def _idle_by_jobs(database: str, jobs: int) -> float | None:
    processor, *_ = idle_rows(database, jobs, 20)
    return processor.ours


def _lateness_by_jobs(database: str, jobs: int) -> float:
    return 1000 * percentile(lateness(database, jobs, 10), 50)


def _lateness_by_history(database: str, rows: int) -> float:
    return 1000 * percentile(lateness(database, 1000, 10, history=rows), 50)


#: name -> (what, unit, points, how a point is measured)
CURVES: dict[str, tuple[str, str, Sequence[int], Callable[[str, int], float | None]]] = {
    "workers": ("no-op runs", "runs a second", COUNTS, _runs_by_workers),
    "beats": ("slots recorded", "slots a second", COUNTS, _slots_by_beats),
    "jobs": ("lateness of a start, p50", "ms", JOBS, _lateness_by_jobs),
    "history": ("lateness of a start, p50", "ms", HISTORY, _lateness_by_history),
    "workers of a burst": (f"{_DUE:,} due at once: all ended", "s", COUNTS, _end_by_workers),
    "jobs of an idle beat": ("idle beat", "s of CPU a minute", JOBS, _idle_by_jobs),
}
