"""`python -m bench NAME`: measurements as JSON lines. Compare figures of the same run only."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

BENCHES = {
    "worker": "what a run costs, beside Celery's own task that does nothing",
    "tick": "beat: an idle tick, and a tick in which many jobs are due at once",
    "soak": "real processes under faults for some minutes, and whether the promises were kept",
    "pages": "the admin's pages with 10,000 jobs and a million executions",
    "restarts": "how long each kind of process needs to end after SIGTERM, under load",
    "endurance": "what workers hold after many runs: connections, files, threads, memory",
    "pools": "dbpools beside the drivers' own pools",
}


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] not in BENCHES:
        print("usage: python -m bench NAME [options]\n")
        for name, what in BENCHES.items():
            print(f"  {name:9} {what}")
        return 0 if argv and argv[0] in ("-h", "--help") else 1
    try:
        result = importlib.import_module(f"bench.{argv[0]}").main(argv[1:])
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
