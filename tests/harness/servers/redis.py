"""A private Redis or Valkey. It stores nothing on disk: after a kill it starts empty."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis

from tests.harness.servers.base import Server, find_program
from tests.harness.servers.daemon import Daemon

DATABASES = 16


class Redis(Server):
    name = "Redis"
    url_variable = "TEST_REDIS_URL"
    debian_packages = "redis-server"

    def __init__(self) -> None:
        self._last_database = 0
        super().__init__()

    @property
    def url(self) -> str:
        return self.external_url or f"redis://127.0.0.1:{self.port}/0"

    def create_database(self) -> str:
        """Returns the URL of an emptied database, 1 to 15 in turn. 0 is for users of `url`."""
        self._last_database = self._last_database % (DATABASES - 1) + 1
        url = urlsplit(self.url)._replace(path=f"/{self._last_database}").geturl()
        with redis.Redis.from_url(url, socket_timeout=5) as client:
            client.flushdb()
        return url

    def check_installed(self) -> None:
        self._server = find_program("redis-server") or find_program("valkey-server")
        if self._server is None:
            self.require("redis-server")

    def launch(self) -> Daemon:
        assert self._server is not None
        return Daemon(
            [
                self._server,
                f"--port {self.port}",
                "--bind 127.0.0.1",
                f"--dir {self.directory}",
                f"--databases {DATABASES}",
                "--save ''",
                "--appendonly no",
            ],
            log_path=self.directory / "log",
            directory=self.directory,
        )

    def ping(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            client.ping()
