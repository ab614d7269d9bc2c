"""Presses "run now" like a person, in a process of its own.

`python -m bench.worker.press JOB_ID TIMES PAUSE`, with the environment of a jobu.

Prints a JSON object: id of the execution -> instant of its COMMIT, in seconds since 1970.
"""

from __future__ import annotations

import json
import sys
import time


def press(job_id: int, times: int, pause_seconds: float) -> dict[int, float]:
    import django

    django.setup()

    from django.db import transaction

    from scheduler.operations.control import Actor, Control
    from scheduler.states import Door

    control = Control(actor=Actor(name="bench", door=Door.COMMAND))
    committed: dict[int, float] = {}
    commits: list[float] = []
    for _ in range(times):
        with transaction.atomic():
            # The first callback of the transaction: right after the COMMIT, before any message.
            transaction.on_commit(lambda: commits.append(time.time()))
            execution = control.run_now(job_id)
        committed[execution.pk] = commits[-1]
        time.sleep(pause_seconds)
    return committed


if __name__ == "__main__":
    print(json.dumps(press(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
