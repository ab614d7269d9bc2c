"""`python -m tests.crashes.part`: Celery's own beat or worker, which may kill itself at a point."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    from bench.soak.sabotage import mutations
    from jobu_project.celery import app
    from scheduler import failpoints

    parser = argparse.ArgumentParser()
    parser.add_argument("--crash", default="", help="where it kills itself: POINT[:VISIT]")
    parser.add_argument("--mutation", default="")
    options, for_celery = parser.parse_known_args(arguments)
    if options.mutation:
        mutations.apply(options.mutation)
    if options.crash:
        name, _, visit = options.crash.partition(":")
        failpoints.arm(name, visit=int(visit or 1))
    app.start(argv=for_celery)


if __name__ == "__main__":
    main(sys.argv[1:])
