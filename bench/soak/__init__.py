"""`python -m bench soak`: real processes under faults, then a check of what they did.

- command: runs a soak from its start to its report
- options: the options and the report
- jobs: the jobs that the soak schedules
- handlers: the handlers that run, and that write each run into a ledger
- faults: what goes wrong
- sabotage: crash points and broken protocols, in the processes of the soak only
- history: everything that is known afterwards
- recorders: triggers by which the database writes down what changes
- approver: the person who approves runs
- checker: what must be true of a history; slots, attempts, limits, shards, approvals, chains,
  freezes and counting: each a part of it; findings: what it finds
- delays: how long things took, and their bounds
- figures: the numbers that a soak prints
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    # Imported here, because workers import bench.soak.handlers and need nothing else of the soak.
    from bench.soak.command import main as run

    return run(argv)
