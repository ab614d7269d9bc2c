"""Ends what a test run started, even when the run itself is killed.

The run holds a pipe to one small process of its own. When the run ends, however it ends, the pipe
closes; the guardian then kills every process that is still on its list and removes every directory.
A parent death signal is not enough: it depends on the thread that started the child, not on the
process, and the child loses it when it changes its user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

# Linux computes the start time of a process from the boot time, which changes with the clock.
CLOCK_SLACK_SECONDS = 2


class Guardian:
    """The run's end of the pipe. The first thing to guard starts the guardian process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def add_process(self, pid: int, born: float) -> None:
        self._tell(f"process {pid} {born!r}")

    def forget_process(self, pid: int) -> None:
        """Removes a process that has ended from the list."""
        if self._process is not None:
            self._tell(f"gone {pid}")

    def add_directory(self, directory: Path) -> None:
        self._tell(f"directory {directory}")

    def close(self) -> None:
        """Ends everything on the list and waits for it."""
        if self._process is None or os.getpid() != self._owner:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._process = None

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,  # Ctrl-C is for the run, not for its guardian
                )
            assert self._process.stdin is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


def kill_tree(pid: int, born: float) -> None:
    """Sends SIGKILL to a process, its descendants and its group. Returns when they have ended.

    The group alone is not enough, because PostgreSQL's children have their own groups. The
    descendants alone are not enough, because an orphan has left the tree. `born` distinguishes the
    process from a later one with the same pid.
    """
    current = birth(pid)
    if current is not None and abs(current - born) > CLOCK_SLACK_SECONDS:
        return
    victims: set[psutil.Process] = set()
    while newcomers := {*_tree(pid), *_group(pid)} - victims:
        # A stopped process starts no child. Until all are stopped, look for new children again.
        for victim in newcomers:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.suspend()
        victims |= newcomers
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    deadline = time.monotonic() + 10
    while any(_still_runs(victim) for victim in victims) and time.monotonic() < deadline:
        threading.Event().wait(0.01)


def birth(pid: int) -> float | None:
    """Returns the start time of a process, which distinguishes it from a later one of its pid."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _group(pid: int) -> list[psutil.Process]:
    """Returns the members of the group that `pid` leads or led, with orphans of a dead leader."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == pid:
                members.append(process)
    return members


def _still_runs(process: psutil.Process) -> bool:
    """Returns whether a process runs. A zombie does not: reaping it is its parent's task."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes: dict[int, float] = {}
    directories: list[str] = []
    for line in sys.stdin:
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "process":
            pid, born = rest.split()
            processes[int(pid)] = float(born)
        elif kind == "gone":
            processes.pop(int(rest), None)
        elif kind == "directory":
            directories.append(rest)
    for pid, born in processes.items():
        kill_tree(pid, born)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


guardian = Guardian()

if __name__ == "__main__":
    main()
