"""One real process of a test, with whatever it forks: started, killed, frozen, its log kept."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.harness.servers.guardian import birth, guardian, kill_tree


class Daemon:
    """A running process in a session of its own. `log_path` collects its output over restarts."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.command = list(command)
        self.log_path = log_path
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=directory,
                start_new_session=True,
                **credentials(user),
            )
        born = birth(self._process.pid)
        assert born is not None  # at worst a zombie: nobody but us reaps it
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
        """SIGKILL to it and to all that it started. Returns when they are gone."""
        kill_tree(self.pid, self._born)
        self._process.wait()
        guardian.forget_process(self.pid)

    def send(self, number: signal.Signals) -> None:
        """A signal to the process itself, as a supervisor sends it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def freeze(self) -> None:
        """SIGSTOP to it and to all that it started: alive for the kernel, deaf for the rest."""
        self._signal_tree(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_tree(signal.SIGCONT)

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def _signal_tree(self, number: signal.Signals) -> None:
        # The parent first: once stopped, it starts no child that would be missed.
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            process.send_signal(number)
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(number)


def credentials(user: str | None) -> dict[str, Any]:
    """Arguments for subprocess that turn root into `user`; none when we are not root."""
    if user is None or os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
