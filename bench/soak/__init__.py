"""`python -m bench soak`: real processes under faults, then a checker that believes nobody.

command: the run from start to verdict. jobs: what is scheduled. faults: what goes wrong. handlers:
what runs, and writes down that it ran. history: everything that can be known afterwards. checker:
what must be true of it. delays: how long it took, and the bounds. figures: what is printed of it.
sabotage: crash points and broken protocols, in the run's processes only.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    # Workers import bench.soak.handlers: they need none of the rest.
    from bench.soak.command import main as run

    return run(argv)
