"""Runs the web part as a real process."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness.fork_server import the_fork_server
from tests.harness.servers.base import free_port
from tests.harness.servers.daemon import Daemon
from tests.harness.system import System
from tests.harness.waiting import wait_until


class Web:
    """Runs gunicorn with the arguments of `script/server`."""

    def __init__(self, system: System) -> None:
        self.port = free_port()
        log = system.place / "web.log"
        bind = f"--bind=127.0.0.1:{self.port}"
        process = the_fork_server().start(
            ["-m", "gunicorn", "jobu_project.wsgi", bind, "--threads=8", "--no-control-socket"],
            environment=system.environment,
            output=log,
        )
        self.daemon = Daemon.of(process, log)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, Any, float]:
        """Returns status, JSON and seconds; status 0 if nothing answers."""
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), time.monotonic() - start
        except OSError:
            return 0, None, time.monotonic() - start
        finally:
            connection.close()


@contextmanager
def web_of(system: System) -> Iterator[Web]:
    web = Web(system)
    try:
        wait_until(
            lambda: web.get("/health")[0] == 200, 30, "the web process", details=web.daemon.log_tail
        )
        yield web
    finally:
        web.daemon.kill()
