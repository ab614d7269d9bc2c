"""A broker that is there and says nothing delays no slot."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import redis

from tests.harness.process_helpers import HANDLERS, SHORT, insert_job, slots_recorded
from tests.harness.servers import RabbitMQ, Redis
from tests.harness.system import System

pytestmark = [pytest.mark.processes]

LATEST_SECONDS = 1.5


@contextmanager
def listening(backlog: int) -> Iterator[tuple[socket.socket, str]]:
    """A port that nobody serves: the kernel accepts `backlog` + 1 connections."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        yield server, f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@contextmanager
def mute() -> Iterator[str]:
    """Connections are accepted, and nothing is ever answered."""
    with listening(100) as (_, url):
        yield url


@contextmanager
def dropping() -> Iterator[str]:
    """No connection is accepted: SYNs are dropped, as by a firewall."""
    with listening(0) as (server, url), ExitStack() as clients:
        for _ in range(3):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield url


def delays(jobu: System) -> list[float]:
    """The seconds from each slot to its row."""
    rows = jobu.sql("SELECT scheduled_time, created_at FROM job_executions")
    parse = datetime.fromisoformat
    return [
        (parse(row["created_at"]) - parse(row["scheduled_time"])).total_seconds() for row in rows
    ]


@pytest.mark.timeout(180)
def test_no_slot_is_late_while_a_broker_is_silent(
    system: Callable[..., System], redis_server: Redis, rabbitmq_server: RabbitMQ, tmp_path: Path
):
    with mute() as mute_url, dropping() as dropping_url:
        urls = {
            "accepts and is mute": mute_url,
            "drops SYNs": dropping_url,
            "frozen Redis": redis_server.create_database(),
            "frozen RabbitMQ": rabbitmq_server.create_vhost("mute"),
        }
        made: dict[str, System] = {}
        for name, url in urls.items():
            made[name] = system(
                database_url=f"sqlite:///{tmp_path}/{name}.sqlite3",
                broker_url=url,
                config=SHORT,
                handler_paths=(HANDLERS,),
                environment={"DJANGO_SETTINGS_MODULE": "tests.harness.static_entries"},
            )
            made[name].migrate()
            insert_job(made[name], "every second")
        beats = {name: jobu.start_beat() for name, jobu in made.items()}
        for name, jobu in made.items():
            jobu.wait_until(lambda jobu=jobu: slots_recorded(jobu) >= 2, 60, f"slots: {name}")  # type: ignore[misc]
        redis_server.freeze()
        rabbitmq_server.freeze()
        try:
            for name, jobu in made.items():
                wanted = slots_recorded(jobu) + 12
                jobu.wait_until(
                    lambda jobu=jobu, wanted=wanted: slots_recorded(jobu) >= wanted,  # type: ignore[misc]
                    30,
                    f"slots: {name}",
                )
            found = {name: max(delays(jobu)) for name, jobu in made.items()}
            assert max(found.values()) < LATEST_SECONDS, found
            for name, beat in beats.items():
                assert beat.log().count("the broker takes no messages") == 1, name
        finally:
            redis_server.heal()
            rabbitmq_server.heal()
        # Both brokers answer again: jobs and the static entry are sent.
        for name in ("frozen Redis", "frozen RabbitMQ"):
            beats[name].wait_for_log("the broker takes messages again", 40)
        with redis.Redis.from_url(urls["frozen Redis"], socket_timeout=5) as client:
            client.delete("celery")
            made["frozen Redis"].wait_until(
                lambda: any(b"shop.static" in each for each in client.lrange("celery", 0, -1)),
                20,
                "the static entry",
            )
        for beat in beats.values():
            beat.terminate()
        assert [beat.wait(10) for beat in beats.values()] == [0] * 4
