"""All rows of the goals in one run, each with its peer beside it, in less than 20 minutes.

Every bench runs in a process of its own, one after the other. What fails or has no time left is
named, and the others go on. Not among them: soak, endurance, restarts. The curves of `scale` get
the time that is left; alone they take 15 minutes. The first line of the output describes the
machine. `python -m bench report FILE` makes the pages from it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine import described
from tests.harness.system import ROOT

MINUTES = 19.0
#: What one step may take at most, so that the end of the budget is the end.
_SLACK_SECONDS = 20.0


class Step(NamedTuple):
    """A bench with its options. `seconds`: it is stopped after so many."""

    options: str
    seconds: float


#: The most important first: what the budget does not reach is left out.
STEPS = (
    Step("limit --database postgres", 40),
    Step("limit --database mysql", 40),
    Step("limit --database sqlite", 40),
    Step("worker --database postgres --part noop --runs 5000 --rounds 2", 240),
    Step("worker --database mysql --part noop --runs 3000 --rounds 2", 120),
    Step("worker --database sqlite --part noop --runs 3000 --rounds 2", 120),
    Step("worker --part waits --runs 4000 --rounds 2", 150),
    Step("worker --part now --runs 2000", 90),
    Step("burst", 480),
    Step("lateness --seconds 14", 200),
    Step("idle", 240),
    Step("pools --rounds 12", 90),
    Step("memory", 150),
    Step("pages --database postgres", 240),
    Step("worker --part flight", 120),
    Step("worker --part limits --runs 2000 --rounds 4", 80),
    Step("costs", 200),
    Step("backlog", 180),
    Step("tick", 60),
    Step("scale --seconds {left}", 330),
)
#: For a look whether each of them works: a few minutes, and figures that mean nothing.
SMOKE = (
    Step("limit --database postgres --rows 300", 60),
    Step("worker --part noop --runs 100 --rounds 1", 120),
    Step("worker --part waits --runs 100 --rounds 1", 90),
    Step("worker --part now --runs 100", 90),
    Step("worker --part limits --runs 100 --rounds 1", 90),
    Step("burst --jobs 200 --cut 8", 180),
    Step("lateness --jobs 500 --seconds 6", 180),
    Step("idle --jobs 2000 --seconds 10", 120),
    Step("pools --rounds 3 --statements 50", 60),
    Step("memory --runs 100", 90),
    Step("pages --database postgres --jobs 500 --executions 20000", 120),
    Step("costs --jobs 200", 150),
    Step("backlog --runnable 60001 --retries 100 --seconds 3", 120),
    Step("tick --jobs 2000 --due 200", 60),
    Step("scale --seconds 30 --most 1000", 200),
)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench all", description=__doc__)
    parser.add_argument("--output", type=Path, help="also write the lines to this file")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all steps together")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does each row work?")
    options = parser.parse_args(argv)
    lines: list[dict[str, Any]] = []

    def add(line: dict[str, Any]) -> None:
        lines.append(line)
        print(json.dumps(line), flush=True)

    begun = time.monotonic()
    add(described() | ({"smoke": True} if options.smoke else {}))
    steps = SMOKE if options.smoke else STEPS
    for line in run_steps(steps, 60 * options.minutes, time.monotonic, _run):
        add(line)
    add({"seconds": round(time.monotonic() - begun), "load": round(os.getloadavg()[0], 1)})
    lines = with_limits(lines)
    if options.output is not None:
        options.output.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    return int(any("failed" in line for line in lines))


Run = Callable[[str, float], Iterator[dict[str, Any]]]


def run_steps(
    steps: Sequence[Step], budget_seconds: float, clock: Callable[[], float], run: Run
) -> Iterator[dict[str, Any]]:
    """Yields the lines of each step, and of a step without time that it was left out."""
    end = clock() + budget_seconds
    for step in steps:
        left = end - clock()
        if left < 2 * _SLACK_SECONDS:
            yield {"left_out": step.options.split(" --seconds {left}")[0], "why": "no time left"}
            continue
        seconds = min(step.seconds, left)
        options = step.options.format(left=round(seconds - _SLACK_SECONDS))
        yield from run(options, seconds)


def _run(options: str, seconds: float) -> Iterator[dict[str, Any]]:
    print(f"# {options}", file=sys.stderr, flush=True)
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *options.split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stopped = ""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        stopped = f"stopped after {seconds:.0f} s"
        # As Ctrl-C does it: the blocks end, and with them servers and processes.
        os.killpg(process.pid, signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=_SLACK_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
    for line in output.splitlines():
        if line.startswith("{") and "row" in (found := json.loads(line)):
            yield found
    # A bench may end with 1 because a figure is over its own limit: its rows say so.
    if stopped or (process.returncode and "Traceback" in errors):
        yield {"failed": options, "why": stopped or errors.strip().splitlines()[-1][:300]}
    print(f"#   {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


def with_limits(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that count runs a second get the limit of their database, of this run."""
    group = "limit: claim and finish in groups of 50"
    limits = {line["database"]: line["ours"] for line in lines if line.get("row") == group}
    return [
        line | {"limit": limits.get(line["database"])}
        if line.get("unit") == "runs a second"
        and line.get("limit") is None
        and not line["row"].startswith("limit")
        else line
        for line in lines
    ]
