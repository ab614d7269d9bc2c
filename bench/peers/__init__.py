"""Others who do the same work: Celery bare, with django-celery-results, RedBeat and so on.

Each runs as a process of its own, with the interpreter that runs the bench. A peer that is not
installed (requirements-dev.txt) makes a row without a peer, not a failed bench.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import redis

from bench.processes import cpu_seconds, plain_process, run_python, until
from tests.harness.servers import Postgres, Redis
from tests.harness.servers.pool import start_server

LIMIT_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast runs ended, and what each of them cost."""

    per_second: float
    milliseconds_of_cpu: float


def median_rate(rates: Iterable[Rate | None]) -> Rate | None:
    """Of those that are there, each figure by itself."""
    there = [rate for rate in rates if rate is not None]
    if not there:
        return None
    return Rate(
        per_second=statistics.median(rate.per_second for rate in there),
        milliseconds_of_cpu=statistics.median(rate.milliseconds_of_cpu for rate in there),
    )


@dataclass(frozen=True, kw_only=True)
class Peer:
    """`app`: what `celery -A` names. `task`: of that app. `package`: what must be installed."""

    name: str
    app: str
    task: str
    package: str = "celery"

    @property
    def is_installed(self) -> bool:
        return find_spec(self.package) is not None

    @property
    def label(self) -> str:
        return self.name if self.is_installed else f"{self.name}: peer not installed"


BARE = Peer(name="Celery's bare no-op, prefork -c 2", app="bench.peers.bare", task="nothing")
RESULTS = Peer(
    name="Celery with django-celery-results, prefork -c 2",
    app="bench.peers.results",
    task="nothing",
    package="django_celery_results",
)
ASGIREF = Peer(name="Celery with async_to_sync, threads", app="bench.peers.bare", task="waits")
REDBEAT = Peer(name="RedBeat", app="bench.peers.redbeat_app", task="starts", package="redbeat")
DJANGO_BEAT = Peer(
    name="django-celery-beat",
    app="bench.peers.django_beat",
    task="nothing",
    package="django_celery_beat",
)


class Place:
    """A private Redis, perhaps a private PostgreSQL, and the processes of one peer."""

    def __init__(self, url: str, database_url: str) -> None:
        self.environment = {"BENCH_BROKER_URL": url, "BENCH_DATABASE_URL": database_url}
        self.broker = redis.Redis.from_url(url)

    def run(self, *arguments: str) -> None:
        """A Python program to its end."""
        run_python(arguments, self.environment)

    def send(self, peer: Peer, runs: int, *arguments: object) -> None:
        self.run(
            "-c",
            f"from {peer.app} import {peer.task} as task\n"
            f"for _ in range({runs}): task.apply_async({list(arguments)!r}, retry=False)",
        )

    @contextmanager
    def celery(self, peer: Peer, command: str, *arguments: str) -> Iterator[int]:
        """`celery -A APP worker|beat`: yields its process id."""
        line = ["-m", "celery", "-A", peer.app, command, "--loglevel=ERROR", *arguments]
        with plain_process(line, self.environment) as process:
            yield process.pid

    def left(self) -> int:
        """Messages that wait or are not acknowledged yet."""
        waiting, unacknowledged = self.broker.llen("celery"), self.broker.hlen("unacked")
        assert isinstance(waiting, int)
        assert isinstance(unacknowledged, int)
        return waiting + unacknowledged

    def starts(self) -> list[tuple[str, float]]:
        """What the task `starts` has remembered: (label, seconds since 1970), in order."""
        lines = self.broker.lrange("starts", 0, -1)
        assert isinstance(lines, list)
        words = [line.decode().split() for line in lines if isinstance(line, bytes)]
        return [(label, float(at)) for label, at in words]


@contextmanager
def place(*, database: bool = False) -> Iterator[Place]:
    servers: list[Redis | Postgres] = []
    try:
        broker = start_server(Redis)
        servers.append(broker)
        database_url = ""
        if database:
            server = start_server(Postgres)
            servers.append(server)
            database_url = server.create_database("peer")
        yield Place(broker.create_database(), database_url)
    finally:
        for started in reversed(servers):
            started.close()


def rate_of(
    peer: Peer, runs: int, *arguments: object, worker: Sequence[str], database: bool = False
) -> Rate | None:
    """Messages are there before the worker starts. From the first that leaves to the last acked."""
    if not peer.is_installed:
        return None
    with place(database=database) as here:
        if database:
            here.run("-m", peer.app)
        here.send(peer, runs, *arguments)
        with here.celery(peer, "worker", *worker) as pid:
            until(lambda: here.left() < runs, 60, "the peer's first task")
            begun, before, first = time.monotonic(), cpu_seconds(pid), here.left()
            until(lambda: here.left() == 0, LIMIT_SECONDS, "the peer's last task")
            seconds = time.monotonic() - begun
            cpu = cpu_seconds(pid) - before
    return Rate(per_second=first / seconds, milliseconds_of_cpu=1000 * cpu / max(first, 1))


PREFORK = ("--pool=prefork", "--concurrency=2")
THREADS = ("--pool=threads", "--concurrency=500")
