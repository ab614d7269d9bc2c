"""What runs ask of PostgreSQL: statements by kind, bytes of WAL, bytes that stay, processor time.

For docs/scaling.md, which multiplies them. Many jobs are due at one instant: beat records them and
one threads worker runs a handler that does nothing. Then runs come one at a time, as each of many
workers sees them, so little goes in groups; a door makes them, and its statements count as well.
Then nothing comes. The statements are counted in the
server's log, in rounds of their own, because the log slows the server down.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.asking import Asking, asking
from bench.crowd import multiply, planned_job, text_with_number
from bench.environment import real_jobu
from bench.processes import cpu_seconds, until
from bench.rows import Row, emit
from bench.statement_log import count_statements
from bench.worker.now import press
from bench.worker.runs import CONFIG, start_threads_workers
from tests.harness.system import System

_AHEAD_SECONDS = 8
_LIMIT_SECONDS = 120.0
_APART_SECONDS = 0.05
_IDLE_SECONDS = 20.0
_KINDS = 14
_LEFT = "status IN ('PENDING', 'RUNNING')"
_ROWS = {
    "wal": ("costs: WAL from the slot to the end", "bytes a run"),
    "size": ("costs: what stays in tables and indexes", "bytes a run"),
    "beat": ("costs: processor time of beat", "us a run"),
    "worker": ("costs: processor time of a threads worker", "us a run"),
    "transactions": ("costs: transactions", "a run"),
}

Work = Callable[[System, Asking, Callable[[], None]], None]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench costs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    options = parser.parse_args(argv)
    emit(_rows(options.jobs))
    return 0


def _rows(jobs: int) -> Iterator[Row]:
    few = max(20, jobs // 10)

    def row(name: str, unit: str, figure: float, kinds: Counter[str], by: float) -> Row:
        more = {"kinds": {kind: round(n / by, 4) for kind, n in kinds.most_common(_KINDS)}}
        return Row(
            row=name,
            database="postgres",
            unit=unit,
            ours=figure,
            less_is_better=True,
            more=more if kinds else {},
        )

    figures, _ = _measure(_all_at_once(jobs), logged=False)
    for key, (name, unit) in _ROWS.items():
        yield row(name, unit, figures[key] / jobs, Counter(), 1)
    _, kinds = _measure(_all_at_once(jobs), logged=True)
    yield row("costs: statements, all at once", "a run", kinds.total() / jobs, kinds, jobs)
    _, idle = _measure(_nothing, logged=True)
    yield row(
        "costs: statements of an idle beat and an idle worker",
        "a second",
        idle.total() / _IDLE_SECONDS,
        idle,
        _IDLE_SECONDS,
    )
    figures, kinds = _measure(_one_by_one(few), logged=True)
    # What both would have asked in that time without any run.
    for kind, number in idle.items():
        kinds[kind] -= round(number * figures["seconds"] / _IDLE_SECONDS)
    kinds = +kinds
    yield row("costs: statements, one at a time", "a run", kinds.total() / few, kinds, few)
    yield row("costs: WAL, one at a time", "bytes a run", figures["wal"] / few, Counter(), 1)


def _measure(work: Work, *, logged: bool) -> tuple[dict[str, float], Counter[str]]:
    """What grows between `work`'s call of its third argument and its return."""
    with real_jobu("postgres", CONFIG) as jobu, asking(jobu.database_url) as ask:
        # Of the private server, beside its data (tests/harness/servers/postgres.py).
        log = Path(ask.one("SHOW data_directory")).parent / "log"
        if logged:
            name = ask.one("SELECT current_database()")
            ask.rows(f"ALTER DATABASE \"{name}\" SET log_statement = 'all'")
        jobu.start_beat()
        start_threads_workers(jobu, ask)
        before: dict[str, float] = {}
        begin = 0

        def begins() -> None:
            nonlocal begin
            before.update(_figures(jobu, ask))
            begin = log.stat().st_size

        work(jobu, ask, begins)
        after, end = _figures(jobu, ask), log.stat().st_size
        with log.open("rb") as lines:
            lines.seek(begin)
            text = lines.read(end - begin).decode(errors="replace")
    return {key: after[key] - before[key] for key in after}, count_statements(text.splitlines())


def _figures(jobu: System, ask: Asking) -> dict[str, float]:
    beat, worker = jobu.parts
    size = (
        "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c"
        " WHERE c.relname IN ('job_executions', 'job_attempts', 'job_logs')"
    )
    commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return {
        "wal": float(ask.one("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")),
        "size": float(ask.one(size)),
        "beat": 1e6 * cpu_seconds(beat.pid),
        "worker": 1e6 * cpu_seconds(worker.pid),
        "transactions": float(ask.one(commits)),
        "seconds": time.monotonic(),
    }


def _all_at_once(jobs: int) -> Work:
    def work(jobu: System, ask: Asking, begins: Callable[[], None]) -> None:
        slot = int(time.time()) + _AHEAD_SECONDS
        at = time.gmtime(slot)
        first = planned_job(
            jobu, ask, name="due 0", handler="bench_nothing",
            expression=f"{at.tm_sec} {at.tm_min} {at.tm_hour} * * *",
        )  # fmt: skip
        multiply(ask, "cron_jobs", first, jobs - 1, {"name": text_with_number(ask, "due ")})
        ask.rows("CHECKPOINT")
        time.sleep(max(0.0, slot - 0.3 - time.time()))
        begins()
        _until_ended(jobu, ask, jobs)

    return work


def _one_by_one(runs: int) -> Work:
    """Through a door, which wakes a worker: rows inserted by SQL would wait together for a poll."""

    def work(jobu: System, ask: Asking, begins: Callable[[], None]) -> None:
        job = planned_job(
            jobu, ask, name="pressed", handler="bench_nothing", expression="0 0 1 1 *",
            overlap_policy="allow",
        )  # fmt: skip
        begins()
        press(jobu, job, runs, _APART_SECONDS)
        _until_ended(jobu, ask, runs)

    return work


def _nothing(jobu: System, ask: Asking, begins: Callable[[], None]) -> None:
    time.sleep(3)
    begins()
    time.sleep(_IDLE_SECONDS)


def _until_ended(jobu: System, ask: Asking, runs: int) -> None:
    until(
        lambda: ask.count("status <> 'PENDING'") >= runs and not ask.count(_LEFT),
        _LIMIT_SECONDS,
        "the runs",
        every=1,
        details=jobu.logs,
    )
