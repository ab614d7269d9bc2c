"""The peer: a Celery app whose tasks do next to nothing. `celery -A bench.peers.bare worker`."""

from __future__ import annotations

import asyncio
import os
import time

import redis
from asgiref.sync import async_to_sync
from celery import Celery

app = Celery("bare", broker=os.environ["BENCH_BROKER_URL"])
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
_broker = redis.Redis.from_url(os.environ["BENCH_BROKER_URL"])


@app.task(name="bare.nothing")
def nothing() -> None:
    return None


@app.task(name="bare.waits")
def waits(seconds: float) -> None:
    """An async function in a Celery task, as one calls it there: a loop for each call."""
    async_to_sync(asyncio.sleep)(seconds)


@app.task(name="bare.starts")
def starts(label: str) -> None:
    """Remembers when it has started."""
    _broker.rpush("starts", f"{label} {time.time():.6f}")
