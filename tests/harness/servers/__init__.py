"""Private real servers for tests. Services that already run on the machine are left alone."""

from tests.harness.servers.base import Server, ServerUnavailableError
from tests.harness.servers.mariadb import MariaDB
from tests.harness.servers.pool import ServerPool
from tests.harness.servers.postgres import Postgres
from tests.harness.servers.rabbitmq import RabbitMQ
from tests.harness.servers.redis import Redis

__all__ = [
    "MariaDB",
    "Postgres",
    "RabbitMQ",
    "Redis",
    "Server",
    "ServerPool",
    "ServerUnavailableError",
]
