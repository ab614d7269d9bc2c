"""Runs jobu's parts as child processes and restarts them. Does not know what a part does.

Each part runs in its own process group. Therefore a Ctrl-C in the terminal reaches only the
supervisor, which then stops the parts one after the other. The supervisor restarts a part that
has ended, and waits longer each time while the part keeps ending early. When the supervisor itself
is killed, Linux sends SIGTERM to the parts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import IO, TextIO

RESTART_FIRST_SECONDS = 1.0
RESTART_MAX_SECONDS = 30.0
#: A part that ran this long counts as healthy: its next restart comes after the first, short wait.
HEALTHY_SECONDS = 60.0
# The same as in scheduler/worker/process.py: a worker asks for another process.
EXIT_FOR_RESTART = os.EX_TEMPFAIL
#: After such an exit a part that ran for this long has done something.
USEFUL_SECONDS = 10.0
#: How many such exits in a row, each within USEFUL_SECONDS of its start, cause no wait.
RESTARTS_AT_ONCE = 5
#: One Ctrl-C often arrives twice: from the terminal, and from the program that started jobu. A
#: second signal within this time does not kill the parts.
SAME_SIGNAL_SECONDS = 0.5
MAX_LINE_BYTES = 64 * 1024
COLOURS = (36, 33, 32, 35, 34, 31)

# This code runs first in the child process; execv then replaces it by the part. It asks Linux for a
# SIGTERM when the parent dies: PR_SET_PDEATHSIG (1) survives execv. The parent may have died before
# that call, so the code compares the parent's id. A preexec_fn is unsafe in a process with threads.
_GUARD = """
import os, signal, sys
if sys.platform == "linux":
    try:
        import ctypes
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A program to keep running. `env` is its whole environment; argv[0] is an absolute path."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    #: The supervisor kills the part if it still runs this long after SIGTERM.
    stop_seconds: float = 15.0


@dataclass(frozen=True)
class Exited:
    child: Child


@dataclass(frozen=True)
class Signalled:
    number: int


class Log:
    """Writes the lines of all parts to one stream, each with its part's name and colour."""

    def __init__(self, out: TextIO, names: Sequence[str]) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._width = max(len(name) for name in names)
        colours = out.isatty() and "NO_COLOR" not in os.environ
        self._colours = dict(zip(names, COLOURS, strict=False)) if colours else {}

    def line(self, name: str, text: str) -> None:
        prefix = f"{name:<{self._width}} |"
        if name in self._colours:
            prefix = f"\x1b[{self._colours[name]}m{prefix}\x1b[0m"
        # The reader of the output may be gone. Ignore that: the pipes of the parts must still be
        # read, or the parts block when they write.
        with self._lock, suppress(OSError, ValueError):
            self._out.write(f"{prefix} {text}\n")
            self._out.flush()


class JsonLog(Log):
    """Writes one JSON object a line. JSON lines of the parts stay unchanged; others are wrapped."""

    def line(self, name: str, text: str) -> None:
        if not text.strip():
            return
        if not _is_json(text):
            timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            record = {"timestamp": timestamp, "level": "INFO", "name": name, "message": text}
            text = json.dumps(record, ensure_ascii=False)
        with self._lock, suppress(OSError, ValueError):
            self._out.write(f"{text}\n")
            self._out.flush()


def _is_json(text: str) -> bool:
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except ValueError:
        return False


class Child:
    """The running process of one part, or the time of its next start."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.process: subprocess.Popen[bytes] | None = None
        self.restart_at: float | None = None
        self._started_at = 0.0
        self._deaths = 0

    def start(self, log: Log, events: SimpleQueue[Exited | Signalled]) -> None:
        """Starts the process. Call this in the main thread only.

        Linux sends the death signal when the thread that forked ends, not the whole process.
        """
        self.restart_at = None
        self._started_at = time.monotonic()
        guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid())]
        self.process = subprocess.Popen(
            [*guard, *self.part.argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.part.cwd,
            env=dict(self.part.env),
            process_group=0,
        )
        threading.Thread(target=self._pump, args=(self.process.stdout, log), daemon=True).start()
        threading.Thread(target=self._wait, args=(self.process, events), daemon=True).start()

    def _pump(self, pipe: IO[bytes], log: Log) -> None:
        with pipe:
            while line := pipe.readline(MAX_LINE_BYTES):
                log.line(self.part.name, line.decode(errors="replace").rstrip("\r\n"))

    def _wait(
        self, process: subprocess.Popen[bytes], events: SimpleQueue[Exited | Signalled]
    ) -> None:
        process.wait()
        events.put(Exited(self))

    def plan_restart(self, returncode: int) -> float:
        """Plans the next start. Returns the seconds until then: 0, or 1, 2, 4, ... 30.

        A worker exits with EXIT_FOR_RESTART when a run could not be stopped. It has run something,
        so it starts again at once. Only if it keeps doing so right after its start, it waits, too.
        """
        ran_seconds = time.monotonic() - self._started_at
        asked = returncode == EXIT_FOR_RESTART
        if ran_seconds >= (USEFUL_SECONDS if asked else HEALTHY_SECONDS):
            self._deaths = 0
        self._deaths += 1
        seconds = restart_seconds(self._deaths - (RESTARTS_AT_ONCE if asked else 0))
        self.restart_at = time.monotonic() + seconds
        self.process = None
        return seconds

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        """Sends SIGTERM to the part's main process, which stops its own children."""
        if self.process is not None and self.is_running():
            self.process.terminate()

    def kill_group(self) -> None:
        """Kills every process of the part that still runs, also children whose parent has ended."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


def restart_seconds(deaths: int) -> float:
    """Returns the wait before the next start, after `deaths` early exits in a row; 0 for none."""
    if deaths <= 0:
        return 0.0
    return float(min(RESTART_FIRST_SECONDS * 2 ** min(deaths - 1, 10), RESTART_MAX_SECONDS))


def describe_exit(returncode: int) -> str:
    """Returns a text such as `ended with exit code 3` or `was killed by SIGKILL`."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"


class Supervisor:
    """Runs `parts` until a signal arrives, then stops them in the order of `stop_order`."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        stop_order: Sequence[str],
        out: TextIO = sys.stdout,
        json_lines: bool = False,
    ) -> None:
        self._children = [Child(part) for part in parts]
        self._stop_order = stop_order
        kind = JsonLog if json_lines else Log
        self._log = kind(out, ["jobu", *(part.name for part in parts)])
        self._events: SimpleQueue[Exited | Signalled] = SimpleQueue()
        #: A second signal kills the parts if it arrives at this monotonic time or later.
        self._kill_allowed_at = 0.0
        #: Set when the stop begins. Threads of the caller that wait for something watch this event.
        self.stopping = threading.Event()

    def say(self, text: str) -> None:
        for line in text.splitlines():
            self._log.line("jobu", line)

    def run(self) -> int:
        """Blocks in the main thread until all parts have stopped, and returns the exit code.

        The code is 0 after one signal, and 1 if a second signal killed parts that still ran.
        """
        with self._signals():
            for child in self._children:
                child.start(self._log, self._events)
            number = self._watch()
            self.stopping.set()
            self.say(f"{signal.Signals(number).name}: stopping (once more kills at once)")
            return self._stop()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turns signals into events of the queue, and restores the old handlers at the end."""

        def handle(number: int, frame: FrameType | None) -> None:
            # SimpleQueue.put() is reentrant, so that a signal handler may call it.
            self._events.put(Signalled(number))

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watch(self) -> int:
        """Keeps the parts running until a signal arrives, and returns its number."""
        while True:
            event = self._next_event(self._next_restart_at())
            if isinstance(event, Signalled):
                return event.number
            if isinstance(event, Exited):
                self._on_exit(event.child)
            for child in self._children:
                if child.restart_at is not None and child.restart_at <= time.monotonic():
                    child.start(self._log, self._events)

    def _next_restart_at(self) -> float | None:
        return min((c.restart_at for c in self._children if c.restart_at is not None), default=None)

    def _next_event(self, until: float | None) -> Exited | Signalled | None:
        """Waits for the next event. Returns None when the monotonic clock reaches `until`."""
        timeout = None if until is None else max(until - time.monotonic(), 0.0)
        try:
            return self._events.get(timeout=timeout)
        except Empty:
            return None

    def _on_exit(self, child: Child) -> None:
        if child.process is None or child.process.returncode is None:
            return
        returncode = child.process.returncode
        how = describe_exit(returncode)
        child.kill_group()
        seconds = child.plan_restart(returncode)
        self.say(f"{child.part.name} {how}; starting it again in {seconds:.0f} s")

    def _stop(self) -> int:
        self._kill_allowed_at = time.monotonic() + SAME_SIGNAL_SECONDS
        order = {name: rank for rank, name in enumerate(self._stop_order)}
        for child in sorted(self._children, key=lambda c: order.get(c.part.name, len(order))):
            if not self._stop_child(child):
                self.say("killing what is left")
                for left in self._children:
                    left.kill_group()
                return 1
        self.say("stopped")
        return 0

    def _stop_child(self, child: Child) -> bool:
        """Stops one part. Returns False if a second signal arrived while it waited."""
        child.terminate()
        until = time.monotonic() + child.part.stop_seconds
        while child.is_running():
            event = self._next_event(until)
            if isinstance(event, Signalled) and time.monotonic() >= self._kill_allowed_at:
                return False
            if event is None:
                self.say(f"{child.part.name} did not stop within {child.part.stop_seconds:.0f} s")
                break
        child.kill_group()
        return True
