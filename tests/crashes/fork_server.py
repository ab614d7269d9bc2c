"""Starts beats and workers within milliseconds: they are forks of a process with all imports.

`python -m tests.crashes.fork_server` is that process. It reads one JSON command per line and
answers each with one line of JSON. It forks Celery's own beat and worker, each with its own
connections and log. They share the flag "this worker drains": therefore tests kill them and never
ask them to end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.harness.servers.guardian import birth, guardian, kill_tree

ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    """Starts the fork server for a test, and sends it commands."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.fork_server", str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            cwd=ROOT,
            text=True,
            start_new_session=True,
        )
        self._born = birth(self._process.pid) or 0.0
        guardian.add_process(self._process.pid, self._born)

    def beat(self, *, crash: str = "", mutation: str = "") -> int:
        """Returns the pid of a new beat. `crash`: where it kills itself, `point[:visit]`."""
        return int(self._ask(start=["beat"], crash=crash, mutation=mutation))

    def worker(self, name: str, *, crash: str = "", mutation: str = "") -> int:
        quick = [
            "--pool=solo",
            "--concurrency=1",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
        arguments = ["worker", *quick, f"--hostname={name}@nursery"]
        return int(self._ask(start=arguments, crash=crash, mutation=mutation))

    def exit_code(self, pid: int) -> int | None:
        """None while it runs; negative when a signal ended it."""
        code = self._ask(ended=pid)
        return None if code is None else int(code)

    def kill_all(self) -> None:
        """Sends SIGKILL to every beat and worker. Returns when they have ended."""
        self._ask(kill=True)

    def close(self) -> None:
        kill_tree(self._process.pid, self._born)
        self._process.communicate()
        guardian.forget_process(self._process.pid)

    def _ask(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the nursery has ended\n{self.log.read_text()[-3000:]}"
        return json.loads(answer)


def main(log: Path) -> None:
    from bench.soak.sabotage import mutations
    from jobu_project.celery import app
    from scheduler import failpoints

    load(app)
    ended: dict[int, int] = {}
    children: set[int] = set()
    for line in sys.stdin:
        command = json.loads(line)
        answer: Any = None
        if "start" in command:
            answer = os.fork()
            if answer == 0:
                use_log(log)
                if command["mutation"]:
                    mutations.apply(command["mutation"])
                if command["crash"]:
                    name, _, visit = command["crash"].partition(":")
                    failpoints.arm(name, visit=int(visit or 1))
                app.start(argv=command["start"])
                os._exit(0)
            children.add(answer)
        elif "ended" in command:
            reap(children, ended)
            answer = ended.get(command["ended"])
        else:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            for pid in children:
                ended[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            children.clear()
        print(json.dumps(answer), flush=True)


def load(app: Any) -> None:
    """Imports everything that a beat and a worker import, and opens no connection."""
    import celery.apps.beat
    import celery.apps.worker
    import celery.bin.beat
    import celery.bin.celery
    import celery.bin.worker
    import celery.concurrency.solo
    import celery.worker.consumer
    import kombu.transport.redis

    # Celery would otherwise import these in each child.
    assert celery.worker
    assert kombu.transport

    app.loader.import_default_modules()
    app.finalize()


def reap(children: set[int], ended: dict[int, int]) -> None:
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            children.remove(pid)
            ended[pid] = os.waitstatus_to_exitcode(status)


def use_log(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
