"""A beat among a million jobs of which 100 are due each minute: what it costs to wait.

Beat is started as an installation starts it, not as a fork. Ready is when its row appears among the
processes. A worker ends the runs; its time does not count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence

from bench.asking import asking
from bench.crowd import multiply, planned_job, text_with_number
from bench.environment import DATABASES, real_jobu
from bench.lateness import NEVER
from bench.processes import cpu_seconds, held_by, plain_process, until
from bench.rows import Goal, Row, emit
from bench.worker.runs import CONFIG, start_threads_workers

DUE_EACH_MINUTE = 100
_BEAT = ("-m", "celery", "-A", "jobu_project", "beat", "--loglevel=WARNING")
#: After its start a beat compares all jobs with their schedules. It is calm when it uses this part
#: of a core, and it is waited for at most so long.
_CALM = 0.04
_LOOK_SECONDS = 5.0
_MOST_SECONDS = 90.0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench idle", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="a multiple of 60")
    options = parser.parse_args(argv)
    emit(rows(options.database, options.jobs, options.seconds))
    return 0


def rows(database: str, jobs: int, seconds: float) -> Iterator[Row]:
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        first_beat = jobu.start_beat()
        idle = planned_job(jobu, ask, name="idle 0", expression=NEVER, handler="bench_nothing")
        often = planned_job(
            jobu, ask, name="often 0", expression="* * * * *", handler="bench_nothing"
        )
        first_beat.terminate()
        first_beat.wait(30)
        multiply(ask, "cron_jobs", idle, jobs - 1, {"name": text_with_number(ask, "idle ")})
        often_name = {"name": text_with_number(ask, "often ")}
        multiply(ask, "cron_jobs", often, DUE_EACH_MINUTE - 1, often_name)
        start_threads_workers(jobu, ask)
        ask.rows("DELETE FROM scheduler_process WHERE kind = 'beat'")
        begun = time.monotonic()
        with plain_process(_BEAT, jobu.environment) as beat:
            question = "SELECT count(*) FROM scheduler_process WHERE kind = 'beat'"
            until(lambda: ask.one(question), 120, "beat to be ready", every=0.02)
            ready = time.monotonic() - begun
            calm_after = _until_calm(beat.pid)
            before = cpu_seconds(beat.pid)
            time.sleep(seconds)
            cpu = cpu_seconds(beat.pid) - before
            memory = held_by(beat.pid).memory_mb
    name = f"idle beat, {jobs:,} jobs"
    for what, unit, figure, most in (
        ("processor time", "s of CPU a minute", 60 * cpu / seconds, 0.5),
        ("memory", "MB", memory, 90.0),
        ("from its start until it is ready", "s", ready, 1.5),
    ):
        yield Row(
            row=f"{name}: {what}",
            database=database,
            unit=unit,
            ours=figure,
            goal=Goal(at_most=most),
            less_is_better=True,
            more={"measured_after_seconds": round(ready + calm_after)},
        )


def _until_calm(pid: int) -> float:
    """Waits, and returns for how many seconds."""
    begun = time.monotonic()
    while True:
        before = cpu_seconds(pid)
        time.sleep(_LOOK_SECONDS)
        waited = time.monotonic() - begun
        if cpu_seconds(pid) - before < _CALM * _LOOK_SECONDS or waited > _MOST_SECONDS:
            return waited
