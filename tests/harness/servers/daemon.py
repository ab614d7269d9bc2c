"""A real process of a test, with all processes that it forks: start, kill, freeze, read its log."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import psutil

from tests.harness.servers.guardian import birth, guardian, kill_tree


class Process(Protocol):
    """What a Daemon needs of its process. subprocess.Popen is one, a forked program another."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...


class Daemon:
    """A running process in its own session. `log_path` collects its output, also over restarts."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        user: str | None = None,
    ) -> None:
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=directory,
                start_new_session=True,
                **credentials(user),
            )
        self._watch(process, log_path)

    @classmethod
    def of(cls, process: Process, log_path: Path) -> Self:
        """Returns the Daemon of a process that was started elsewhere, in its own session."""
        daemon = cls.__new__(cls)
        daemon._watch(process, log_path)
        return daemon

    def _watch(self, process: Process, log_path: Path) -> None:
        self.log_path = log_path
        self._process = process
        born = birth(self._process.pid)
        assert born is not None  # the process exists, at least as a zombie: only we reap it
        self._born = born
        guardian.add_process(self._process.pid, born)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """Sends SIGKILL to the process and all its descendants. Returns when they have ended."""
        kill_tree(self.pid, self._born)
        self._process.wait()
        guardian.forget_process(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process itself, as a supervisor does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Returns the exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def freeze(self) -> None:
        """Sends SIGSTOP to the process and all its descendants: they live and do not answer."""
        self._signal_tree(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_tree(signal.SIGCONT)

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def _signal_tree(self, number: signal.Signals) -> None:
        # The parent first: after that it starts no child that this loop would miss.
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            process.send_signal(number)
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(number)


def credentials(user: str | None) -> dict[str, Any]:
    """Returns arguments for subprocess that change root to `user`; none if we are not root."""
    if user is None or os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
