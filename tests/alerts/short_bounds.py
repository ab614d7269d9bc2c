"""`python -m tests.alerts.short_bounds`: Celery's own beat or worker that waits for less long.

It looks every second, and tells after three seconds what jobu tells after a minute. On a busy
machine a beat may miss some of these looks. It reads how full the disk is from the file
JOBU_TEST_DISK: a disk that is really full would end other tests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import django


def main(arguments: Sequence[str]) -> None:
    django.setup()
    from jobu_project.celery import app
    from scheduler.alerts import watchers, watching
    from scheduler.beat import clock_watch, job_scheduler

    path = Path(os.environ["JOBU_TEST_DISK"])

    def disk() -> tuple[int, int] | None:
        if not path.exists():
            return None
        total, free = path.read_text(encoding="utf-8").split()
        return int(total), int(free)

    vars(watchers).update(AWAY_SECONDS=3.0)
    vars(watching).update(
        _LOOK_SECONDS=1.0, _UNSEEN_LOOKS=8, _OUTAGE_SECONDS=3.0, _BEFORE_WORKERS_SECONDS=3.0
    )  # fmt: skip
    vars(clock_watch).update(_JUMP_SHOWS_SECONDS=3.0)
    vars(job_scheduler).update(_HEARTBEAT_SECONDS=1.0, disk_of_database=disk)
    app.start(argv=list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
