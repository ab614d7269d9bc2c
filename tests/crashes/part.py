"""`python -m tests.crashes.part`: Celery's own beat or worker, with a fault at one point."""

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
    parser.add_argument("--broken", default="", help="where its connection breaks, once: POINT")
    parser.add_argument("--mutation", default="")
    options, for_celery = parser.parse_known_args(arguments)
    if options.mutation:
        mutations.apply(options.mutation)
    if options.crash:
        name, _, visit = options.crash.partition(":")
        failpoints.arm(name, visit=int(visit or 1))
    if options.broken:
        break_at(options.broken)
    app.start(argv=for_celery)


def break_at(point: str) -> None:
    """The database's session ends at this point, and with it the transaction that is open."""
    from django.db import connection

    from scheduler import failpoints

    left = [point]

    def reached(name: str) -> None:
        if name in left:
            left.remove(name)
            session = connection.connection
            # As if the server had gone. PyMySQL refuses to close twice what `close` has closed.
            getattr(session, "_force_close", session.close)()

    failpoints.point = reached


if __name__ == "__main__":
    main(sys.argv[1:])
