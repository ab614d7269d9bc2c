"""A private database and broker for one measurement, and Django configured to use them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.harness.servers import MariaDB, Postgres, Redis, Server
from tests.harness.servers.pool import start_server
from tests.harness.system import System


class RoomyMariaDB(MariaDB):
    """With the memory that docker/compose.yaml gives it; the tests start it with a quarter.

    What is not in it is read from the disk each time: MariaDB does not let the kernel keep it, as
    PostgreSQL and SQLite do.
    """

    more_options = ("--innodb-buffer-pool-size=256M",)


DATABASES: dict[str, type[Postgres] | type[MariaDB] | None] = {
    "sqlite": None,
    "postgres": Postgres,
    "mysql": RoomyMariaDB,
}


@contextmanager
def private_jobu(database: str) -> Iterator[Path]:
    """Sets up Django on an empty, migrated database of that kind, with a private Redis as broker.

    Yields the data directory. Call it once per process: Django has one set of settings. The servers
    end with the block. Servers that TEST_POSTGRES_URL and the like name are used as they are.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="jobu-bench-"))
    servers: list[Server] = []
    try:
        broker = start_server(Redis)
        servers.append(broker)
        url = f"sqlite:///{data_dir}/jobu.sqlite3"
        kind = DATABASES[database]
        if kind is not None:
            server = start_server(kind)
            servers.append(server)
            url = server.create_database("jobu")
        for name in [name for name in os.environ if name.startswith("JOBU_")]:
            del os.environ[name]
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "jobu_project.settings",
            "JOBU_DATABASE_URL": url,
            "JOBU_BROKER_URL": broker.create_database(),
            "JOBU_DATA_DIR": str(data_dir),
            "JOBU_LOG_LEVEL": "WARNING",
        }
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        yield data_dir
    finally:
        for started in reversed(servers):
            started.close()
        shutil.rmtree(data_dir, ignore_errors=True)


@contextmanager
def real_jobu(database: str, config: Mapping[str, Mapping[str, Any]]) -> Iterator[System]:
    """Yields a migrated jobu on a private database of that kind and a private Redis.

    `config` overrides the project's settings. Servers and processes end with the block.
    """
    # The directory's name is part of the workers' names: it must be short and unique.
    place = Path(tempfile.mkdtemp(prefix="jobu-"))
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, place, ignore_errors=True)
        broker = start_server(Redis)
        ending.callback(broker.close)
        url = f"sqlite:///{place}/jobu.sqlite3"
        kind = DATABASES[database]
        if kind is not None:
            server = start_server(kind)
            ending.callback(server.close)
            url = server.create_database("jobu")
        jobu = System(url, broker.create_database(), place, config=config)
        ending.callback(jobu.close)
        jobu.migrate()
        yield jobu
