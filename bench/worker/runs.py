"""Rows for a worker, made before it starts, and what the table says about them afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.asking import Asking, json_of, seconds_of
from bench.peers import Rate
from bench.processes import cpu_seconds, until
from tests.harness.system import System

#: All times and sizes as in an installation. Only schedules may be shorter.
CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {"min_cron_interval_seconds": 1},
    "worker": {"handler_packages": ["bench.worker.handlers"]},
    "logging": {"level": "WARNING"},
}
LIMIT_SECONDS = 300.0
_ROWS_PER_INSERT = 500
_EACH_SECONDS = 0.1


def insert(
    ask: Asking, runs: int, handler: str = "bench_nothing", params: Mapping[str, Any] | None = None
) -> None:
    """Inserts events, as a program does by SQL."""
    slots = [f"2026-01-01 00:00:00.{number:06d}" for number in range(runs)]
    text = json.dumps(params or {})
    for begin in range(0, runs, _ROWS_PER_INSERT):
        part = slots[begin : begin + _ROWS_PER_INSERT]
        ask.rows(
            "INSERT INTO job_executions (handler_name, scheduled_time, param_source, params)"
            " VALUES " + ", ".join(["(%s, %s, 'event', %s)"] * len(part)),
            *[value for slot in part for value in (handler, slot, text)],
        )


def start_threads_workers(jobu: System, ask: Asking, count: int = 1) -> None:
    """Returns when they are among the processes, which is when they take runs."""
    for _ in range(count):
        jobu.start_worker(pool="threads", concurrency=100)
    question = "SELECT count(*) FROM scheduler_process WHERE kind = 'worker'"
    until(lambda: ask.one(question) >= count, 60, "the workers", details=jobu.logs)


def rate_of_all(jobu: System, ask: Asking, pid: int, runs: int) -> Rate:
    """Waits until all runs have succeeded. The time is from the first start to the last end.

    The processor time is that of the worker with its children, from the first start that is seen.
    """
    until(lambda: ask.count("status <> 'PENDING'"), 60, "the first run", details=jobu.logs)
    before, waiting = cpu_seconds(pid), ask.count("status = 'PENDING'")
    until(
        lambda: ask.count("status = 'SUCCESS'") >= runs,
        LIMIT_SECONDS,
        "all runs to end",
        every=_EACH_SECONDS,
        details=jobu.logs,
    )
    cpu = cpu_seconds(pid) - before
    seconds = last_end(ask) - first_start(ask)
    # A fast worker may have ended all of them before the first look.
    return Rate(per_second=runs / seconds, milliseconds_of_cpu=1000 * cpu / max(1, waiting))


def first_start(ask: Asking) -> float:
    return seconds_of(ask.one("SELECT min(started_at) FROM job_executions"))


def last_end(ask: Asking) -> float:
    return seconds_of(ask.one("SELECT max(finished_at) FROM job_executions"))


def starts(ask: Asking, condition: str = "1 = 1") -> dict[int, tuple[float, float]]:
    """Of ended runs of `bench_starts`: id -> (slot, instant at which the handler started)."""
    return {
        int(number): (seconds_of(slot), _at(json_of(result)))
        for number, slot, result in ask.rows(
            "SELECT id, scheduled_time, result FROM job_executions"
            f" WHERE handler_name = 'bench_starts' AND status = 'SUCCESS' AND {condition}"
        )
    }


def _at(result: Mapping[str, Any]) -> float:
    """Of a stored result, whatever the version wraps around what the handler returned."""
    if "at" in result:
        return float(result["at"])
    return next(_at(inner) for inner in result.values() if isinstance(inner, Mapping) and inner)
