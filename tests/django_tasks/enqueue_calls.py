"""A process of a shop: `python -m tests.django_tasks.enqueue_calls COUNT END` enqueues calls.

END: `commit` ends well. `killed` is killed right after the COMMIT, before anything else is done.
`cut off` is killed right before it.
"""

from __future__ import annotations

import os
import signal
import sys


def main(count: int, end: str) -> None:
    import django

    django.setup()

    from django.db import transaction

    from tests.django_tasks import calls_in_a_file

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with transaction.atomic():
        if end == "killed":
            transaction.on_commit(die)  # registered first, so called first
        for number in range(count):
            task = calls_in_a_file.note_async if number % 2 else calls_in_a_file.note
            task.enqueue(f"{end} {number}")
        if end == "cut off":
            die()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
