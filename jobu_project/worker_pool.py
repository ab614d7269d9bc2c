"""Which pool a worker of this project uses, and how many runs it has at once in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

#: By pool, where worker.yaml does not say it.
CONCURRENCY: Final[Mapping[str, int]] = defaultdict(lambda: 4, threads=100)


def pool_of(arguments: Sequence[str]) -> str | None:
    """The pool that the command line of a worker names. None: it names none.

    The settings must know it: Celery takes `--pool=prefork`, which is its default, for no choice
    at all, and would use the pool of the settings (WorkersPool in celery/bin/worker.py).
    """
    if "worker" not in arguments:
        return None
    for index, argument in enumerate(arguments):
        if argument in ("-P", "--pool"):
            return next(iter(arguments[index + 1 : index + 2]), None)
        for start in ("--pool=", "-P"):
            if argument.startswith(start):
                return argument.removeprefix(start).removeprefix("=")
    return None
