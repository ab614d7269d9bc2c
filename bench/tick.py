"""Beat alone, without a worker: how fast it records many slots, and what that costs.

A real beat among jobs that are idle; some of them are due at one instant. `bench idle` measures a
beat that waits, `bench burst` one with workers. Of several beats each records a part.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from bench.asking import asking, seconds_of
from bench.crowd import multiply, planned_job, text_with_number
from bench.environment import DATABASES, real_jobu
from bench.lateness import NEVER
from bench.processes import cpu_seconds, until
from bench.rows import Row, emit
from bench.worker.runs import CONFIG

_AHEAD_SECONDS = 10
_LIMIT_SECONDS = 120.0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench tick", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--due", type=int, default=10_000)
    parser.add_argument("--beats", type=int, default=1)
    options = parser.parse_args(argv)
    if not 0 < options.due < options.jobs:
        parser.error("--due must be at least 1 and less than --jobs")
    seconds, cpu = recording(options.database, options.jobs, options.due, options.beats)
    emit(
        [
            Row(
                row=f"beat records {options.due:,} slots among {options.jobs:,} jobs",
                database=options.database,
                unit="slots a second",
                ours=options.due / seconds,
                more={"beats": options.beats, "cpu_us_a_slot": round(1e6 * cpu / options.due)},
            )
        ]
    )
    return 0


def recording(database: str, jobs: int, due: int, beats: int = 1) -> tuple[float, float]:
    """Seconds from the slot until the last of the due jobs has its row, and of CPU of all beats."""
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        running = [jobu.start_beat() for _ in range(beats)]
        idle = planned_job(jobu, ask, name="idle 0", expression=NEVER, handler="bench_nothing")
        multiply(ask, "cron_jobs", idle, jobs - due - 1, {"name": text_with_number(ask, "idle ")})
        slot = int(time.time()) + _AHEAD_SECONDS
        at = time.gmtime(slot)
        first = planned_job(
            jobu, ask, name="due 0", handler="bench_nothing",
            expression=f"{at.tm_sec} {at.tm_min} {at.tm_hour} * * *",
        )  # fmt: skip
        multiply(ask, "cron_jobs", first, due - 1, {"name": text_with_number(ask, "due ")})
        if time.time() > slot - 0.5:
            raise RuntimeError("the jobs were not there before their slot")
        time.sleep(slot - 0.1 - time.time())
        before = sum(cpu_seconds(beat.pid) for beat in running)
        until(
            lambda: seconds_of(ask.one("SELECT min(next_run_at) FROM cron_jobs")) > slot,
            _LIMIT_SECONDS,
            "the rows",
            details=jobu.logs,
        )
        seconds = time.time() - slot
        return seconds, sum(cpu_seconds(beat.pid) for beat in running) - before
