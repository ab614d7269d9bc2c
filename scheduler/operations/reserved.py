"""A person cancels runs: what others may start now."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from scheduler import wakeups
from scheduler.clock import Clock
from scheduler.store import places
from scheduler.store.shard_changes import Cancelled


def give_on(cancelled: Cancelled, clock: Clock) -> None:
    """Call it in the transaction of the cancel. After its commit other runs take the places.

    If the process ends in between, beat gives them on within two seconds.
    """
    for queue in cancelled.queues:
        wakeups.became_runnable(queue)
    if cancelled.reserved:
        transaction.on_commit(partial(_release, cancelled, clock), robust=True)


def _release(cancelled: Cancelled, clock: Clock) -> None:
    for queue in places.release(cancelled.reserved, clock.now()):
        wakeups.wake(queue)
