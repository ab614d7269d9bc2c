"""Async handlers that wait, in one threads worker: runs a second, and waits in flight at once."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.asking import asking
from bench.environment import real_jobu
from bench.peers import ASGIREF, THREADS, Rate, median_rate, rate_of
from bench.rows import Goal, Row
from bench.worker.runs import CONFIG, insert, last_end, rate_of_all
from tests.harness.system import deep_merge

CONCURRENCY = 500
WAIT_SECONDS = 0.05
IN_FLIGHT = 5000
IN_FLIGHT_SECONDS = 30.0
_WIDE = deep_merge(CONFIG, {"worker": {"pool_size": IN_FLIGHT, "shutdown_timeout_seconds": 1}})

# What a browser sends: the action, its answer, and then one request after the other for its parts.
_CANCEL_ALL = """
import re, time
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
user = get_user_model().objects.create_superuser("bench")
client = Client(headers={"host": "localhost"})
client.force_login(user)
runs = reverse("admin:scheduler_jobexecution_changelist")
chosen = {"action": "cancel_many", "select_across": "1", "_selected_action": "1"}
question = client.post(runs, chosen).content.decode()
named = dict(re.findall(r'name="(through|question)" value="([^"]*)"', question))
begun = time.time()
page = client.post(runs, {**chosen, **named, "confirmed": "yes", "reason": ""}).headers["location"]
while b"data-bulk-over" not in client.post(page, headers={"x-bulk": "1"}).content:
    pass
print(begun)
"""


def rows(database: str, runs: int, rounds: int) -> Iterator[Row]:
    ours: list[Rate] = []
    peers: list[Rate | None] = []
    for _ in range(rounds):
        ours.append(_rate(database, runs))
        peers.append(rate_of(ASGIREF, runs // 2, WAIT_SECONDS, worker=THREADS))
    rate, peer = median_rate(ours), median_rate(peers)
    assert rate is not None
    yield Row(
        row="async handlers of 50 ms, one process",
        database=database,
        unit="runs a second",
        ours=rate.per_second,
        peer=peer.per_second if peer else None,
        peer_name=ASGIREF.label,
        goal=Goal(at_least=2000, times_the_peer=10, one_is_enough=True),
        more={"ours_cpu_ms": round(rate.milliseconds_of_cpu, 3)},
    )


def in_flight(database: str) -> Iterator[Row]:
    """How many runs of a minute one process holds at once, 30 s after it has begun the first.

    And how long it takes until they have ended which a person cancels by the action of their list.
    """
    with real_jobu(database, _WIDE) as jobu, asking(jobu.database_url) as ask:
        insert(ask, IN_FLIGHT, "bench_waits", {"seconds": 60})
        jobu.start_beat()
        jobu.start_worker(pool="threads", concurrency=IN_FLIGHT)
        most, begun, filled = 0, None, None
        end = time.monotonic() + 30 + IN_FLIGHT_SECONDS
        while time.monotonic() < end and filled is None:
            most = max(most, ask.count("status = 'RUNNING'"))
            now = time.monotonic()
            if most and begun is None:
                begun, end = now, now + IN_FLIGHT_SECONDS
            if most >= IN_FLIGHT and begun is not None:
                filled = now - begun
            time.sleep(0.1)
        begun_at = float(jobu.manage("shell", "--no-imports", "-c", _CANCEL_ALL).split()[-1])
        jobu.wait_until(lambda: not ask.count("status = 'RUNNING'"), 60, "the cancelled runs")
        seconds = last_end(ask) - begun_at
        cancelled = ask.count("status = 'CANCELLED'")
    yield Row(
        row="long waits in flight in one process",
        database=database,
        unit="runs at once",
        ours=most,
        goal=Goal(at_least=IN_FLIGHT),
        more={"seconds_until_then": filled and round(filled, 1)},
    )
    yield Row(
        row=f"{IN_FLIGHT:,} running waits cancelled by one action in the admin, until all ended",
        database=database,
        unit="s",
        ours=seconds,
        goal=Goal(at_most=5),
        less_is_better=True,
        more={"cancelled": cancelled},
    )


def _rate(database: str, runs: int) -> Rate:
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        insert(ask, runs, "bench_waits")
        jobu.start_beat()
        worker = jobu.start_worker(pool="threads", concurrency=CONCURRENCY)
        return rate_of_all(jobu, ask, worker.pid, runs)
