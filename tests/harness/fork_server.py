"""Starts Python programs within milliseconds: they are forks of a process that has their imports.

An import of Celery and Django takes a second of processor time, and the tests start hundreds of
beats, workers and commands. A fork then runs the program as `python -m` does: with an environment,
an output and a session of its own, and with the interpreter's ordinary end.

`python -m tests.harness.fork_server MODULE...` is that process. It imports the modules, reads one
JSON command per line and answers each with one line of JSON.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.harness.servers.guardian import birth, guardian, kill_tree
from tests.harness.waiting import patient

ROOT = Path(__file__).resolve().parents[2]
# What beats, workers and commands import. No module here reads jobu's settings.
LIBRARIES = ("tests.harness.preload",)
_NEVER = threading.Event()


class ForkedProcess:
    """A program that the fork server has started. Has the methods of subprocess.Popen."""

    def __init__(self, server: ForkServer, arguments: Sequence[str], pid: int) -> None:
        self._server = server
        self._arguments = list(arguments)
        self._returncode: int | None = None
        self.pid = pid

    def poll(self) -> int | None:
        if self._returncode is None:
            self._returncode = self._server.exit_code(self.pid)
        return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + patient(timeout)
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
            _NEVER.wait(0.02)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    """The run's end of a fork server. `modules` are imported in it, with this environment."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.fork_server", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            cwd=ROOT,
            text=True,
            start_new_session=True,
        )
        self._born = birth(self._process.pid) or 0.0
        guardian.add_process(self._process.pid, self._born)

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
        typed: Path | None = None,
        directory: Path = ROOT,
    ) -> ForkedProcess:
        """Starts `python ARGUMENTS...` in a directory: `-m MODULE ...` or `SCRIPT ...`.

        Its output is appended to `output`, and its errors to `errors` or else to `output` as well.
        It reads `typed` as its input. Modules of the directory hide none that was imported before.
        """
        for path in (output, errors or output):
            path.touch()  # the caller may read it before the child has opened it
        pid = self._ask(
            start=list(arguments),
            environment=dict(environment),
            output=str(output),
            errors=str(errors or output),
            typed=str(typed or os.devnull),
            directory=str(directory),
        )
        return ForkedProcess(self, arguments, int(pid))

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        timeout: float,
        typed: str = "",
        directory: Path = ROOT,
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python ARGUMENTS...` and captures its output. Raises subprocess.TimeoutExpired."""
        with tempfile.TemporaryDirectory(prefix="jobu-output-") as place:
            given, output, errors = (Path(place) / name for name in ("typed", "output", "errors"))
            given.write_text(typed, "utf-8")
            process = self.start(
                arguments,
                environment=environment,
                output=output,
                errors=errors,
                typed=given,
                directory=directory,
            )
            born = birth(process.pid) or 0.0
            guardian.add_process(process.pid, born)
            try:
                code = process.wait(timeout)
            finally:
                kill_tree(process.pid, born)
                guardian.forget_process(process.pid)
            return subprocess.CompletedProcess(
                list(arguments), code, output.read_text("utf-8"), errors.read_text("utf-8")
            )

    def exit_code(self, pid: int) -> int | None:
        """None while it runs; negative when a signal ended it."""
        code = self._ask(ended=pid)
        return None if code is None else int(code)

    def close(self) -> None:
        """Kills the server and everything that it has started."""
        kill_tree(self._process.pid, self._born)
        self._process.communicate()
        guardian.forget_process(self._process.pid)

    def _ask(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, "the fork server has ended"
        return json.loads(answer)


@cache
def the_fork_server() -> ForkServer:
    """Returns the fork server of this run of pytest, started by the first call."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JOBU_")}
    return ForkServer(LIBRARIES, environment)


# --- the server's side ----------------------------------------------------------------------------


def main(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a child's first collection then copies no page of the imports
    gc.set_threshold(10_000, 10, 10)  # a start makes many objects and hardly any garbage
    command = serve()
    if command is not None:
        become(command)


def serve() -> dict[str, Any] | None:
    """Answers commands until the input ends. In a child: returns the command that started it."""
    ended: dict[int, int] = {}
    while line := sys.stdin.readline():
        command: dict[str, Any] = json.loads(line)
        answer: int | None
        if "start" in command:
            answer = os.fork()
            if answer == 0:
                return command
        else:
            answer = ended.get(command["ended"])
            if answer is None:
                pid, status = os.waitpid(command["ended"], os.WNOHANG)
                if pid:
                    answer = ended[pid] = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)
    return None


def become(command: Mapping[str, Any]) -> None:
    """Turns this process into the program of the command."""
    os.setsid()
    os.environ.clear()
    os.environ.update(command["environment"])
    _replace(0, os.open(command["typed"], os.O_RDONLY))
    _replace(1, _append_to(command["output"]))
    _replace(2, _append_to(command["errors"]))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(command["directory"])
    sys.path[0] = command["directory"]
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    arguments: list[str] = command["start"]
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def _append_to(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def _replace(target: int, descriptor: int) -> None:
    os.dup2(descriptor, target)
    os.close(descriptor)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(sys.argv[1:])
