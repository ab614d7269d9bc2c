"""The Redis transport: a broken connection can always be closed."""

from __future__ import annotations

import pytest
from kombu.connection import Connection

from jobu_project import brokers
from jobu_project.brokers import redis as redis_broker
from jobu_project.celery import app
from tests.harness.servers import Redis


@pytest.fixture
def connection(redis_server: Redis) -> Connection:
    brokers.register()
    return Connection(redis_server.create_database())


def receive_without_acknowledging(connection: Connection) -> None:
    with connection.SimpleQueue("letters") as queue:
        queue.put("a letter")
    assert connection.default_channel.basic_get("letters") is not None


def test_broken_connection_with_an_unacknowledged_message_can_be_closed(connection: Connection):
    receive_without_acknowledging(connection)

    # Celery's consumer does this when the connection to the broker is lost.
    connection.collect()
    connection.close()

    assert not connection.connected


def test_closing_a_connection_puts_unacknowledged_messages_back(connection: Connection):
    receive_without_acknowledging(connection)
    connection.close()

    with connection.clone() as again, again.SimpleQueue("letters") as queue:
        assert queue.get(timeout=5).payload == "a letter"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_celery_app_uses_this_transport(scheme: str):
    with app.connection_for_write(f"{scheme}://127.0.0.1:1/0") as connection:
        assert connection.get_transport_cls() is redis_broker.Transport
