"""What running processes have used and hold, from /proc; and processes that are not forks.

The harness forks its parts from a process that has their imports. Such a part starts faster and
shares memory, so whoever measures a start or memory begins a plain one here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.system import ROOT


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a process and its descendants hold."""

    processes: int
    files: int
    threads: int
    memory_mb: float


def held_by(pid: int) -> Held:
    processes = [Path(f"/proc/{each}") for each in with_descendants(pid)]
    statuses = [_status(process) for process in processes]
    return Held(
        processes=len(processes),
        files=sum(len(list((process / "fd").iterdir())) for process in processes),
        threads=sum(int(status["Threads"]) for status in statuses),
        memory_mb=round(sum(int(status["VmRSS"].split()[0]) for status in statuses) / 1024, 1),
    )


def _status(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def with_descendants(pid: int) -> list[int]:
    """The process and all below it. A child that ends meanwhile is left out."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            children += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue
    return [pid, *(found for child in children for found in with_descendants(child))]


def cpu_seconds(pid: int) -> float:
    """Of the process, of its children that live, and of those that have ended."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for each in with_descendants(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            continue
        # user, system, and both of the children that were waited for (man 5 proc)
        total += sum(int(field) for field in stat.rpartition(")")[2].split()[11:15]) / ticks
    return total


@contextmanager
def plain_process(
    arguments: Sequence[str], environment: Mapping[str, str], *, end_seconds: float = 30
) -> Iterator[subprocess.Popen[bytes]]:
    """`python ARGUMENTS...` in the root of the project; ended with the block."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(end_seconds)
        except subprocess.TimeoutExpired:
            for each in with_descendants(process.pid)[::-1]:
                os.kill(each, 9)
            process.wait()


def run_python(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """A program to its end: its output. Raises RuntimeError with what it said if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(arguments)[:200]} ended with {done.returncode}\n{done.stderr}"
        )
    return done.stdout


def until(
    predicate: Callable[[], object],
    seconds: float,
    what: str,
    *,
    every: float = 0.02,
    details: Callable[[], str] = lambda: "",
) -> None:
    """Returns when the predicate is true. Looks at even distances, because a figure depends on it.

    Raises TimeoutError after so many seconds.
    """
    end = time.monotonic() + seconds
    while not predicate():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for {what}\n{details()}".rstrip())
        time.sleep(every)
