"""/health and /ready of a real web process whose servers stop, freeze and come back."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event, Thread

import pytest

from tests.api.web import Web, web_of
from tests.conftest import SystemFactory
from tests.harness.servers import Postgres, Redis
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.processes

SECONDS = 5.0


@pytest.fixture
def web(system: SystemFactory, postgres_server: Postgres, redis_server: Redis) -> Iterator[Web]:
    url = postgres_server.create_database("ready")
    with web_of(system(database_url=url, broker_url=redis_server.create_database())) as web:
        yield web
    postgres_server.heal()
    redis_server.heal()
    postgres_server.drop_database(url)


@contextmanager
def crowd_at(web: Web) -> Iterator[None]:
    """Starts more callers than the web process has threads. All of them need the database."""
    stop = Event()

    def call() -> None:
        while not stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=2)
            with closing(connection), suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/api/me", headers={"Authorization": "Bearer x"})
                connection.getresponse().read()

    callers = [Thread(target=call) for _ in range(20)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def test_readiness_follows_each_server_within_five_seconds_and_health_stays_quick(
    web: Web, postgres_server: Postgres, redis_server: Redis
):
    def becomes(status: int, failed: list[str]) -> None:
        def now() -> bool:
            found, body, _ = web.get("/ready")
            return (found, body and body["failed"]) == (status, failed)

        wait_until(now, SECONDS, f"{status} {failed}", details=web.daemon.log_tail)

    def health(*states: str) -> None:
        status, body, seconds = web.get("/health")
        assert status == 200
        assert body["database"] in states
        assert seconds < 1.5

    becomes(200, [])

    redis_server.freeze()
    becomes(503, ["broker"])
    postgres_server.freeze()
    becomes(503, ["broker", "database"])
    health("busy")
    with crowd_at(web):
        wait_until(
            lambda: web.daemon.log().count("/api/me 503") > 10,
            10,
            "refusals while the database hangs",
            details=web.daemon.log_tail,
        )
        health("busy")
    redis_server.thaw()
    postgres_server.thaw()
    becomes(200, [])

    postgres_server.kill()
    becomes(503, ["database"])
    health("disconnected")
    redis_server.kill()
    becomes(503, ["broker", "database"])
    postgres_server.start()
    redis_server.start()
    becomes(200, [])
    health("connected")
