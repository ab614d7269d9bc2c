"""The peer: a Celery app whose task does nothing. `celery -A bench.worker.bare worker`."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ["BENCH_BROKER_URL"])
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@app.task(name="bare.nothing")
def nothing() -> None:
    return None
