"""The common base of the private servers of the tests: how to find, start and end them."""

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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from tests.harness.servers.daemon import Daemon, credentials
from tests.harness.servers.guardian import guardian
from tests.harness.servers.made_once import made_once
from tests.harness.waiting import wait_until


class ServerUnavailableError(Exception):
    """A server that a test needs is not installed, and the environment names none."""


class Server(ABC):
    """A real server on a free loopback port, with its data in a temporary directory.

    If the environment sets `url_variable`, the server that it names: tests use such a server, but
    never start, kill or freeze it.
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
        """Returns the URL of the server for its superuser."""

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
        """Starts the server: first with new data, later with its old data. Waits for an answer."""
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
        """Shuts the server down in order."""
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
        """Sends SIGKILL to the server and its children, as in a crash. `start()` restarts it."""
        self._private().kill()
        self._daemon = None

    def freeze(self) -> None:
        """Stops the server's answers but keeps its sockets open, as on a host that hangs."""
        self._private().freeze()
        self._is_frozen = True

    def thaw(self) -> None:
        if self._is_frozen:
            self._private().thaw()
            self._is_frozen = False

    def heal(self) -> None:
        """Makes the server run again after a test that froze or killed it."""
        if self.external_url is None:
            self.thaw()
            self.start()

    def close(self) -> None:
        """Ends the server. No process and no file remains."""
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
        """Raises ServerUnavailableError, with what to install, if this machine cannot run it."""

    def user(self) -> str | None:
        """Returns the user who runs the server if we are root; None for root."""
        return None

    @property
    def environment(self) -> dict[str, str]:
        """Returns the environment of the server and its tools."""
        return dict(os.environ)

    def prepare(self) -> None:  # noqa: B027  most servers need none
        """Makes the data directory before the first start."""

    @abstractmethod
    def launch(self) -> Daemon:
        """Starts the process."""

    @abstractmethod
    def ping(self) -> None:
        """Returns if the server answers a client. Otherwise the client's exception is raised."""

    def drop_everything(self) -> None:  # noqa: B027  brokers have nothing to remove
        """Removes what this run has created on a server of the environment."""

    # --- helpers ----------------------------------------------------------------------------------

    def run(self, command: Sequence[str], *, timeout: float = 60) -> str:
        """Runs a tool of the server as the server's user. Raises with its output if it fails."""
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

    def fill_once(self, data: Path, initialise: Callable[[], object]) -> None:
        """Makes the data directory by `initialise`, or copies what that made for another server."""

        def make(path: Path) -> None:
            initialise()
            _copy(data, path)

        made = made_once(f"data of {type(self).__name__}", make)
        if not data.exists():
            _copy(made, data)

    def require(self, program: str, places: Iterable[Path] = ()) -> str:
        """Returns the path of a program. Raises ServerUnavailableError with what to install."""
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
        except Exception:  # noqa: BLE001  each client has its own exception for "not yet"
            return False
        return True


def _copy(source: Path, target: Path) -> None:
    """With owners and modes, on which the servers insist."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def find_program(program: str, places: Iterable[Path] = ()) -> str | None:
    """Returns the path of a program, or None.

    Looks in `places`, on PATH and in /usr/sbin, which is not on every user's PATH.
    """
    path = os.pathsep.join(
        [*map(str, places), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    )
    return shutil.which(program, path=path)


def free_port() -> int:
    """Returns a loopback port on which no process listens.

    It is below the range that the kernel uses for outgoing connections, so that no process gets the
    port while its server is down between a kill and a restart.
    """
    dice = random.SystemRandom()
    while True:
        port = dice.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def private_directory(prefix: str, user: str | None) -> Path:
    """Returns a new temporary directory that `user` owns. It is removed however the run ends."""
    arguments = credentials(user)
    # The user that runs the server could not reach a TMPDIR inside root's home.
    parent = "/tmp" if arguments and not _all_may_enter(Path(tempfile.gettempdir())) else None
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    guardian.add_directory(directory)
    if user is not None and arguments:
        shutil.chown(directory, user)
    return directory


def unique_name(name: str) -> str:
    """Returns `name` with a random suffix, so that two runs on one server never share it."""
    return f"{name}_{secrets.token_hex(4)}"


def _all_may_enter(directory: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in [directory, *directory.parents])
