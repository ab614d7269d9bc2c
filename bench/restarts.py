"""How long each kind of process needs to end after SIGTERM, while jobu works.

Beats, prefork and threads workers, web processes and Flower are started and told to end again and
again at random instants, also while they still start. Another beat and worker of the same jobu go
on, and jobs are due each second, so that a process has work in its hands when the signal comes.
Prints one line of JSON; exits with 1 if a process did not end within its bound.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bench.environment import DATABASES, real_jobu
from tests.harness.process_helpers import insert_job
from tests.harness.servers.base import free_port
from tests.harness.system import ROOT, System
from tests.harness.waiting import wait_until

CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {"min_cron_interval_seconds": 1, "poll_interval_seconds": 0.5},
    "worker": {"shutdown_timeout_seconds": 10, "grace_seconds": 5},
}
JOBS = 12
#: Seconds, by docs/reliability.md: beat's own bound; what the worker's settings give, and the time
#: after which it ends itself by force; the graceful time-out of gunicorn; Flower has no work.
BOUNDS = {"beat": 8.0, "prefork": 25.0, "threads": 25.0, "web": 15.0, "flower": 10.0}
#: Every second process is told to end while it starts, the others a moment after this line.
READY = {
    "beat": "beat: Starting",
    "prefork": " ready.",
    "threads": " ready.",
    "web": "Booting worker",
    "flower": "Visit me at",
}
_READY_WITHIN_SECONDS = 120.0
#: What a machine that this bench itself loads may add.
_SLACK_SECONDS = 2.0
_SIGNAL_AFTER_SECONDS = 4.0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench restarts", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--times", type=int, default=20, help="of each kind of process")
    parser.add_argument("--seed", type=int, default=1, help="of the instants of the signals")
    parser.add_argument("--kinds", default=",".join(BOUNDS), help="comma separated")
    options = parser.parse_args(argv)
    if options.times < 1:
        parser.error("--times must be at least 1")
    kinds = options.kinds.split(",")
    if unknown := sorted(set(kinds) - set(BOUNDS)):
        parser.error(f"no kind {', '.join(unknown)}; there are {', '.join(BOUNDS)}")
    with real_jobu(options.database, CONFIG) as jobu:
        for number in range(JOBS):
            insert_job(
                jobu,
                f"job{number}",
                handler_name="sample",
                handler_params=json.dumps({"sleep_seconds": number % 4}),
                overlap_policy="allow",
            )
        jobu.start_beat()
        jobu.start_worker(pool="threads", concurrency=4)
        ended = _restart_all(jobu, kinds, options.times, options.seed)
        runs = jobu.sql("SELECT status, count(*) AS n FROM job_executions GROUP BY status")
    late = sorted(
        f"{kind}: {seconds:.1f} s"
        for kind in kinds
        for seconds in ended[kind]
        if seconds > BOUNDS[kind] + _SLACK_SECONDS
    )
    line = {
        "bench": "restarts",
        "database": options.database,
        "times": options.times,
        "slowest_seconds": {kind: round(max(ended[kind]), 2) for kind in kinds},
        "bounds": BOUNDS,
        "late": late,
        "runs": {row["status"]: int(row["n"]) for row in runs},
        "cores": os.cpu_count(),
    }
    print(json.dumps(line), flush=True)
    return int(bool(late))


def _restart_all(
    jobu: System, kinds: Sequence[str], times: int, seed: int
) -> Mapping[str, list[float]]:
    """Restarts all kinds side by side. Returns the seconds from each SIGTERM to the end."""
    ended: dict[str, list[float]] = {kind: [] for kind in kinds}

    def restart(kind: str) -> None:
        dice = random.Random(f"{seed} {kind}")
        for number in range(times):
            ended[kind].append(
                _seconds_to_end(jobu, kind, number, dice.uniform(0.2, _SIGNAL_AFTER_SECONDS))
            )

    threads = [threading.Thread(target=restart, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def _seconds_to_end(jobu: System, kind: str, number: int, after: float) -> float:
    log = jobu.place / f"{kind}-{number}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(kind, f"{kind}{number}"),
            env=jobu.environment | {"FLOWER_BASIC_AUTH": "bench:of-this-run-only"},
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if number % 2:
            wait_until(
                lambda: READY[kind] in log.read_text(encoding="utf-8"),
                _READY_WITHIN_SECONDS,
                f"{kind} to be ready",
                details=lambda: log.read_text(encoding="utf-8"),
            )
        time.sleep(after)
        if process.poll() is not None:
            raise RuntimeError(f"{kind} ended by itself:\n{log.read_text(encoding='utf-8')}")
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        # Longer than the bound, so that the report says how late it was.
        with suppress(subprocess.TimeoutExpired):
            process.wait(3 * BOUNDS[kind])
        seconds = time.monotonic() - sent
        # A worker that ended by force has written where it hung.
        if seconds > BOUNDS[kind]:
            print(f"LATE {kind}: {seconds:.1f} s\n{log.read_text(encoding='utf-8')}")
        return seconds
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(kind: str, name: str) -> list[str]:
    celery = [sys.executable, "-m", "celery", "-A", "jobu_project"]
    if kind == "beat":
        return [*celery, "beat"]
    if kind == "web":
        bind = f"127.0.0.1:{free_port()}"
        argv = [sys.executable, "-m", "gunicorn", "jobu_project.wsgi", "--bind", bind]
        return [*argv, "--threads", "8", "--graceful-timeout", "10", "--no-control-socket"]
    if kind == "flower":
        return [*celery, "flower", "--address=127.0.0.1", f"--port={free_port()}"]
    return [*celery, "worker", f"--pool={kind}", "--concurrency=2", f"--hostname={name}@restarts"]
