"""What limits cost the runs that have none: jobs without limits, alone and beside full groups.

Three jobus at the same time, each with a worker of its own: without any limit, with 50 groups, keys
and rates that are full and have runs in line, and with a job in a group that has room. They take
turns, in the one order and then in the other, so a machine that becomes slower slows all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bench.asking import Asking, asking, seconds_of
from bench.environment import real_jobu
from bench.peers import Rate
from bench.processes import cpu_seconds, until
from bench.rows import Goal, Row
from bench.worker.runs import CONFIG, LIMIT_SECONDS
from tests.harness.system import System, deep_merge

GROUPS: Final = 50
#: Runs that wait for a place, of each group. All of them stand in line before anything is measured.
IN_LINE: Final = 20
_HELD_QUEUE: Final = "held"
_HOLD_SECONDS: Final = 3600
_ROWS_PER_INSERT: Final = 500
_WARM_UP: Final = 200
_INSTANT: Final = timedelta(microseconds=1)
#: In turn: full by runs that go on, by those of a key, by starts.
_FULL: Final[Sequence[dict[str, int]]] = (
    {"max_running": 1},
    {"max_running_per_key": 1},
    {"rate_count": 1, "rate_seconds": 86_400},
)
_ROOMY: Final = "roomy"


@dataclass(frozen=True, kw_only=True)
class Shape:
    row: str
    is_beside_full_groups: bool = False
    group: str = ""
    """Of the job whose runs are measured."""


FREE = Shape(row="no limit in the system")
BESIDE = Shape(
    row=f"no limit on this job, while {GROUPS} groups, keys and rates are full",
    is_beside_full_groups=True,
)
LIMITED = Shape(row="a job in a group that has room", group=_ROOMY)
SHAPES: Final = (FREE, BESIDE, LIMITED)


def rows(database: str, runs: int, rounds: int) -> Iterator[Row]:
    rates: dict[Shape, list[Rate]] = {shape: [] for shape in SHAPES}
    with ExitStack() as ending:
        sites = {shape: ending.enter_context(_site(database, shape)) for shape in SHAPES}
        for site in sites.values():
            site.rate(_WARM_UP)
        for number in range(rounds):
            for shape in SHAPES if number % 2 == 0 else reversed(SHAPES):
                rates[shape].append(sites[shape].rate(runs))
    free = rates[FREE]
    for shape in SHAPES:
        pairs = zip(rates[shape], free, strict=True)
        ratio = statistics.median(ours.per_second / alone.per_second for ours, alone in pairs)
        yield Row(
            row=f"no-op, {shape.row}",
            database=database,
            unit="runs a second",
            ours=statistics.median(rate.per_second for rate in rates[shape]),
            peer=None if shape is FREE else statistics.median(rate.per_second for rate in free),
            peer_name="" if shape is FREE else FREE.row,
            ratio_of_rounds=None if shape is FREE else ratio,
            goal=Goal(times_the_peer=0.97) if shape is BESIDE else None,
            more={
                "ours_cpu_ms": round(
                    statistics.median(rate.milliseconds_of_cpu for rate in rates[shape]), 3
                )
            },
        )


@contextmanager
def _site(database: str, shape: Shape) -> Iterator[Site]:
    groups = {_ROOMY: {"max_running": 10_000}} if shape.group else {}
    if shape.is_beside_full_groups:
        groups |= {f"group {n}": dict(_FULL[n % len(_FULL)]) for n in range(GROUPS)}
    config = deep_merge(CONFIG, {"scheduler": {"concurrency_groups": groups}})
    with real_jobu(database, config) as jobu, asking(jobu.database_url) as ask:
        jobu.start_beat()
        worker = jobu.start_worker(pool="threads", concurrency=100)
        # Each jobu has one, so that it costs all of them the same.
        jobu.start_worker(pool="threads", concurrency=100, queues=[_HELD_QUEUE])
        count = "SELECT count(*) FROM jobu_concurrency_groups"
        until(lambda: ask.one(count) == len(groups), 60, "the groups", details=jobu.logs)
        site = Site(jobu, ask, worker.pid, shape)
        site.hold()
        yield site


class Site:
    """A jobu with its worker, and the job whose runs are measured."""

    def __init__(self, jobu: System, ask: Asking, pid: int, shape: Shape) -> None:
        self._jobu = jobu
        self._ask = ask
        self._pid = pid
        self._shape = shape
        self._batches = 0
        self._job = self._make_job("measured", "bench_nothing", concurrency_group=shape.group)

    def hold(self) -> None:
        """Start runs that go on until the end, in groups of their own where there are some.

        Where there are, let others wait for their places.
        """
        is_full = self._shape.is_beside_full_groups
        waiting = []
        for number in range(GROUPS):
            limits = {"concurrency_group": f"group {number}"} if is_full else {}
            if is_full and number % len(_FULL) == 1:
                limits["concurrency_key"] = "params.tenant"
            params = f'{{"seconds": {_HOLD_SECONDS}, "tenant": "a"}}'
            holder = self._make_job(
                f"holder {number}",
                "bench_waits",
                queue=_HELD_QUEUE,
                handler_params=params,
                **limits,
            )
            self._insert(holder, 1, "bench_waits", params, queue=_HELD_QUEUE)
            if is_full:
                job = self._make_job(f"in line {number}", "bench_waits", **limits)
                waiting.append((job, params))
        self._release()
        self._until("status = 'RUNNING'", GROUPS, "the runs that hold places")
        for job, params in waiting:
            self._insert(job, IN_LINE, "bench_waits", params)
        self._release()
        # A run under a rate is PENDING until its time, and not in line for a place.
        held = "status = 'PENDING' AND reason_code IN ('limit_reached', 'rate_reached')"
        self._until(held, IN_LINE * len(waiting), "the runs that wait for places")

    def rate(self, runs: int) -> Rate:
        """Of so many runs, which become runnable with one commit."""
        ended = f"job_id = {self._job} AND status = 'SUCCESS'"
        last = int(self._ask.one("SELECT COALESCE(max(id), 0) FROM job_executions"))
        before = self._ask.count(ended)
        self._insert(self._job, runs, "bench_nothing", "{}")
        cpu = cpu_seconds(self._pid)
        self._release()
        self._until(ended, before + runs, "all runs to end")
        cpu = cpu_seconds(self._pid) - cpu
        first, end = self._ask.rows(
            "SELECT min(started_at), max(finished_at) FROM job_executions"
            f" WHERE job_id = {self._job} AND id > {last}"
        )[0]
        seconds = seconds_of(end) - seconds_of(first)
        return Rate(per_second=runs / seconds, milliseconds_of_cpu=1000 * cpu / runs)

    # --- helpers ----------------------------------------------------------------------------------

    def _make_job(self, name: str, handler: str, **columns: Any) -> int:
        values = {
            "name": name,
            "cron_expression": "0 0 1 1 *",
            "handler_name": handler,
            "timeout_seconds": 2 * _HOLD_SECONDS,
            **columns,
        }
        marks = ", ".join(["%s"] * len(values))
        self._jobu.sql(
            f"INSERT INTO cron_jobs ({', '.join(values)}) VALUES ({marks})", *values.values()
        )
        return int(self._ask.one("SELECT id FROM cron_jobs WHERE name = %s", name))

    def _insert(self, job: int, runs: int, handler: str, params: str, queue: str = "") -> None:
        """Runs as a person asks for them, which no worker may claim yet."""
        # A slot of a job is unique.
        self._batches += 1
        begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=self._batches)
        line = [job, handler, params, queue, 2 * _HOLD_SECONDS, self._text(_never())]
        for first in range(0, runs, _ROWS_PER_INSERT):
            numbers = range(first, min(first + _ROWS_PER_INSERT, runs))
            self._ask.rows(
                "INSERT INTO job_executions (job_id, handler_name, params, queue, timeout_seconds,"
                " available_at, scheduled_time, param_source) VALUES "
                + ", ".join(["(%s, %s, %s, %s, %s, %s, %s, 'manual')"] * len(numbers)),
                *[value for n in numbers for value in (*line, self._text(begin + n * _INSTANT))],
            )

    def _release(self) -> None:
        self._ask.rows(
            "UPDATE job_executions SET available_at = %s WHERE available_at = %s",
            self._text(datetime.now(UTC)),
            self._text(_never()),
        )

    def _until(self, condition: str, count: int, what: str) -> None:
        until(
            lambda: self._ask.count(condition) >= count,
            LIMIT_SECONDS,
            what,
            every=0.1,
            details=self._jobu.logs,
        )

    def _text(self, instant: datetime) -> str:
        """As the columns take it."""
        text = f"{instant:%Y-%m-%d %H:%M:%S.%f}"
        return f"{text}+00" if self._ask.vendor == "postgresql" else text


def _never() -> datetime:
    return datetime(2100, 1, 1, tzinfo=UTC)
