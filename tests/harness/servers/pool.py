"""The servers of one test run: each kind started at most once, when the first test needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, wait
from typing import TypeVar, cast

from tests.harness.servers.base import Server

Kind = TypeVar("Kind", bound=Server)


class ServerPool:
    def __init__(self) -> None:
        self._servers: dict[type[Server], Future[Server]] = {}

    def start(self, kinds: Iterable[type[Server]]) -> None:
        """Begins to start the servers in parallel and does not wait."""
        for kind in kinds:
            if kind not in self._servers:
                future: Future[Server] = Future()
                self._servers[kind] = future
                # Not an executor: its idle threads would remain and endanger tests that fork.
                threading.Thread(target=_start_into, args=(future, kind), name=kind.name).start()

    def get(self, kind: type[Kind]) -> Kind:
        """Returns the running server. Raises ServerUnavailableError if this machine has none."""
        self.start([kind])
        return cast(Kind, self._servers[kind].result())

    def heal(self) -> None:
        """Repairs servers that a test has killed or frozen, so that the next test can use them."""
        for server in self._started():
            server.heal()

    def close(self) -> None:
        wait(self._servers.values())
        for server in self._started():
            server.close()

    def _started(self) -> list[Server]:
        done = [future for future in self._servers.values() if future.done()]
        return [future.result() for future in done if future.exception() is None]


def start_server(kind: type[Kind]) -> Kind:
    """Returns a new running server. If it cannot start, removes what it has left."""
    server = kind()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


def _start_into(future: Future[Server], kind: type[Server]) -> None:
    try:
        future.set_result(start_server(kind))
    except BaseException as error:  # noqa: BLE001  raised again in each test that needs the server
        future.set_exception(error)
