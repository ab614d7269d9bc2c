"""What a run costs: handlers that do nothing, beside Celery's own task that does nothing.

Rows are there before the worker starts, and messages of the peers as well. Each shape and its peers
run in turn, several times; the figures are medians.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.asking import asking
from bench.environment import real_jobu
from bench.limit import limit_of
from bench.peers import BARE, PREFORK, RESULTS, Rate, median_rate, rate_of
from bench.rows import Goal, Row
from bench.worker.runs import CONFIG, insert, rate_of_all

LIMIT_GROUP = 50


@dataclass(frozen=True, kw_only=True)
class Shape:
    row: str
    pool: str
    concurrency: int


THREADS = Shape(row="no-op, threads", pool="threads", concurrency=100)
PREFORK_SHAPE = Shape(row="no-op, prefork -c 2", pool="prefork", concurrency=2)


def rows(database: str, runs: int, rounds: int) -> Iterator[Row]:
    on_postgres = database == "postgres"
    shapes = (THREADS, PREFORK_SHAPE) if on_postgres else (THREADS,)
    ours: dict[str, list[Rate]] = {shape.row: [] for shape in shapes}
    bare: list[Rate | None] = []
    results: list[Rate | None] = []
    for _ in range(rounds):
        bare.append(rate_of(BARE, runs, worker=PREFORK))
        for shape in shapes:
            ours[shape.row].append(_rate(database, shape, runs))
        if on_postgres:
            results.append(rate_of(RESULTS, max(100, runs // 4), worker=PREFORK, database=True))
    limit = limit_of(database, rows=runs, group=LIMIT_GROUP)
    peer, peer_with_history = median_rate(bare), median_rate(results)
    threads = Goal(times_the_peer=3.0 if on_postgres else 2.0)
    for shape, goal in zip(shapes, (threads, Goal(times_the_peer=1.3)), strict=False):
        rate = median_rate(ours[shape.row])
        assert rate is not None
        yield Row(
            row=shape.row,
            database=database,
            unit="runs a second",
            ours=rate.per_second,
            peer=peer.per_second if peer else None,
            peer_name=BARE.label,
            limit=limit,
            goal=goal,
        )
        yield Row(
            row=f"{shape.row}: processor time",
            database=database,
            unit="ms of CPU a run",
            ours=rate.milliseconds_of_cpu,
            peer=peer.milliseconds_of_cpu if peer else None,
            peer_name=BARE.label,
            goal=Goal(at_most=0.35) if on_postgres and shape is THREADS else None,
            less_is_better=True,
        )
        if shape is PREFORK_SHAPE:
            yield Row(
                row=f"{shape.row}, beside a peer with history",
                database=database,
                unit="runs a second",
                ours=rate.per_second,
                peer=peer_with_history.per_second if peer_with_history else None,
                peer_name=RESULTS.label,
                limit=limit,
                goal=Goal(times_the_peer=5.0),
            )


def _rate(database: str, shape: Shape, runs: int) -> Rate:
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        insert(ask, runs)
        jobu.start_beat()
        worker = jobu.start_worker(pool=shape.pool, concurrency=shape.concurrency)
        return rate_of_all(jobu, ask, worker.pid, runs)
