"""A private PostgreSQL."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.harness.servers.base import Server, unique_name
from tests.harness.servers.daemon import Daemon


class Postgres(Server):
    name = "PostgreSQL"
    url_variable = "TEST_POSTGRES_URL"
    debian_packages = "postgresql"
    stop_signal = (
        signal.SIGINT
    )  # "fast" shutdown: it ends the sessions, whereas SIGTERM waits for them

    def __init__(self) -> None:
        self._databases: list[str] = []
        super().__init__()

    @property
    def url(self) -> str:
        # The server trusts loopback. The URL has a password because URLs of users have one.
        return self.external_url or f"postgresql://jobu:jobu@127.0.0.1:{self.port}/postgres"

    def create_database(self, name: str) -> str:
        """Returns the URL of a new, empty database. Its real name has a random suffix."""
        unique = unique_name(name)
        self._execute(sql.SQL("create database {}").format(sql.Identifier(unique)))
        self._databases.append(unique)
        return urlsplit(self.url)._replace(path=f"/{unique}").geturl()

    def drop_database(self, url: str) -> None:
        """Drops the database even if a client is still connected."""
        name = urlsplit(url).path.lstrip("/")
        self._execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )
        self._databases.remove(name)

    def drop_everything(self) -> None:
        for name in list(self._databases):
            self.drop_database(f"//server/{name}")

    def check_installed(self) -> None:
        self._postgres = self.require("postgres", _debian_places())
        self._initdb = self.require("initdb", _debian_places())

    def user(self) -> str | None:
        return "nobody"  # PostgreSQL refuses to run as root

    def prepare(self) -> None:
        self.fill_once(self._data, self._initialise)

    def _initialise(self) -> None:
        self.run(
            [
                self._initdb,
                f"--pgdata={self._data}",
                "--username=jobu",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]
        )

    def launch(self) -> Daemon:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "max_connections": "200",
            # A test never cuts the power: what the kernel has is safe. synchronous_commit stays on,
            # because a SIGKILL of the server must not lose a commit.
            "fsync": "off",
            "full_page_writes": "off",
            "timezone": "UTC",
        }
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        return Daemon(
            [self._postgres, "-D", str(self._data), "-p", str(self.port), *settings],
            log_path=self.directory / "log",
            directory=self.directory,
            user=self.user(),
        )

    def ping(self) -> None:
        psycopg.connect(self.url, connect_timeout=2).close()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, connect_timeout=5, autocommit=True) as connection:
            connection.execute(statement)


def _debian_places() -> list[Path]:
    """Returns Debian's directories with the programs of each version, the newest first."""
    places = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(places, key=lambda place: float(place.parent.name), reverse=True)
