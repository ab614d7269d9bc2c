"""What a tick of beat costs with many jobs: when no job is due, and when many are due at once.

Runs one dispatcher in this process, on a private database and a private Redis. Prints one line of
JSON: `idle_tick_ms` (median of 50 ticks with no job due), `record_seconds` (until all rows are
committed), `publish_seconds` (from then until the last message is in Redis), and the memory and CPU
time of this process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bench.environment import DATABASES, private_jobu

IDLE_TICKS = 50
INSERT_BATCH = 2000
GIVE_UP_SECONDS = 300


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench tick", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="sqlite")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--due", type=int, default=1000)
    options = parser.parse_args(argv)
    if not 0 < options.due <= options.jobs:
        parser.error("--due must be between 1 and --jobs")
    with private_jobu(options.database):
        figures = measure(options.jobs, options.due)
    print(json.dumps({"bench": "tick", "database": options.database, **figures}))
    return 0


def measure(jobs: int, due: int) -> dict[str, Any]:
    from celery import current_app

    from scheduler.beat.dispatcher import Dispatcher
    from scheduler.beat.publisher import CeleryPublisher
    from scheduler.clock import DatabaseClock
    from scheduler.models import CronJob, JobExecution
    from scheduler.store.connection import database_now

    clock = DatabaseClock(database_now, max_age_seconds=0)
    publisher = _Timed(CeleryPublisher(current_app._get_current_object(), clock))
    dispatcher = Dispatcher(clock=clock, publisher=publisher)
    _insert_jobs(jobs, next_run_at=clock.now() + timedelta(days=1))
    dispatcher.tick()  # connects and fills the caches
    idle = [_seconds(dispatcher.tick) for _ in range(IDLE_TICKS)]

    slot = clock.now().replace(microsecond=0)
    ids = CronJob.objects.order_by("id").values_list("id", flat=True)[:due]
    at_that_second = f"{slot.second} {slot.minute} {slot.hour} * * *"
    CronJob.objects.filter(id__lte=max(ids)).update(
        next_run_at=slot, cron_expression=at_that_second, timezone="UTC"
    )
    cpu_before = _cpu_seconds()
    started = time.perf_counter()
    while publisher.sent < due:
        dispatcher.tick()
        if time.perf_counter() - started > GIVE_UP_SECONDS:
            raise RuntimeError(f"{publisher.sent} of {due} published in {GIVE_UP_SECONDS} s")
    total = time.perf_counter() - started
    recorded = JobExecution.objects.count()
    return {
        "jobs": jobs,
        "due": due,
        "idle_tick_ms": round(statistics.median(idle) * 1000, 3),
        "idle_tick_max_ms": round(max(idle) * 1000, 3),
        "record_seconds": round(publisher.first_called - started, 3),
        "publish_seconds": round(started + total - publisher.first_called, 3),
        "total_seconds": round(total, 3),
        "rows": recorded,
        "published": publisher.sent,
        "published_per_second": round(publisher.sent / total),
        "cpu_seconds": round(_cpu_seconds() - cpu_before, 3),
        "max_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "cores": os.cpu_count(),
    }


class _Timed:
    """A publisher that remembers when it was first called and how many messages it sent."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self.sent = 0
        self.first_called = 0.0

    def ready(self) -> bool:
        return bool(self._publisher.ready())

    def take_back(self) -> list[int]:
        return []

    def publish(self, hints: Sequence[Any]) -> list[int]:
        self.first_called = self.first_called or time.perf_counter()
        refused: list[int] = self._publisher.publish(hints)
        self.sent += len(hints) - len(refused)
        return refused


def _insert_jobs(count: int, *, next_run_at: datetime) -> None:
    """Inserts daily jobs by plain SQL: 100,000 model instances would take longer than the rest."""
    from scheduler.store.connection import execute

    for start in range(0, count, INSERT_BATCH):
        numbers = range(start, min(start + INSERT_BATCH, count))
        rows = ", ".join(["(%s, %s, 'sample', %s)"] * len(numbers))
        values: list[Any] = []
        for number in numbers:
            values += [f"job {number}", f"{number % 60} {number // 60 % 24} * * *", next_run_at]
        execute(
            "INSERT INTO cron_jobs (name, cron_expression, handler_name, next_run_at) VALUES "
            + rows,
            values,
        )


def _seconds(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
