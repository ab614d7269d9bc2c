"""What the private servers of the tests have in common: where from, and how they are treated."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from tests.harness.servers.daemon import Daemon, credentials
from tests.harness.servers.guardian import guardian
from tests.harness.waiting import wait_until


class ServerUnavailableError(Exception):
    """A server that a test needs is neither named in the environment nor installed here."""


class Server(ABC):
    """A real server on a free loopback port, with its data in a temporary directory.

    Or, when `url_variable` is set in the environment, the server that it names, which is then
    used but never started, killed or frozen.
    """

    name: ClassVar[str]
    url_variable: ClassVar[str]
    debian_packages: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    start_timeout_seconds: ClassVar[float] = 30

    def __init__(self) -> None:
        self.external_url = os.environ.get(self.url_variable) or None
        self._daemon: Daemon | None = None
        self._is_frozen = False
        self._is_prepared = False
        if self.external_url is None:
            self.check_installed()
            self.directory = private_directory(f"jobu-{type(self).__name__.lower()}-", self.user())
            self.port = free_port()

    # --- what tests use ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def url(self) -> str:
        """Address of the server as its superuser sees it."""

    @property
    def is_restartable(self) -> bool:
        return self.external_url is None

    @property
    def is_running(self) -> bool:
        return self.external_url is not None or (self._daemon is not None and self._daemon.is_alive)

    @property
    def pid(self) -> int:
        return self._private().pid

    def start(self) -> None:
        """Starts it: first with fresh data, later with what it had. Returns when it answers."""
        if self.is_running:
            return
        if not self._is_prepared:
            self.prepare()
            self._is_prepared = True
        self._is_frozen = False
        self._daemon = self.launch()
        wait_until(
            self._answers,
            self.start_timeout_seconds,
            f"{self.name} on port {self.port}",
            details=self._daemon.log_tail,
        )

    def stop(self, timeout: float = 20) -> None:
        """An orderly shutdown."""
        daemon = self._private()
        self.thaw()
        daemon.send(self.stop_signal)
        try:
            daemon.wait(timeout)
        except subprocess.TimeoutExpired:
            daemon.kill()
            raise
        finally:
            self._daemon = None

    def kill(self) -> None:
        """SIGKILL to the server and all its children, as in a crash. `start()` brings it back."""
        self._private().kill()
        self._daemon = None

    def freeze(self) -> None:
        """The server stops answering but its sockets stay open, as on a host that hangs."""
        self._private().freeze()
        self._is_frozen = True

    def thaw(self) -> None:
        if self._is_frozen:
            self._private().thaw()
            self._is_frozen = False

    def heal(self) -> None:
        """Puts right what a test left behind: thawed and running."""
        if self.external_url is None:
            self.thaw()
            self.start()

    def close(self) -> None:
        """The end: no process and no file is left."""
        if self.external_url is not None:
            self.drop_everything()
            return
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon = None
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- what each kind of server says ------------------------------------------------------------

    @abstractmethod
    def check_installed(self) -> None:
        """Raises ServerUnavailableError, with what to install, when this machine cannot run it."""

    def user(self) -> str | None:
        """Who runs it when we are root; None for root."""
        return None

    @property
    def environment(self) -> dict[str, str]:
        """What the server and its tools find in their environment."""
        return dict(os.environ)

    def prepare(self) -> None:  # noqa: B027  most have nothing to do
        """Makes the data directory before the first start."""

    @abstractmethod
    def launch(self) -> Daemon:
        """Starts the process."""

    @abstractmethod
    def ping(self) -> None:
        """Returns when the server answers a client, else raises whatever the client raises."""

    def drop_everything(self) -> None:  # noqa: B027  brokers keep what they are given
        """Removes what this run made on a server that is not ours."""

    # --- helpers ----------------------------------------------------------------------------------

    def run(self, command: Sequence[str], *, timeout: float = 60) -> str:
        """Runs a tool of the server to its end, as the server's user. Raises with its output."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **credentials(self.user()),
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return str(done.stdout)

    def require(self, program: str, places: Iterable[Path] = ()) -> str:
        """Path of a program, else ServerUnavailableError with what to do about it."""
        found = find_program(program, places)
        if found is None:
            raise ServerUnavailableError(
                f"{self.name}: no {program} on this machine. Install the Debian package "
                f"{self.debian_packages} (script/test --install-servers does) or set "
                f"{self.url_variable}."
            )
        return found

    def _private(self) -> Daemon:
        if self.external_url is not None:
            pytest.skip(f"{self.name} comes from {self.url_variable}: not ours to kill or freeze")
        if self._daemon is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._daemon

    def _answers(self) -> bool:
        if self._daemon is not None and not self._daemon.is_alive:
            code, log = self._daemon.exit_code, self._daemon.log_tail()
            raise RuntimeError(f"{self.name} ended at once with {code}:\n{log}")
        try:
            self.ping()
        except Exception:  # noqa: BLE001  each client has its own way of saying "not yet"
            return False
        return True


def find_program(program: str, places: Iterable[Path] = ()) -> str | None:
    """On PATH, in /usr/sbin (which is not on everybody's PATH) or in the given places."""
    path = os.pathsep.join(
        [*map(str, places), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    )
    return shutil.which(program, path=path)


def free_port() -> int:
    """A loopback port that nobody listens on.

    Below the range from which the kernel serves outgoing connections, so that nobody is given the
    port while its server is down between a kill and a restart.
    """
    dice = random.SystemRandom()
    while True:
        port = dice.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def private_directory(prefix: str, user: str | None) -> Path:
    """A new temporary directory that `user` owns, and that is removed however the run ends."""
    arguments = credentials(user)
    # A TMPDIR inside root's own home would be out of reach for the user that the server runs as.
    parent = "/tmp" if arguments and not _all_may_enter(Path(tempfile.gettempdir())) else None
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    guardian.add_directory(directory)
    if user is not None and arguments:
        shutil.chown(directory, user)
    return directory


def unique_name(name: str) -> str:
    """`name` with a random tail: no two runs on one server can meet."""
    return f"{name}_{secrets.token_hex(4)}"


def _all_may_enter(directory: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in [directory, *directory.parents])
