"""What a run costs: handlers that do nothing, beside Celery's own task that does nothing.

Rows are there before the worker starts, and messages of the peer as well. Ours are counted from the
first start of a run to the last end of one, as the table says; the peer's from the first message
that leaves the queue to the last one that is acknowledged. The seconds of processor time are those
of the worker and its children meanwhile. Each shape and its peer run in turn, several times; the
figures are medians. Prints one line of JSON for each row.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bench.environment import DATABASES, real_jobu
from tests.harness.system import ROOT, System
from tests.harness.waiting import wait_until

#: (name of the row, our pool and concurrency, the goal as a part of the peer)
SHAPES = (
    ("no-op, threads", "threads", 50, 3.0),
    ("no-op, prefork", "prefork", 2, 1.3),
)
CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {"poll_interval_seconds": 0.2},
    "worker": {"handler_packages": ["bench.worker.handlers"]},
    "logging": {"level": "WARNING"},
}
PEER = "Celery's bare no-op, prefork -c 2"
_ROWS_PER_INSERT = 500
_LIMIT_SECONDS = 300.0
_LOOKS_EACH_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast runs ended, and what each of them cost."""

    per_second: float
    milliseconds_of_cpu: float


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench worker", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--runs", type=int, default=2000, help="of each shape, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    ours: dict[str, list[Rate]] = {name: [] for name, *_ in SHAPES}
    peers: list[Rate] = []
    for _ in range(options.rounds):
        peers.append(_bare(options.runs))
        for name, pool, concurrency, _goal in SHAPES:
            ours[name].append(_jobu(options.database, pool, concurrency, options.runs))
    peer = _median(peers)
    for name, _pool, _concurrency, goal in SHAPES:
        rate = _median(ours[name])
        ratio = rate.per_second / peer.per_second
        print(
            json.dumps(
                {
                    "row": name,
                    "database": options.database,
                    "ours": round(rate.per_second, 1),
                    "ours_cpu_ms": round(rate.milliseconds_of_cpu, 3),
                    "peer": round(peer.per_second, 1),
                    "peer_cpu_ms": round(peer.milliseconds_of_cpu, 3),
                    "peer_name": PEER,
                    "ratio": round(ratio, 2),
                    "goal": goal,
                    "met": ratio >= goal,
                    "cores": os.cpu_count(),
                }
            ),
            flush=True,
        )
    return 0


def _median(rates: Sequence[Rate]) -> Rate:
    return Rate(
        per_second=statistics.median(rate.per_second for rate in rates),
        milliseconds_of_cpu=statistics.median(rate.milliseconds_of_cpu for rate in rates),
    )


# --- jobu ----------------------------------------------------------------------------------------


def _jobu(database: str, pool: str, concurrency: int, runs: int) -> Rate:
    with real_jobu(database, CONFIG) as jobu:
        _insert(jobu, runs)
        jobu.start_beat()
        worker = jobu.start_worker(pool=pool, concurrency=concurrency)
        jobu.wait_until(lambda: _count(jobu, "status <> 'PENDING'") > 0, 60, "the first run")
        before = _cpu_seconds(worker.pid)
        begun_with = runs - _count(jobu, "status = 'PENDING'")
        jobu.wait_until(lambda: _ended(jobu) >= runs, _LIMIT_SECONDS, "all runs to end")
        cpu = _cpu_seconds(worker.pid) - before
        seconds = _span(jobu)
    return Rate(
        per_second=runs / seconds, milliseconds_of_cpu=1000 * cpu / max(1, runs - begun_with)
    )


def _insert(jobu: System, runs: int) -> None:
    slots = [f"2026-01-01 00:00:00.{number:06d}" for number in range(runs)]
    for begin in range(0, runs, _ROWS_PER_INSERT):
        part = slots[begin : begin + _ROWS_PER_INSERT]
        jobu.sql(
            "INSERT INTO job_executions (handler_name, scheduled_time, param_source) VALUES "
            + ", ".join(["('bench_nothing', %s, 'event')"] * len(part)),
            *part,
        )


def _count(jobu: System, condition: str) -> int:
    [row] = jobu.sql(f"SELECT count(*) AS n FROM job_executions WHERE {condition}")
    return int(row["n"])


def _ended(jobu: System) -> int:
    time.sleep(0.2)  # the question costs the database something, too
    return _count(jobu, "status = 'SUCCESS'")


def _span(jobu: System) -> float:
    """Seconds from the first start to the last end, as the table says."""
    span = {
        "sqlite": "(julianday(max(finished_at)) - julianday(min(started_at))) * 86400.0",
        "postgresql": "EXTRACT(EPOCH FROM max(finished_at) - min(started_at))",
        "mysql": "TIMESTAMPDIFF(MICROSECOND, min(started_at), max(finished_at)) / 1000000e0",
    }[jobu.database_url.partition(":")[0].partition("+")[0]]
    [row] = jobu.sql(f"SELECT {span} AS seconds FROM job_executions")
    return float(row["seconds"])


# --- the peer ------------------------------------------------------------------------------------


def _bare(runs: int) -> Rate:
    with _redis() as url:
        environment = os.environ | {"BENCH_BROKER_URL": url}
        send = (
            "from bench.worker.bare import nothing\n"
            f"for _ in range({runs}): nothing.apply_async(retry=False)"
        )
        subprocess.run([sys.executable, "-c", send], env=environment, cwd=ROOT, check=True)
        command = [sys.executable, "-m", "celery", "-A", "bench.worker.bare", "worker"]
        command += ["--pool=prefork", "--concurrency=2", "--loglevel=ERROR"]
        worker = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with redis.Redis.from_url(url) as broker:
                wait_until(lambda: _left(broker) < runs, 60, "the peer's first task")
                begun, before, first = time.monotonic(), _cpu_seconds(worker.pid), _left(broker)
                wait_until(lambda: _left(broker) == 0, _LIMIT_SECONDS, "the peer's last task")
                seconds = time.monotonic() - begun
                cpu = _cpu_seconds(worker.pid) - before
        finally:
            worker.terminate()
            worker.wait(30)
    return Rate(per_second=first / seconds, milliseconds_of_cpu=1000 * cpu / first)


def _left(broker: redis.Redis) -> int:
    """Messages that wait or are not acknowledged yet."""
    time.sleep(_LOOKS_EACH_SECONDS)
    waiting, unacknowledged = broker.llen("celery"), broker.hlen("unacked")
    assert isinstance(waiting, int)
    assert isinstance(unacknowledged, int)
    return waiting + unacknowledged


@contextmanager
def _redis() -> Iterator[str]:
    from tests.harness.servers import Redis
    from tests.harness.servers.pool import start_server

    server = start_server(Redis)
    try:
        yield server.create_database()
    finally:
        server.close()


# --- processor time ------------------------------------------------------------------------------


def _cpu_seconds(pid: int) -> float:
    """Of the process, of its children that live, and of those that have ended."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for each in [pid, *_children(pid)]:
        try:
            stat = Path(f"/proc/{each}/stat").read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            continue
        # user, system, and both of the children that were waited for (man 5 proc)
        total += sum(int(field) for field in stat.rpartition(")")[2].split()[11:15]) / ticks
    return total


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found + [below for child in found for below in _children(child)]
