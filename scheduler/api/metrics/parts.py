"""Series of each queue and of each worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from scheduler.api.metrics.text import Family, counter, gauge, labels
from scheduler.operations import liveness
from scheduler.operations.celery_app import known_queues, own_app
from scheduler.store import job_figures

#: Names of queues are free text, so there is a bound.
MAX_QUEUES: Final = 100
MAX_WORKERS: Final = 200


def families(now: datetime) -> Iterator[Family]:
    yield from _queues(now)
    yield from _workers(now)


def _queues(now: datetime) -> Iterator[Family]:
    default = str(own_app().conf.task_default_queue)
    # Also those in which nothing waits, as far as they are known: a series that ends shows no 0.
    waiting = dict.fromkeys(sorted({default, *known_queues()}), 0)
    oldest = dict.fromkeys(waiting, 0.0)
    for queue in job_figures.of_queues(now):
        name = queue.queue or default
        waiting[name] = waiting.get(name, 0) + queue.waiting
        age = (now - queue.oldest_at).total_seconds()
        oldest[name] = max(age, oldest.get(name, 0.0))
    depth = gauge(
        "jobu_queue_waiting",
        f"Runs of the queue that could start now, counted up to {job_figures.WAITING_LIMIT}.",
    )
    age_of = gauge(
        "jobu_queue_oldest_waiting_seconds", "How long the oldest of them waits; 0: none waits."
    )
    for name in list(waiting)[:MAX_QUEUES]:
        depth.add(waiting[name], labels(queue=name))
        age_of.add(oldest[name], labels(queue=name))
    yield depth
    yield age_of
    yield gauge(
        "jobu_metrics_queues_omitted",
        f"Queues without series of their own: there are more than {MAX_QUEUES}.",
        max(0, len(waiting) - MAX_QUEUES),
    )


def _workers(now: datetime) -> Iterator[Family]:
    running = gauge("jobu_worker_running", "Runs that go on in the worker.")
    claims = Family("summary", "jobu_worker_claim_runs", "Runs that were claimed together.")
    ends = Family("summary", "jobu_worker_end_runs", "Ends of runs that were written together.")
    lag = Family(
        "summary", "jobu_worker_loop_lag_seconds", "How late the event loop began something new."
    )
    acquired = counter(
        "jobu_worker_pool_acquired_total", "Connections that handlers got from a pool."
    )
    waited = counter("jobu_worker_pool_wait_seconds_total", "How long they waited for them.")
    timeouts = counter("jobu_worker_pool_timeouts_total", "Waits that were given up.")
    for worker in job_figures.of_workers(now - liveness.STALE_AFTER, MAX_WORKERS):
        label, figures = labels(worker=worker.name), worker.figures
        running.add(worker.running, label)
        for family, group, count, total in (
            (claims, "claims", "groups", "runs"),
            (ends, "ends", "groups", "runs"),
            (lag, "loop", "probes", "lag_seconds"),
        ):
            if group in figures:
                family.add(_number(figures, group, count), label, "_count")
                family.add(_number(figures, group, total), label, "_sum")
        pools = _inner(figures, "pools")
        for database in sorted(pools):
            both = f"{label},{labels(database=database)}"
            acquired.add(_number(pools, database, "acquired"), both)
            waited.add(_number(pools, database, "wait_seconds"), both)
            timeouts.add(_number(pools, database, "timeouts"), both)
    yield from (running, claims, ends, lag, acquired, waited, timeouts)


def _inner(figures: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = figures.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(figures: Mapping[str, Any], group: str, name: str) -> float:
    """A worker of another version, or SQL, may have written something else."""
    value = _inner(figures, group).get(name)
    return float(value) if isinstance(value, int | float) else 0.0
