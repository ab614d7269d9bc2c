"""Private real servers for tests. Services that already run on the machine are left alone."""

from tests.servers.base import Server, ServerUnavailableError
from tests.servers.mariadb import MariaDB
from tests.servers.pool import ServerPool
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.redis import Redis

__all__ = [
    "MariaDB",
    "Postgres",
    "RabbitMQ",
    "Redis",
    "Server",
    "ServerPool",
    "ServerUnavailableError",
]
