"""How long after its slot a handler starts: ten jobs every 2 seconds among many that are idle.

RedBeat beside it has as many entries. Its entries have no slots: one is due 2 s after the task
before was sent, so its lateness is the distance of two starts less 2 s.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from bench.asking import asking
from bench.crowd import multiply, planned_job, text_with_number
from bench.environment import DATABASES, real_jobu
from bench.peers import REDBEAT, place
from bench.rows import Goal, Row, emit, percentile
from bench.worker.runs import CONFIG, start_threads_workers, starts
from tests.harness.system import System

OFTEN = 10
EVERY_SECONDS = 2
#: Of each job: until beat and worker have warmed up.
_FIRST_IGNORED = 2
_PEER_AHEAD_SECONDS = 12.0
#: Years away, whatever the day.
NEVER = "0 0 29 2 *"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench lateness", description=__doc__)
    parser.add_argument("--database", action="append", choices=list(DATABASES))
    parser.add_argument("--jobs", type=int, default=100_000, help="that are idle")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args(argv)
    peer = _redbeat(options.jobs, options.seconds)
    for database in options.database or DATABASES:
        emit(_rows(database, ours(database, options.jobs, options.seconds), peer, options.jobs))
    return 0


def _rows(
    database: str, ours: Sequence[float], peer: Sequence[float] | None, jobs: int
) -> Iterator[Row]:
    for percent, most in ((50, 10.0), (99, 40.0)):
        yield Row(
            row=f"lateness of a start among {jobs:,} jobs, p{percent}",
            database=database,
            unit="ms",
            ours=1000 * percentile(ours, percent),
            peer=1000 * percentile(peer, percent) if peer else None,
            peer_name=REDBEAT.label,
            goal=Goal(at_most=most),
            less_is_better=True,
            more={"starts": len(ours)},
        )


def ours(database: str, jobs: int, seconds: float, *, history: int = 0) -> list[float]:
    """Seconds from the slot to the handler's start, of each run."""
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        jobu.start_beat()
        idle = planned_job(jobu, ask, name="idle 0", expression=NEVER, handler="bench_starts")
        multiply(ask, "cron_jobs", idle, jobs - 1, {"name": text_with_number(ask, "idle ")})
        start_threads_workers(jobu, ask)
        if history:
            _add_history(jobu, history)
        _start_often(jobu)
        time.sleep(EVERY_SECONDS * (_FIRST_IGNORED + 1) + seconds)
        found = starts(ask)
    slots: dict[float, list[float]] = defaultdict(list)
    for slot, start in found.values():
        slots[slot].append(start - slot)
    # Without the newest slot: some of its runs may not have ended.
    kept = sorted(slots)[_FIRST_IGNORED:-1]
    return [late for slot in kept for late in slots[slot]]


def _start_often(jobu: System) -> None:
    """The tenth of a second is no part of a schedule, so all ten are due at the same instants."""
    values = ", ".join(
        f"('often {number}', '*/{EVERY_SECONDS} * * * * *', 'bench_starts')"
        for number in range(OFTEN)
    )
    jobu.sql(f"INSERT INTO cron_jobs (name, cron_expression, handler_name) VALUES {values}")


def _add_history(jobu: System, rows: int) -> None:
    """Ended runs of a job that has gone."""
    with asking(jobu.database_url) as ask:
        ask.rows(
            "INSERT INTO job_executions (handler_name, scheduled_time, param_source)"
            " VALUES ('bench_nothing', '2026-01-01 00:00:00', 'event')"
        )
        condition = "handler_name = 'bench_nothing' AND status = 'SUCCESS'"
        jobu.wait_until(lambda: ask.count(condition), 60, "the run that is copied")
        first = ask.one(f"SELECT id FROM job_executions WHERE {condition}")
        # The lease token of an attempt is unique, that of an ended execution is not.
        multiply(ask, "job_executions", first, rows - 1, {})


def _redbeat(jobs: int, seconds: float) -> list[float] | None:
    if not REDBEAT.is_installed:
        return None
    with place() as here:
        here.run("-m", REDBEAT.app, "idle", str(jobs), "86400", str(time.time() + 86_400))
        often = str(time.time() + _PEER_AHEAD_SECONDS)
        here.run("-m", REDBEAT.app, "often", str(OFTEN), str(EVERY_SECONDS), often)
        beat = ("-S", "redbeat.RedBeatScheduler", "--pidfile=")
        with (
            here.celery(REDBEAT, "worker", "--pool=threads", "--concurrency=100"),
            here.celery(REDBEAT, "beat", *beat),
        ):
            time.sleep(_PEER_AHEAD_SECONDS + EVERY_SECONDS * (_FIRST_IGNORED + 1) + seconds)
        found = here.starts()
    begun: dict[str, list[float]] = defaultdict(list)
    for label, at in found:
        begun[label].append(at)
    return [
        after - before - EVERY_SECONDS
        for times in begun.values()
        for before, after in zip(times[_FIRST_IGNORED:], times[_FIRST_IGNORED + 1 :], strict=False)
    ]
