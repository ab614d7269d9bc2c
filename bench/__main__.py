"""`python -m bench NAME`: measurements as JSON lines. Compare figures of the same run only."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

BENCHES = {
    "all": "every row of the goals, with its peer, in less than 20 minutes",
    "report": "docs/performance.md and docs/scaling.md from the lines that `all` has written",
    "worker": "what a run costs and how soon it starts, beside Celery's own tasks",
    "burst": "10,000 jobs due at the same instant, beside RedBeat and django-celery-beat",
    "lateness": "how late handlers start, among 100,000 jobs, beside RedBeat",
    "idle": "a beat among a million jobs: processor time, memory, seconds until it is ready",
    "backlog": "whether a worker slows down before a million rows that wait",
    "memory": "what a threads worker holds idle, and after many runs",
    "limit": "claim and finish on our tables and nothing else: what cannot be exceeded",
    "costs": "statements and WAL of one run, for docs/scaling.md",
    "scale": "curves: beats, workers, jobs, rows of history",
    "tick": "beat alone: an idle minute, and how fast it records many slots",
    "soak": "real processes under faults for some minutes, and whether the promises were kept",
    "pages": "the admin's pages with 10,000 jobs and a million executions",
    "restarts": "how long each kind of process needs to end after SIGTERM, under load",
    "endurance": "what workers hold after many runs: connections, files, threads, memory",
    "pools": "dbpools beside the drivers' own pools",
}
#: Those whose module has another name: `all` is a word of Python.
MODULES = {"all": "everything"}


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] not in BENCHES:
        print("usage: python -m bench NAME [options]\n")
        for name, what in BENCHES.items():
            print(f"  {name:9} {what}")
        return 0 if argv and argv[0] in ("-h", "--help") else 1
    try:
        result = importlib.import_module(f"bench.{MODULES.get(argv[0], argv[0])}").main(argv[1:])
    except ModuleNotFoundError as error:
        # requirements.txt does not contain the tools that the tests and the benches need.
        print(
            f"{error}: `pip install -r requirements-dev.txt`, or script/test once", file=sys.stderr
        )
        return 1
    assert isinstance(result, int)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
