"""The processes that runs start, so that none outlives its run after a timeout.

Each process that a run starts with `subprocess`, asyncio or `multiprocessing` is remembered. Those
of the first two also get an environment variable that their own children inherit, so that they are
found after their parent has ended. Not seen, because nothing says which run they belong to:
`os.fork`, `os.system`, `os.posix_spawn`, and what such a process starts. `kill_all` ends those too,
when this whole process ends.

Reads /proc. Without it only the remembered processes themselves are ended.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing.process
import os
import signal
import subprocess
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.thread_tracking import current_mark

VARIABLE = "JOBU_RUN_MARK"
_PROC = Path("/proc")
# Popen(args, bufsize, executable, stdin, stdout, stderr, preexec_fn, close_fds, shell, cwd, env)
_ENV_POSITION = 10

_lock = threading.Lock()
_started: dict[str, list[_Process]] = {}


@dataclass(frozen=True)
class _Process:
    """A process at one moment. Its pid may be reused later, but not with the same start."""

    pid: int
    started: str
    parent: int = 0
    group: int = 0


def track_processes() -> None:
    """Remember the processes of runs from now on. A repeated call does nothing."""
    open_process = subprocess.Popen.__init__
    if hasattr(open_process, "_marks_processes"):
        return
    start = multiprocessing.process.BaseProcess.start

    @functools.wraps(open_process)
    def marked_open(process: Any, *args: Any, **options: Any) -> None:
        mark = current_mark()
        if mark is None:
            open_process(process, *args, **options)
            return
        if len(args) <= _ENV_POSITION:
            env = options.get("env")
            options["env"] = {**(os.environ if env is None else env), VARIABLE: mark}
        open_process(process, *args, **options)
        _remember(mark, process.pid)

    @functools.wraps(start)
    def marked_start(process: Any) -> None:
        start(process)
        mark = current_mark()
        if mark is not None and process.pid is not None:
            _remember(mark, process.pid)

    marked_open._marks_processes = True  # type: ignore[attr-defined]
    subprocess.Popen.__init__ = marked_open  # type: ignore[assignment, method-assign]
    multiprocessing.process.BaseProcess.start = (  # type: ignore[method-assign]
        marked_start  # type: ignore[assignment]
    )


def expect(mark: str) -> None:
    """A run begins. Its processes are remembered until `forget`."""
    with _lock:
        _started[mark] = []


def alive(mark: str) -> int:
    """How many processes of the run are alive."""
    return len(_of_run(mark))


def send(mark: str, number: signal.Signals) -> int:
    """Send a signal to every process of the run. Returns how many were alive."""
    processes = _of_run(mark)
    _send(processes, number)
    return len(processes)


def forget(mark: str) -> None:
    """The run has ended, and its processes are no longer looked for."""
    with _lock:
        _started.pop(mark, None)


def kill_marked(beginning: str) -> None:
    """SIGKILL for the processes of this host whose mark begins so, whoever has started them."""
    entry = f"{VARIABLE}={beginning}".encode()
    # This runs on the loop of all runs. Usually nothing is found, and then nothing else is read.
    if carrying := {pid for pid in _pids() if _has_variable(pid, entry)}:
        everything = _all_processes()
        found = {process for process in everything if process.pid in carrying}
        _send(_with_groups(found, everything), signal.SIGKILL)


def kill_all() -> None:
    """SIGKILL for every process below this one, and for those of all runs that go on here."""
    with _lock:
        marks = list(_started)
    # Twice, because a process may start another one before it is killed.
    for _ in range(2):
        everything = _all_processes()
        found = _below({os.getpid()}, everything)
        for mark in marks:
            found |= set(_of_run(mark))
        _send(found, signal.SIGKILL)


def is_group_alive(group: int) -> bool:
    """True if a process of this group is alive. One that only waits for its parent is not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _PROC.is_dir() or any(found.group == group for found in _all_processes())


def _remember(mark: str, pid: int) -> None:
    found = _look_at(pid) if _PROC.is_dir() else _Process(pid, "")
    if found is None:  # it has ended already; what it started carries the variable
        found = _Process(pid, "ended")
    with _lock:
        # A thread that has outlived its run may still start processes.
        if mark in _started:
            _started[mark].append(found)


def _of_run(mark: str) -> list[_Process]:
    with _lock:
        remembered = list(_started.get(mark, ()))
    if not remembered:
        return []
    if not _PROC.is_dir():
        return [process for process in remembered if _exists(process.pid)]
    everything = _all_processes()
    by_pid = {process.pid: process for process in everything}
    found = {
        by_pid[process.pid]
        for process in remembered
        if process.pid in by_pid and by_pid[process.pid].started == process.started
    }
    found |= _carrying(f"{VARIABLE}={mark}".encode(), everything)
    return list(_with_groups(found, everything))


def _carrying(entry: bytes, everything: Iterable[_Process]) -> set[_Process]:
    """The processes whose environment has a variable that begins with `entry`."""
    return {process for process in everything if _has_variable(process.pid, entry)}


def _with_groups(processes: set[_Process], everything: Iterable[_Process]) -> set[_Process]:
    """`processes`, the groups that they lead, and all below them."""
    # A group that another process leads may be that of a whole worker.
    pids = {process.pid for process in processes}
    found = processes | {process for process in everything if process.group in pids}
    return found | _below({process.pid for process in found}, everything)


def _below(pids: set[int], everything: Iterable[_Process]) -> set[_Process]:
    """The children of `pids`, their children, and so on."""
    found: set[_Process] = set()
    parents = set(pids)
    while children := {p for p in everything if p.parent in parents} - found:
        found |= children
        parents = {child.pid for child in children}
    return found


def _send(processes: Iterable[_Process], number: signal.Signals) -> None:
    own = os.getpid()
    for process in processes:
        if process.pid == own:
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _all_processes() -> list[_Process]:
    return [found for pid in _pids() if (found := _look_at(pid))]


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir(_PROC) if name.isdigit()]
    except OSError:
        return []


def _look_at(pid: int) -> _Process | None:
    """None: there is no such process, or it has ended and waits only for its parent."""
    try:
        # The name stands in brackets, and may itself contain blanks and brackets.
        fields = _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    state, parent, group, started = fields[0], fields[1], fields[2], fields[19]
    if state in "ZX":
        return None
    return _Process(pid, started, int(parent), int(group))


def _has_variable(pid: int, entry: bytes) -> bool:
    try:
        return b"\0" + entry in b"\0" + _read(pid, "environ")
    except OSError:  # it has ended, or belongs to another user
        return False


def _read(pid: int, name: str) -> bytes:
    # Hundreds of files are read at a time, and a Path costs more than its file.
    with open(f"{_PROC}/{pid}/{name}", "rb", buffering=0) as file:
        return file.read()
