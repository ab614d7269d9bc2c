"""The peer RedBeat: `celery -A bench.peers.redbeat_app beat -S redbeat.RedBeatScheduler`.

Run as a program it fills Redis: `python -m bench.peers.redbeat_app NAME COUNT EVERY FIRST`
saves an entry by RedBeat's own means and copies what it has written, because saving each of 100,000
takes minutes.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta

import redis
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry
from redbeat.decoder import RedBeatJSONEncoder

from bench.peers.bare import app, starts

app.conf.redbeat_redis_url = os.environ["BENCH_BROKER_URL"]
app.conf.redbeat_lock_key = None
app.conf.timezone = "UTC"
_PART = 5000


def fill(name: str, count: int, every_seconds: float, first: float) -> None:
    """Adds `count` entries that are due at `first` (seconds since 1970) and then regularly."""
    broker = redis.Redis.from_url(os.environ["BENCH_BROKER_URL"])
    entry = RedBeatSchedulerEntry(name, starts.name, schedule(every_seconds), args=[name], app=app)
    entry.last_run_at = datetime.fromtimestamp(first, UTC) - timedelta(seconds=every_seconds)
    entry.save()
    ordered = app.redbeat_conf.schedule_key
    definition = json.loads(_text(broker.hget(entry.key, "definition")))
    meta = json.dumps({"last_run_at": entry.last_run_at}, cls=RedBeatJSONEncoder)
    broker.hset(entry.key, "meta", meta)
    score = broker.zscore(ordered, entry.key)
    assert isinstance(score, float)
    for start in range(1, count, _PART):
        with broker.pipeline(transaction=False) as pipe:
            for number in range(start, min(start + _PART, count)):
                copy = definition | {"name": f"{name}-{number}", "args": [f"{name}-{number}"]}
                key = f"{entry.key}-{number}"
                pipe.hset(key, "definition", json.dumps(copy))
                pipe.hset(key, "meta", meta)
                pipe.zadd(ordered, {key: score})
            pipe.execute()


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()


if __name__ == "__main__":
    fill(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
